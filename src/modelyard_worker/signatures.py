"""Tensor specs as JSON: made from arrays, compared with the publisher's, and checked against requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

from modelyard_worker.arrays import datatype
from modelyard_worker.failures import Failure

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays

Spec = Dict[str, Any]


def spec(name: str, datatype_: str, shape: Sequence[int], columns: Sequence[str] = ()) -> Spec:
    """A tensor spec; `columns` are names along the last dimension."""
    return {"name": name, "datatype": datatype_, "shape": list(shape), "columns": list(columns)}


def spec_of(name: str, array: Array, columns: Sequence[str] = ()) -> Spec:
    """The spec of an array whose first dimension is the batch."""
    return spec(name, datatype(array), [-1, *array.shape[1:]], columns)


def signature(inputs: Sequence[Spec], outputs: Sequence[Spec], given: Mapping[str, Any]) -> Dict[str, Any]:
    """A whole signature; targets and sample are the publisher's."""
    return {
        "inputs": list(inputs),
        "targets": list(given.get("targets") or ()),
        "outputs": list(outputs),
        "sample": given.get("sample"),
    }


def check(specs: Sequence[Spec], inputs: Arrays) -> None:
    """Compare a request's tensors with the input specs.

    Raises Failure(SignatureMismatch) such as `inputs.input: expected 4 columns, got 3`.
    """
    for expected in specs:
        array = inputs.get(expected["name"])
        if array is None:
            raise _mismatch(f"inputs.{expected['name']}: missing; expected {_all_names(specs)}")
        _check_one(expected, array)
    if len(inputs) > len(specs) and specs:
        known = {expected["name"] for expected in specs}
        unknown = next(name for name in inputs if name not in known)
        raise _mismatch(f"inputs.{unknown}: unknown; expected {_all_names(specs)}")


def same_length(specs: Sequence[Spec], inputs: Arrays) -> None:
    """Require as many rows in every tensor. Raises Failure(SignatureMismatch) naming one that differs."""
    first = specs[0]["name"]
    for each in specs:
        name, wanted = each["name"], len(inputs[first])
        if len(inputs[name]) != wanted:
            message = f"inputs.{name}: expected {wanted} rows, as in inputs.{first}, got {len(inputs[name])}"
            raise _mismatch(message)


def _check_one(expected: Spec, array: Array) -> None:
    shape, name = expected["shape"], expected["name"]
    if array.ndim != len(shape):
        raise _mismatch(f"inputs.{name}: expected {len(shape)} dimensions {shape}, got {list(array.shape)}")
    for axis, (wanted, got) in enumerate(zip(shape, array.shape)):
        if wanted in (-1, got):
            continue
        if axis == 1 and len(shape) == 2:
            raise _mismatch(f"inputs.{name}: expected {wanted} columns, got {got}")
        raise _mismatch(f"inputs.{name}: expected {wanted} in dimension {axis} of {shape}, got {got}")
    if (expected["datatype"] == "BYTES") != (array.dtype.kind in "OUS"):
        raise _mismatch(f"inputs.{name}: expected {expected['datatype']}, got {datatype(array)}")


def contradiction(where: str, given: Spec, real: Spec) -> Optional[Failure]:
    """Compare what the publisher said about one tensor with what the model does; None when they agree.

    Numbers of one kind agree (FP32 and FP64); -1 agrees with every size.
    """
    if _kind(given["datatype"]) != _kind(real["datatype"]):
        message = (
            f"{where}.datatype: the signature says {given['datatype']}, the model has {real['datatype']}"
        )
        return Failure("SignatureMismatch", message)
    shape, other = list(given["shape"]), list(real["shape"])
    if len(shape) != len(other) or any(-1 not in (a, b) and a != b for a, b in zip(shape, other)):
        return Failure(
            "SignatureMismatch", f"{where}.shape: the signature says {shape}, the model has {other}"
        )
    return None


def agree(given: Sequence[Spec], real: Sequence[Spec], side: str) -> List[Spec]:
    """The publisher's specs, completed with what the model knows (columns, sizes).

    Raises Failure(SignatureMismatch) naming the field that the model contradicts.
    """
    known = {each["name"]: each for each in real}
    merged = []
    for index, each in enumerate(given):
        where = f"signature.{side}[{index}]"
        found = known.get(each["name"])
        if found is None:
            message = f"{where}.name: the model has no {side[:-1]} {each['name']}; it has {_all_names(real)}"
            raise Failure("SignatureMismatch", message)
        failure = contradiction(where, each, found)
        if failure is not None:
            raise failure
        merged.append({**each, "columns": list(each.get("columns") or found["columns"])})
    return merged


def _kind(name: str) -> str:
    if name.startswith(("INT", "UINT")):
        return "integer"
    return "floating" if name.startswith("FP") else name


def _all_names(specs: Sequence[Spec]) -> str:
    return ", ".join(str(each["name"]) for each in specs) or "none"


def _mismatch(message: str) -> Failure:
    return Failure("SignatureMismatch", message)
