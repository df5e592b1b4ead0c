"""Small real models of CatBoost, fitted and written to a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.models import IRIS_ROW, MIXED_RECORD, WrittenModel, expected_of, iris, mixed_frame, version

OPTIONS = {"verbose": False, "thread_count": 1, "allow_writing_files": False}


def catboost_classifier(directory: Path) -> WrittenModel:
    """Three classes of text, from two numeric columns and a categorical one."""
    import catboost

    frame = mixed_frame()
    kinds = np.where(frame["age"] > 50, "old", np.where(frame["city"] == "Delft", "local", "young"))
    model = catboost.CatBoostClassifier(iterations=8, depth=3, cat_features=["city"], **OPTIONS)
    return _write_catboost(directory, model.fit(frame, kinds), rows=[MIXED_RECORD])


def catboost_binary(directory: Path) -> WrittenModel:
    """Two classes, from an array of numbers, saved as JSON."""
    import catboost

    x, y = iris()
    model = catboost.CatBoostClassifier(iterations=5, depth=2, **OPTIONS).fit(x, y > 0)
    return _write_catboost(directory, model, rows=[IRIS_ROW], form="json")


def catboost_regressor(directory: Path) -> WrittenModel:
    """One number, always positive: its answer is the exponent of what the trees say."""
    import catboost

    frame = mixed_frame()
    model = catboost.CatBoostRegressor(iterations=5, depth=2, loss_function="Poisson", **OPTIONS)
    return _write_catboost(
        directory, model.fit(frame[["age", "income"]], frame["age"]), rows=[[44.0, 1200.0]]
    )


def _write_catboost(directory: Path, model: Any, *, rows: list[Any], form: str = "cbm") -> WrittenModel:
    directory.mkdir(parents=True, exist_ok=True)
    model.save_model(directory / f"model.{form}", format=form)
    return WrittenModel(
        directory=directory,
        format="catboost",
        serialization=f"catboost-{form}",
        entry=f"model.{form}",
        framework_version=version("catboost"),
        rows=rows,
        expected=expected_of(model, rows),
    )


EVERY: dict[str, Callable[[Path], WrittenModel]] = {
    "catboost-cbm": catboost_classifier,
    "catboost-json": catboost_binary,
    "catboost-regressor": catboost_regressor,
}
"""A model of every kind, by name."""
