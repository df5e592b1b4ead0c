"""Loads scikit-learn estimators and pipelines."""

from __future__ import annotations

from typing import Any, Mapping

from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import estimators, lean, pickles


def load(config: Mapping[str, Any]) -> Loaded:
    """Load a fitted estimator from a joblib, pickle or skops file."""
    library = lean.scikit_learn()
    model, written_with = pickles.read(config)
    return estimators.load_estimator(model, config, version=written_with or library.__version__)
