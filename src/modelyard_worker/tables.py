"""From a request's tensors to what a fitted estimator takes: an array, a DataFrame or a list of texts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Sequence

import numpy as np

from modelyard_worker import requests, signatures
from modelyard_worker.arrays import DTYPES, text
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.fitted import Inputs
    from modelyard_worker.loaded import Array, Arrays
    from modelyard_worker.signatures import Spec

Builder = Callable[[Any], Any]


def input_specs(known: Inputs, given: Mapping[str, Any]) -> List[Spec]:
    """The input specs: the publisher's, else those of the sample, else what the estimator tells.

    Raises Failure(SignatureMismatch) when the publisher's contradict the estimator.
    """
    if given.get("inputs"):
        return _published(known, given["inputs"])
    if known.documents:
        return [signatures.spec("input", "BYTES", [-1])]
    if given.get("sample") is not None:
        return _published(known, _sampled(known, given["sample"]))
    if not known.count:
        return []
    if known.examples or known.categories:
        return [
            _column(name, "BYTES" if at in known.examples else "FP64")
            for at, name in enumerate(known.columns)
        ]
    return [_matrix(known)]


def builder(known: Inputs, specs: Sequence[Spec]) -> Builder:
    """A function from a request's tensors to the estimator's argument; it checks the tensors first."""
    if known.documents:
        return lambda inputs: text(_checked(specs, inputs)[specs[0]["name"]])
    if len(specs) == 1 and len(specs[0]["shape"]) == 2:
        return _from_matrix(known, specs)
    if specs and all(len(each["shape"]) == 1 for each in specs):
        return _from_columns(known, specs)
    if len(specs) > 1:
        raise Failure(
            "SignatureMismatch", "signature.inputs: a tabular model takes one table or one tensor per column"
        )
    return lambda inputs: next(iter(_checked(specs, inputs).values()))


def _checked(specs: Sequence[Spec], inputs: Arrays) -> Arrays:
    signatures.check(specs, inputs)
    return inputs


def _matrix(known: Inputs) -> Spec:
    return signatures.spec(
        "input", "FP32" if known.single else "FP64", [-1, known.count or -1], known.columns
    )


def _column(name: str, datatype: str) -> Spec:
    return signatures.spec(name, datatype, [-1])


def _sampled(known: Inputs, sample: Any) -> List[Spec]:
    found = requests.rows(sample, ())
    if len(found) == 1 and next(iter(found.values())).ndim != 1:
        name, array = next(iter(found.items()))
        shape = [-1, *array.shape[1:]]
        if array.dtype.kind == "O" and array.ndim == 2:
            names = (
                known.columns if known.count == array.shape[1] else [f"x{at}" for at in range(array.shape[1])]
            )
            return [_column(each, "BYTES") for each in names]
        if array.ndim != 2:
            return [signatures.spec_of(name, array)]
        columns = known.columns if known.count == array.shape[1] else []
        return [signatures.spec(name, "FP32" if known.single else "FP64", shape, columns)]
    if all(array.dtype.kind in "iuf" for array in found.values()) and not known.examples:
        return [signatures.spec("input", "FP32" if known.single else "FP64", [-1, len(found)], list(found))]
    return [signatures.spec_of(name, array) for name, array in found.items()]


def _published(known: Inputs, given: Sequence[Mapping[str, Any]]) -> List[Spec]:
    specs = [
        {**each, "shape": list(each["shape"]), "columns": list(each.get("columns") or ())} for each in given
    ]
    if known.count is None:
        return specs
    if len(specs) == 1 and len(specs[0]["shape"]) == 2:
        specs[0] = _published_matrix(known, specs[0])
        return specs
    if all(len(each["shape"]) == 1 for each in specs):
        if len(specs) != known.count:
            message = (
                f"signature.inputs: the signature has {len(specs)} columns, the model takes {known.count}"
            )
            raise Failure("SignatureMismatch", message)
        _same_names(known, [str(each["name"]) for each in specs], "signature.inputs")
    return specs


def _published_matrix(known: Inputs, spec: Spec) -> Spec:
    width = spec["shape"][1]
    if width not in (-1, known.count):
        where = "signature.inputs[0].shape"
        raise Failure(
            "SignatureMismatch", f"{where}: the signature says {width} columns, the model takes {known.count}"
        )
    if known.examples and spec["datatype"] != "BYTES":
        texts = ", ".join(known.example_by_name)
        message = f"signature.inputs[0].datatype: the model takes text in {texts}, the signature says"
        raise Failure("SignatureMismatch", f"{message} {spec['datatype']}; give one tensor per column")
    columns = spec["columns"]
    if columns and len(columns) != known.count:
        message = f"signature.inputs[0].columns: {len(columns)} names, the model takes {known.count} columns"
        raise Failure("SignatureMismatch", message)
    if columns:
        _same_names(known, columns, "signature.inputs[0].columns")
    return {**spec, "shape": [spec["shape"][0], known.count], "columns": columns or known.columns}


def _same_names(known: Inputs, names: Sequence[str], where: str) -> None:
    for name in names:
        if known.names and name not in known.names:
            raise Failure(
                "SignatureMismatch",
                f"{where}: the model knows no column {name}; it was fitted on {', '.join(known.names)}",
            )


def _from_matrix(known: Inputs, specs: Sequence[Spec]) -> Builder:
    spec = specs[0]
    name, width, columns = spec["name"], spec["shape"][1], spec.get("columns") or known.columns
    dtype = DTYPES[spec["datatype"]]
    order = [columns.index(each) for each in known.names] if known.names and columns != known.names else None
    frame = _framer(known, known.names) if known.frame and known.names else None

    def build(inputs: Arrays) -> Any:
        array: Any = inputs.get(name)
        if (
            array is None
            or array.ndim != 2
            or array.shape[1] != width
            or array.dtype != dtype
            or len(inputs) != 1
        ):
            signatures.check(specs, inputs)
            array = np.asarray(inputs[name]).astype(dtype)
        if order is not None:
            array = array[:, order]
        return (
            array
            if frame is None
            else frame({each: array[:, at] for at, each in enumerate(known.names or ())})
        )

    return build


def _from_columns(known: Inputs, specs: Sequence[Spec]) -> Builder:
    names = known.names or [each["name"] for each in specs]
    texts = any(each["datatype"] == "BYTES" for each in specs)
    frame = _framer(known, names) if known.names and (known.frame or texts) else None

    def build(inputs: Arrays) -> Any:
        signatures.check(specs, inputs)
        signatures.same_length(specs, inputs)
        columns = {name: _values(inputs[name]) for name in names}
        if frame is not None:
            return frame(columns)
        if any(array.dtype.kind == "O" for array in columns.values()):
            return np.column_stack([array.astype(object) for array in columns.values()])
        return np.column_stack([array.astype(np.float64) for array in columns.values()])

    return build


def _values(array: Array) -> Array:
    if array.dtype.kind != "O":
        return array
    strings: Array = np.empty(array.shape, dtype=object)
    strings[:] = text(array)
    return strings


def _framer(known: Inputs, names: Sequence[str]) -> Callable[[Dict[str, Array]], Any]:
    pandas = importlib.import_module("pandas")
    categories = {names[at]: pandas.CategoricalDtype(values) for at, values in known.categories.items()}

    def frame(columns: Dict[str, Array]) -> Any:
        table = pandas.DataFrame(columns, columns=list(names))
        return table.astype(categories) if categories else table

    return frame
