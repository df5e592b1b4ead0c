"""Evaluates PMML documents with PMML4S, in a Java virtual machine inside this process."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Dict, FrozenSet, List, Mapping, Sequence, Tuple

import numpy as np

from modelyard_worker import jvm, outputs, packages, signatures
from modelyard_worker.arrays import text
from modelyard_worker.config import entry_path, published
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

DATATYPES = {"integer": "INT64", "double": "FP64", "float": "FP32", "real": "FP64", "boolean": "BOOL"}
COUNTED = ("dateDaysSince", "dateTimeSecondsSince", "timeSeconds")
FUNCTIONS = ("classification", "regression", "clustering")
MOST_NAMED = 8
"""So many valid values are named in a message."""


@dataclass(frozen=True)
class Field:
    """An input of the model, as its data dictionary and mining schema describe it."""

    name: str
    kind: str
    """Its OIP datatype; FP64 also for whole numbers that may be missing."""
    declared: str
    """Its datatype in the document."""
    values: FrozenSet[Any]
    """The only valid values; empty when every value is."""
    intervals: Tuple[Any, ...]
    """The only valid ranges, as PMML4S has them; empty when every value is valid."""
    example: Any


def load(config: Mapping[str, Any]) -> Loaded:
    """Read the document and make its fields tensors: inputs and outputs have their names and types.

    NaN, null and empty text are missing values, which are treated as the document says.
    """
    jars = os.path.join(_directory(), "jars", "*")
    bridge = jvm.start(config, [jars])
    model = _read(bridge, config)
    given = published(config)
    fields = _fields(model)
    inputs = _inputs(fields, given)
    own = [_spec(each) for each in model.outputFields()]
    specs, adapt = outputs.declared(given.get("outputs") or (), own, shaped=False)
    score = _scorer(bridge, model, fields, own)

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        signatures.check(inputs, tensors)
        signatures.same_length(inputs, tensors)
        answer: Arrays = adapt(score(tensors))
        return answer

    function = str(model.functionName())
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": packages.installed_version("pypmml"),
            "algorithm": str(model.modelElement()),
            "function": function if function in FUNCTIONS else "unknown",
            "examples": {each.name: each.example for each in fields if each.kind == "BYTES"},
        },
        predict=predict,
    )


def _directory() -> str:
    """Where PMML4S is; its Python wrapper is not imported, because it would bring a gateway of its own."""
    found = importlib.util.find_spec("pypmml")
    if found is None or found.origin is None:
        raise packages.missing_package("pypmml")
    return os.path.dirname(found.origin)


def _read(bridge: Any, config: Mapping[str, Any]) -> Any:
    try:
        return bridge.JClass("org.pmml4s.model.Model").fromFile(entry_path(config))
    except bridge.JException as error:
        kind, words = jvm.innermost(error)
        known = jvm.failure(error, loading=True)
        text_ = f"{config.get('entry')} is not a PMML document that PMML4S reads ({kind}: {words})"
        raise known or Failure("ModelLoadFailed", f"{text_}: export it again") from error


def _fields(model: Any) -> List[Field]:
    mining = {str(each.name()): each for each in model.miningSchema().miningFields()}
    strategy = str(model.missingValueStrategy()) if hasattr(model, "missingValueStrategy") else "none"
    return [_field(each, mining.get(str(each.name())), strategy) for each in model.inputFields()]


def _field(declared: Any, mining: Any, strategy: str) -> Field:
    kind = _datatype(str(declared.dataType().toString()))
    numeric = kind != "BYTES"
    strict = mining is None or str(mining.invalidValueTreatment()) == "returnInvalid"
    valid = [str(each.toVal()) for each in declared.validValues()]
    values = frozenset(_number(each) if numeric else each for each in valid)
    intervals = tuple(declared.intervals())
    return Field(
        name=str(declared.name()),
        kind="FP64" if kind in ("INT64", "BOOL") and _may_be_missing(declared, mining, strategy) else kind,
        declared=kind,
        values=values if strict and not intervals and kind != "BOOL" else frozenset(),
        intervals=intervals if strict else (),
        example=valid[0] if valid else "",
    )


def _may_be_missing(declared: Any, mining: Any, strategy: str) -> bool:
    if strategy not in ("none", "None") or declared.missingValues().size():
        return True
    return mining is not None and (
        mining.missingValueReplacement().isDefined()
        or (
            mining.missingValueTreatment().isDefined()
            and str(mining.missingValueTreatment().get()) != "returnInvalid"
        )
    )


def _shown_interval(found: Any) -> str:
    low = float(found.leftMargin()) if hasattr(found, "leftMargin") else -np.inf
    high = float(found.rightMargin()) if hasattr(found, "rightMargin") else np.inf
    return f"{'[' if found.contains(low) else '('}{low:g}, {high:g}{']' if found.contains(high) else ')'}"


def _number(value: str) -> float:
    lowered = value.lower()
    return float(lowered == "true") if lowered in ("true", "false") else float(value)


def _datatype(name: str) -> str:
    return "INT64" if name.startswith(COUNTED) else DATATYPES.get(name, "BYTES")


def _spec(output: Any) -> Spec:
    return signatures.spec(str(output.name()), _datatype(str(output.dataType().toString())), [-1])


def _inputs(fields: Sequence[Field], given: Mapping[str, Any]) -> List[Spec]:
    own = [signatures.spec(each.name, each.kind, [-1]) for each in fields]
    said = list(given.get("inputs") or ())
    if not said:
        return own
    missing = {each["name"] for each in own} - {each["name"] for each in said}
    if missing:
        raise Failure(
            "SignatureMismatch", f"signature.inputs: the model also takes {', '.join(sorted(missing))}"
        )
    return signatures.agree(said, own, "inputs")


def _scorer(
    bridge: Any, model: Any, fields: Sequence[Field], specs: Sequence[Spec]
) -> Callable[[Any], Dict[str, Any]]:
    objects, table = bridge.JArray(bridge.JObject), bridge.JClass("java.util.HashMap")
    names = [each.name for each in fields]

    def one(row: Sequence[Any]) -> Sequence[Any]:
        if None not in row:
            answer: Sequence[Any] = model.predict(objects(list(row)))
            return answer
        # In an array PMML4S 1.5 takes a missing whole number for 0; what is not in a map is missing for it.
        known = table()
        for name, value in zip(names, row):
            if value is not None:
                known.put(name, value)
        found = model.predict(known)
        return [found.get(spec["name"]) for spec in specs]

    def score(tensors: Arrays) -> Dict[str, Any]:
        columns = [_column(bridge, each, tensors[each.name]) for each in fields]
        try:
            rows = [one(row) for row in zip(*columns)]
        except bridge.JException as error:
            kind, words = jvm.innermost(error)
            known = jvm.failure(error, loading=False)
            raise known or Failure("PredictionFailed", f"{kind}: {words}") from error
        return {spec["name"]: _answers([row[at] for row in rows], spec) for at, spec in enumerate(specs)}

    return score


def _column(bridge: Any, field: Field, array: Array) -> List[Any]:
    """A column as Java objects, each of them valid; None where it is missing."""
    if field.kind == "BYTES":
        return _texts(field, text(array))
    numbers = np.asarray(array, dtype=np.float64)
    _require_valid(field, numbers)
    box = {"BOOL": bridge.JBoolean, "INT64": bridge.JLong}.get(field.declared, bridge.JDouble)
    plain = {"BOOL": bool, "INT64": int}.get(field.declared, float)
    return [box(plain(value)) if value == value else None for value in numbers.tolist()]


def _texts(field: Field, values: List[str]) -> List[Any]:
    for at, value in enumerate(values):
        if field.values and value and value not in field.values:
            raise _invalid(field, at, f'"{value[:40]}"')
    return [value if value or "" in field.values else None for value in values]


def _require_valid(field: Field, numbers: Any) -> None:
    missing = np.isnan(numbers)
    if field.declared == "BOOL":
        _refuse(
            field, numbers, ~missing & (numbers != 0) & (numbers != 1), "is neither 0 (false) nor 1 (true)"
        )
    if field.declared == "INT64":
        _refuse(field, numbers, ~missing & (numbers != np.floor(numbers)), "is not a whole number")
    if field.values:
        _refuse(field, numbers, ~missing & ~np.isin(numbers, list(field.values)), "")
    if field.intervals:
        outside = [not any(each.contains(value) for each in field.intervals) for value in numbers.tolist()]
        _refuse(field, numbers, ~missing & np.asarray(outside, dtype=bool), "")


def _refuse(field: Field, numbers: Any, wrong: Any, why: str) -> None:
    if wrong.any():
        at = int(wrong.argmax())
        if why:
            raise Failure("SignatureMismatch", f"inputs.{field.name}[{at}]: {numbers[at]:g} {why}")
        raise _invalid(field, at, f"{numbers[at]:g}")


def _invalid(field: Field, at: int, shown: str) -> Failure:
    if field.intervals:
        valid = " or ".join(map(_shown_interval, field.intervals))
    else:
        known = [f"{each:g}" if isinstance(each, float) else each for each in sorted(field.values)]
        valid = ", ".join(known[:MOST_NAMED]) + (", …" if len(known) > MOST_NAMED else "")
    return Failure("SignatureMismatch", f"inputs.{field.name}[{at}]: {shown} is not valid; expected {valid}")


def _answers(values: List[Any], spec: Spec) -> Any:
    """One output of every row; where the model has no answer, NaN among numbers and empty text."""
    kind = spec["datatype"]
    if kind == "BYTES":
        found: Array = np.empty(len(values), dtype=object)
        found[:] = [b"" if value is None else str(value).encode() for value in values]
        return found
    numbers = [np.nan if value is None else _plain(value) for value in values]
    if kind in ("INT64", "BOOL"):
        lost = next((at for at, number in enumerate(numbers) if number != number), None)
        if lost is not None:
            raise Failure("PredictionFailed", f"outputs.{spec['name']}[{lost}]: the model has no answer")
        return np.asarray(numbers).astype(np.int64 if kind == "INT64" else np.bool_)
    return np.asarray(numbers, dtype=np.float64 if kind == "FP64" else np.float32)


def _plain(value: Any) -> float:
    if isinstance(value, str):
        return _number(value)
    return float(value)
