"""What a model takes and gives, compiled once so that checking a request is quick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelyard.oip.datatypes import NAMES
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.tensor import Tensor

MOST_DIMENSIONS = 32
MOST_ELEMENTS = 1 << 40
MOST_IN_DIMENSION = 1 << 31


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output; -1 in `shape` is variable."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor may have this shape."""
        if len(shape) != len(self.shape):
            return False
        return all(want in (-1, got) for want, got in zip(self.shape, shape, strict=True))


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's inputs and outputs; without inputs, everything is accepted."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    input_named: Mapping[str, TensorSpec]
    output_names: frozenset[str]
    one_row_per_element: bool
    """A table with one tensor per column: their lengths must agree."""


def compile_signature(document: Mapping[str, Any] | None) -> Signature:
    """Read a signature's JSON; raises Rejected that names the field."""
    document = document or {}
    inputs = _specs(document.get("inputs") or (), "signature.inputs")
    outputs = _specs(document.get("outputs") or (), "signature.outputs")
    table = len(inputs) > 1 and all(spec.shape == (-1,) for spec in inputs)
    named = {spec.name: spec for spec in inputs}
    return Signature(inputs, outputs, named, frozenset(spec.name for spec in outputs), table)


def check_given(signature: Signature, given: Sequence[Tensor], path: str = "inputs") -> None:
    """Raise Rejected unless every input is there once and a table's columns are equally long."""
    names = {tensor.name for tensor in given}
    if len(names) != len(given):
        twice = next(t.name for i, t in enumerate(given) if any(o.name == t.name for o in given[:i]))
        raise Rejected(path, f'input "{twice}" is given twice')
    if not signature.inputs:
        return
    missing = [spec.name for spec in signature.inputs if spec.name not in names]
    if missing:
        raise Rejected(path, f"missing {listed(missing)}; the model takes {listed(signature.input_named)}")
    if signature.one_row_per_element:
        _check_lengths(given, path)


def spec_for(signature: Signature, name: str, path: str) -> TensorSpec | None:
    """The spec of an input, None when the model takes anything; raises Rejected for an unknown name."""
    if not signature.inputs:
        return None
    spec = signature.input_named.get(name)
    if spec is None:
        raise Rejected(path, f"unknown input {shown(name)}; the model takes {listed(signature.input_named)}")
    return spec


def check_shape(shape: Any, spec: TensorSpec | None, path: str) -> tuple[int, ...]:
    """The shape that a client claims; raises Rejected when no such tensor can be, or may be given."""
    if not isinstance(shape, list):
        raise Rejected(path, f"expected a list of sizes, got {shown(shape)}")
    if len(shape) > MOST_DIMENSIONS:
        raise Rejected(path, f"has {len(shape)} dimensions, at most {MOST_DIMENSIONS} are possible")
    elements = 1
    for index, size in enumerate(shape):
        if type(size) is not int or not 0 <= size < MOST_IN_DIMENSION:
            raise Rejected(f"{path}[{index}]", f"expected a size of 0 or more, got {shown(size)}")
        elements *= size or 1
    if elements > MOST_ELEMENTS:
        raise Rejected(path, f"stands for {elements} elements, at most {MOST_ELEMENTS} are possible")
    if spec is not None and not spec.fits(shape):
        raise Rejected(path, f"expected {list(spec.shape)} (-1 is any size), got {shape}")
    return tuple(shape)


def listed(names: Any) -> str:
    """Names for an error, quoted and bounded."""
    names = list(names)
    text = ", ".join(shown(name) for name in names[:20])
    return text if len(names) <= 20 else f"{text} and {len(names) - 20} more"


def _check_lengths(given: Sequence[Tensor], path: str) -> None:
    first = given[0]
    for index, tensor in enumerate(given):
        if tensor.shape[:1] != first.shape[:1]:
            raise Rejected(
                f"{path}[{index}].shape",
                f'columns must be equally long: "{first.name}" has {first.shape[0]} rows, '
                f'"{tensor.name}" has {tensor.shape[0]}',
            )


def _specs(documents: Any, path: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(document, f"{path}[{index}]") for index, document in enumerate(documents))


def _spec(document: Any, path: str) -> TensorSpec:
    if not isinstance(document, Mapping) or not isinstance(document.get("name"), str):
        raise Rejected(path, "expected an object with name, datatype and shape")
    if document.get("datatype") not in NAMES:
        raise Rejected(
            f"{path}.datatype", f"expected one of {', '.join(NAMES)}, got {shown(document.get('datatype'))}"
        )
    shape = document.get("shape")
    if not isinstance(shape, (list, tuple)) or any(type(size) is not int or size < -1 for size in shape):
        raise Rejected(f"{path}.shape", f"expected a list of sizes, got {shown(shape)}")
    return TensorSpec(
        document["name"],
        document["datatype"],
        tuple(shape),
        tuple(str(c) for c in document.get("columns") or ()),
    )
