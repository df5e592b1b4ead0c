"""SimpleImputer in double precision, for which ONNX Runtime has no operator of its own."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

ALIAS = "SklearnSimpleImputer"


def register(library: Any) -> None:
    """Have skl2onnx fill gaps among doubles with plain operators; all else stays with its own converter."""
    registration = importlib.import_module("skl2onnx.common._registration")
    types = importlib.import_module("skl2onnx.common.data_types")
    imputer = importlib.import_module("sklearn.impute").SimpleImputer
    own = registration.get_converter(ALIAS)
    if getattr(own, "fills_doubles", False):
        return

    def convert(scope: Any, operator: Any, container: Any) -> None:
        model, table = operator.raw_operator, operator.inputs[0]
        if not _is_plain(model) or not isinstance(table.type, types.DoubleTensorType):
            own(scope, operator, container)
            return
        gaps, values = scope.get_unique_variable_name("gaps"), scope.get_unique_variable_name("values")
        known = np.asarray(model.statistics_, dtype=np.float64)
        container.add_initializer(values, 11, [1, len(known)], known)
        container.add_node("IsNaN", [table.full_name], [gaps], op_version=13)
        filled = [gaps, values, table.full_name]
        container.add_node("Where", filled, [operator.outputs[0].full_name], op_version=16)

    convert.fills_doubles = True  # type: ignore[attr-defined]
    library.update_registered_converter(
        imputer, ALIAS, registration.get_shape_calculator(ALIAS), convert, overwrite=True
    )


def _is_plain(model: Any) -> bool:
    """Whether it puts a number for NaN, column by column, and does nothing else."""
    missing, known = model.missing_values, np.asarray(model.statistics_)
    is_nan = isinstance(missing, float) and np.isnan(missing)
    return bool(is_nan and not model.add_indicator and known.dtype.kind == "f" and np.isfinite(known).all())
