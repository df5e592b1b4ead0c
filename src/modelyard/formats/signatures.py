"""Signatures of models that take one table of numbers."""

from __future__ import annotations

from modelyard.domain.model import Datatype, Function, Signature, TensorSpec


def table(features: int, columns: tuple[str, ...]) -> TensorSpec:
    """The one input of such a model: FP64 of shape [-1, features], with names for its columns."""
    names = columns if len(columns) == features else tuple(f"x{index}" for index in range(features))
    return TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, features), columns=names)


def of_booster(
    *, features: int, columns: tuple[str, ...], function: Function, classes: int
) -> Signature | None:
    """Signature of a booster with `classes` classes (2 for binary), or None when its width is not known."""
    if features <= 0:
        return None
    outputs: tuple[TensorSpec, ...] = ()
    if function is Function.CLASSIFICATION:
        width = max(2, classes)
        outputs = (
            TensorSpec(name="label", datatype=Datatype.INT64, shape=(-1,)),
            TensorSpec(
                name="probabilities",
                datatype=Datatype.FP64,
                shape=(-1, width),
                columns=tuple(str(index) for index in range(width)),
            ),
        )
    elif function is Function.REGRESSION:
        outputs = (TensorSpec(name="prediction", datatype=Datatype.FP64, shape=(-1,)),)
    return Signature(inputs=(table(features, columns),), outputs=outputs)
