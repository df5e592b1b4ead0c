"""Whether those who call a model today can call another one tomorrow, from the signatures alone."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.model import Signature, TensorSpec

_VARIABLE = -1


def breaking(before: Signature, after: Signature) -> tuple[str, ...]:
    """What would turn requests away that succeed today, or answer them otherwise, each with its place.

    An input that is gone or new, another datatype, a narrower or another shape, other columns; an output that
    is gone or looks otherwise. What only grows (a variable dimension where a fixed one was, one more output)
    breaks nobody. A side that says nothing about its inputs or outputs cannot be compared and breaks nothing.
    """
    return tuple((*_inputs(before.inputs, after.inputs), *_outputs(before.outputs, after.outputs)))


def comparable(before: Signature, after: Signature) -> bool:
    """Whether both sides say what they take, so that silence of `breaking` means something."""
    return bool(before.inputs and after.inputs)


def _inputs(before: tuple[TensorSpec, ...], after: tuple[TensorSpec, ...]) -> Iterator[str]:
    if not before or not after:
        return
    old, new = {t.name: t for t in before}, {t.name: t for t in after}
    for name, tensor in old.items():
        if name not in new:
            yield f"inputs.{name}: is not taken any more"
        else:
            yield from _tensor(f"inputs.{name}", tensor, new[name])
            yield from _narrowed(f"inputs.{name}", tensor, new[name])
    for name in new:
        if name not in old:
            yield f"inputs.{name}: is new, and today's requests do not carry it"


def _outputs(before: tuple[TensorSpec, ...], after: tuple[TensorSpec, ...]) -> Iterator[str]:
    if not before or not after:
        return
    new = {t.name: t for t in after}
    for tensor in before:
        if tensor.name not in new:
            yield f"outputs.{tensor.name}: is not answered any more"
        else:
            yield from _tensor(f"outputs.{tensor.name}", tensor, new[tensor.name])


def _tensor(path: str, old: TensorSpec, new: TensorSpec) -> Iterator[str]:
    if old.datatype is not new.datatype:
        yield f"{path}: the datatype was {old.datatype} and would be {new.datatype}"
    if len(old.shape) != len(new.shape) or any(
        _VARIABLE not in pair and pair[0] != pair[1] for pair in zip(old.shape, new.shape, strict=False)
    ):
        yield f"{path}: the shape was {_shape(old)} and would be {_shape(new)}"
    if old.columns and new.columns and old.columns != new.columns[: len(old.columns)]:
        yield f"{path}: the columns were {_names(old)} and would be {_names(new)}"


def _narrowed(path: str, old: TensorSpec, new: TensorSpec) -> Iterator[str]:
    """An input that took any size and would take one only."""
    if len(old.shape) != len(new.shape):
        return
    if any(was == _VARIABLE != would for was, would in zip(old.shape, new.shape, strict=True)):
        yield f"{path}: the shape was {_shape(old)} and would be {_shape(new)}, which takes less"


def _shape(tensor: TensorSpec) -> str:
    return "[" + ", ".join("any" if size == _VARIABLE else str(size) for size in tensor.shape) + "]"


def _names(tensor: TensorSpec) -> str:
    shown = ", ".join(tensor.columns[:8])
    return shown if len(tensor.columns) <= 8 else f"{shown}, … ({len(tensor.columns)})"
