"""Loads XGBoost models: boosters in JSON or UBJSON, and pickled scikit-learn wrappers."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Tuple

from modelyard_worker import fitted, outputs, signatures, tables
from modelyard_worker.boosters import Objective
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import estimators, lean, pickles

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays


def load(config: Mapping[str, Any]) -> Loaded:
    """Load a booster, or a wrapper from a joblib or pickle file."""
    if config.get("serialization") in ("joblib", "pickle", "skops"):
        with lean.hidden("pandas", "rich"), lean.statistics_later():
            library = importlib.import_module("xgboost")
        model, _ = pickles.read(config)
        if not isinstance(model, library.Booster):
            return estimators.load_estimator(model, config, version=library.__version__)
    else:
        with lean.hidden("pandas", "sklearn"):
            library = importlib.import_module("xgboost")
        model = library.Booster()
        model.load_model(entry_path(config))
    return _load_booster(library, model, config)


def _load_booster(library: Any, booster: Any, config: Mapping[str, Any]) -> Loaded:
    if threads(config):
        booster.set_param({"nthread": threads(config)})
    settings = json.loads(booster.save_config())
    objective, kind = _objective(settings)
    given = published(config)
    known = fitted.Inputs(
        names=_names(booster), count=int(booster.num_features()), examples={}, categories={}, documents=False,
        frame=False, single=False,
    )  # fmt: skip
    inputs = tables.input_specs(known, given)
    specs, adapt = outputs.declared(given.get("outputs") or (), objective.specs())
    build = tables.builder(known, inputs)
    scores = _scorer(library, booster, kind)

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        answer: Arrays = adapt(objective.answer(scores(build(tensors))))
        return answer

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="GPU" if str(settings["learner"]["generic_param"].get("device", "cpu")) != "cpu" else "CPU",
        info={
            "framework_version": _version(settings, library),
            "algorithm": objective.algorithm,
            "function": objective.function,
        },
        predict=predict,
        source=booster,
        known=known,
        objective=objective,
        set_threads=lambda count: booster.set_param({"nthread": count}),
    )


def _scorer(library: Any, booster: Any, kind: str) -> Callable[[Any], Any]:
    if kind == "gblinear":
        names = booster.feature_names
        return lambda table: booster.predict(library.DMatrix(table, feature_names=names))
    return lambda table: booster.inplace_predict(table, validate_features=False)


def _objective(settings: Mapping[str, Any]) -> Tuple[Objective, str]:
    learner = settings["learner"]
    classes = int(learner["learner_model_param"].get("num_class", 0) or 0)
    name = str(learner["objective"]["name"])
    return Objective(name=name, classes=classes), str(learner["gradient_booster"]["name"])


def _version(settings: Mapping[str, Any], library: Any) -> str:
    parts: List[Any] = settings.get("version") or []
    return ".".join(str(part) for part in parts) or str(library.__version__)


def _names(booster: Any) -> Any:
    names = booster.feature_names
    if names is not None and len(names) != booster.num_features():
        raise Failure(
            "ArtifactCorrupt", "the booster names another number of features than it was trained on"
        )
    return names
