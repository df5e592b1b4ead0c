"""Loads LightGBM models: boosters in text form, and pickled scikit-learn wrappers."""

from __future__ import annotations

import importlib
import re
from typing import TYPE_CHECKING, Any, Callable, Mapping

import numpy as np

from modelyard_worker import fitted, outputs, signatures, tables
from modelyard_worker.arrays import text
from modelyard_worker.boosters import Objective
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import estimators, lean, pickles

if TYPE_CHECKING:
    from modelyard_worker.loaded import Array, Arrays


def load(config: Mapping[str, Any]) -> Loaded:
    """Load a booster, or a wrapper from a joblib or pickle file."""
    if config.get("serialization") in ("joblib", "pickle", "skops"):
        with lean.hidden("pandas", "rich"), lean.statistics_later():
            library = importlib.import_module("lightgbm")
        model, _ = pickles.read(config)
        if not isinstance(model, library.Booster):
            return estimators.load_estimator(model, config, version=library.__version__)
    else:
        with lean.hidden("pandas", "sklearn"):
            library = importlib.import_module("lightgbm")
        _require_whole(entry_path(config), str(config.get("entry")))
        model = library.Booster(model_file=entry_path(config))
    return _load_booster(model, config, version=library.__version__)


def _require_whole(path: str, entry: str) -> None:
    """Refuse a file that was cut short; LightGBM itself would crash the process."""
    with open(path, "rb") as file:
        content = file.read()
    parameters = b"\nparameters:" not in content or b"\nend of parameters" in content
    if not content.startswith(b"tree") or b"\nend of trees" not in content or not parameters:
        raise Failure("ArtifactCorrupt", f"{entry} is damaged or cut short: publish it again")


def _load_booster(booster: Any, config: Mapping[str, Any], *, version: str) -> Loaded:
    header = booster.model_to_string(num_iteration=1)
    objective = _objective(header)
    given = published(config)
    known = _inputs(booster, header)
    inputs = tables.input_specs(known, given)
    specs, adapt = outputs.declared(given.get("outputs") or (), objective.specs())
    build = _coded(known, inputs) if known.categories else tables.builder(known, inputs)
    options = {"num_threads": threads(config)} if threads(config) else {}

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        answer: Arrays = adapt(objective.answer(booster.predict(build(tensors), **options)))
        return answer

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": version,
            "algorithm": objective.algorithm,
            "function": objective.function,
            "examples": known.example_by_name,
        },
        predict=predict,
        source=booster,
        known=known,
        objective=objective,
        set_threads=lambda count: options.update(num_threads=count),
    )


def _objective(header: str) -> Objective:
    name = re.search(r"^objective=(\S+)", header, re.MULTILINE)
    classes = re.search(r"^num_class=(\d+)", header, re.MULTILINE)
    return Objective(name=name.group(1) if name else "", classes=int(classes.group(1)) if classes else 0)


def _inputs(booster: Any, header: str) -> fitted.Inputs:
    names = booster.feature_name()
    own = None if all(re.fullmatch(r"Column_\d+", name) for name in names) else list(names)
    categories = fitted.lightgbm_categories(booster.pandas_categorical, header)
    examples = {at: str(values[0]) for at, values in categories.items() if isinstance(values[0], str)}
    return fitted.Inputs(
        names=own, count=len(names), examples=examples, categories=categories, documents=False, frame=False,
        single=False,
    )  # fmt: skip


def _coded(known: fitted.Inputs, specs: Any) -> Callable[[Any], Any]:
    codes = {
        at: {value: float(code) for code, value in enumerate(each)} for at, each in known.categories.items()
    }

    def build(tensors: Arrays) -> Any:
        signatures.check(specs, tensors)
        signatures.same_length(specs, tensors)
        columns = [tensors[name] for name in known.columns]
        return np.column_stack([_column(array, codes.get(at)) for at, array in enumerate(columns)])

    return build


def _column(array: Array, codes: Any) -> Array:
    if codes is None:
        return array.astype(np.float64)
    values = text(array) if array.dtype.kind == "O" else array.tolist()
    return np.asarray([codes.get(value, np.nan) for value in values])
