"""Tensors as rows of Spark, and Spark's rows as arrays."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from modelyard_worker import signatures
from modelyard_worker.arrays import DTYPES, text
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

TYPES: Dict[str, str] = {
    "FP64": "Double", "FP32": "Float", "FP16": "Float", "INT64": "Long", "INT32": "Integer", "INT16": "Short",
    "INT8": "Byte", "UINT8": "Short", "UINT16": "Integer", "UINT32": "Long", "UINT64": "Long",
    "BOOL": "Boolean", "BYTES": "String",
}  # fmt: skip
"""Spark's types by OIP datatype."""
DATATYPES: Dict[str, str] = {
    "double": "FP64", "float": "FP32", "bigint": "INT64", "int": "INT32", "smallint": "INT16",
    "tinyint": "INT8", "boolean": "BOOL", "string": "BYTES",
}  # fmt: skip
"""OIP datatypes by the name of Spark's type."""
ARRAY = re.compile(r"array<(\w+)>")
SIZE = re.compile(r'"num_attrs":(\d+)')


@dataclass(frozen=True)
class Column:
    """A column of an answer."""

    spec: Spec
    value: Callable[[Any], Any]
    """What a row's element is for numpy."""


def schema(bridge: Any, inputs: Sequence[Spec]) -> Any:
    """Spark's schema of the inputs: a column for each, vectors for tables.

    Raises Failure(SignatureMismatch) for more than two dimensions.
    """
    types = bridge.JClass("org.apache.spark.sql.types.DataTypes")
    fields = bridge.JClass("java.util.ArrayList")()
    for spec in inputs:
        plain = getattr(types, f"{TYPES[spec['datatype']]}Type")
        if len(spec["shape"]) == 1:
            kind = plain
        elif len(spec["shape"]) == 2 and spec["datatype"] == "BYTES":
            kind = types.createArrayType(plain)
        elif len(spec["shape"]) == 2:
            kind = bridge.JClass("org.apache.spark.ml.linalg.SQLDataTypes").VectorType()
        else:
            raise Failure(
                "SignatureMismatch", f"signature.inputs: {spec['name']} has more than two dimensions"
            )
        fields.add(types.createStructField(spec["name"], kind, True))
    return types.createStructType(fields)


def rows(bridge: Any, inputs: Sequence[Spec], tensors: Arrays) -> Any:
    """The request as Java's list of rows."""
    make, objects = bridge.JClass("org.apache.spark.sql.RowFactory").create, bridge.JArray(bridge.JObject)
    found = bridge.JClass("java.util.ArrayList")()
    for row in zip(*(_values(bridge, spec, tensors[spec["name"]]) for spec in inputs)):
        found.add(make(objects(list(row))))
    return found


def column(field: Any) -> Optional[Column]:
    """How a column that the pipeline adds becomes a tensor; None for one that no tensor can hold."""
    name, kind = str(field.name()), str(field.dataType().simpleString())
    if kind in DATATYPES:
        return Column(signatures.spec(name, DATATYPES[kind], [-1]), lambda value: value)
    if kind == "vector":
        size = SIZE.search(str(field.metadata().json()))
        width = int(size.group(1)) if size else -1
        return Column(signatures.spec(name, "FP64", [-1, width]), lambda value: np.asarray(value.toArray()))
    inside = ARRAY.fullmatch(kind)
    if inside is not None and inside.group(1) in DATATYPES:
        spec = signatures.spec(name, DATATYPES[inside.group(1)], [-1, -1])
        return Column(spec, _listed)
    print(f"the column {name} is left out: no tensor can hold its type {kind}", file=sys.stderr)
    return None


def arrays(columns: Sequence[Column], found: Any) -> Dict[str, Any]:
    """The columns of Spark's rows. Raises Failure(PredictionFailed) naming an element that is missing."""
    taken = list(found)
    return {
        each.spec["name"]: _array(each, [row.get(at) for row in taken]) for at, each in enumerate(columns)
    }


def _array(column: Column, values: List[Any]) -> Array:
    name, kind = column.spec["name"], column.spec["datatype"]
    lost = next((at for at, value in enumerate(values) if value is None), None)
    if lost is not None and not (kind.startswith("FP") and len(column.spec["shape"]) == 1):
        raise Failure("PredictionFailed", f"outputs.{name}[{lost}]: the pipeline gave no value")
    plain: List[Any] = [np.nan if value is None else column.value(value) for value in values]
    if kind == "BYTES":
        strings: Array = np.empty(len(plain), dtype=object)
        strings[:] = [str(value).encode() for value in plain]
        return strings
    if len(column.spec["shape"]) == 1:
        return np.asarray([DTYPES[kind].type(value) for value in plain], dtype=DTYPES[kind])
    if len({len(value) for value in plain}) > 1:
        raise Failure("PredictionFailed", f"outputs.{name}: rows differ in length")
    return np.asarray(plain, dtype=DTYPES[kind])


def _listed(value: Any) -> List[Any]:
    """A Scala sequence as a list."""
    return [value.apply(at) for at in range(value.size())]


def _values(bridge: Any, spec: Spec, array: Array) -> List[Any]:
    """A tensor's rows as Java objects."""
    if spec["datatype"] == "BYTES":
        strings = text(array)
        if len(spec["shape"]) == 1:
            return list(strings)
        width = array.shape[1]
        several = bridge.JArray(bridge.JString)
        return [several(strings[at * width : (at + 1) * width]) for at in range(len(array))]
    if len(spec["shape"]) == 2:
        dense = bridge.JClass("org.apache.spark.ml.linalg.Vectors").dense
        doubles = bridge.JArray(bridge.JDouble)
        return [dense(doubles(row)) for row in np.asarray(array, dtype=np.float64)]
    kind = TYPES[spec["datatype"]]
    box = getattr(bridge, "JInt" if kind == "Integer" else f"J{kind}")
    return [box(value) for value in array.tolist()]
