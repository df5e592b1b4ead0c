"""Loads CatBoost models, `.cbm` or JSON, with the answers that its scikit-learn wrappers give."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Tuple

import numpy as np

from modelyard_worker import fitted, outputs, signatures, tables
from modelyard_worker.arrays import normal
from modelyard_worker.config import entry_path, published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

SEVERAL_LABELS = ("MultiLogloss", "MultiCrossEntropy")
CLASSIFYING = ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll")
RANKING = ("Query", "YetiRank", "PairLogit", "LambdaMart", "Stochastic", "Group")
FORMS = {"catboost-cbm": "cbm", "catboost-json": "json"}
ANY_CATEGORY = "any"
"""A value for made-up rows: CatBoost takes categories that it has not seen."""

Answer = Callable[[Any], Dict[str, Any]]


def load(config: Mapping[str, Any]) -> Loaded:
    """Load a model; categorical and text features are BYTES tensors, one for each column."""
    library = importlib.import_module("catboost")
    form = FORMS.get(str(config.get("serialization")), "cbm")
    model = library.CatBoost().load_model(entry_path(config), format=form)
    loss = str((model.get_all_params() or {}).get("loss_function", "")).partition(":")[0]
    classifies = loss in CLASSIFYING + SEVERAL_LABELS
    wrapper = library.CatBoostClassifier if classifies else library.CatBoostRegressor
    model = wrapper().load_model(entry_path(config), format=form)
    if len(model.get_embedding_feature_indices()):
        raise Failure("ModelLoadFailed", "the model takes embeddings as features: publish a model.py for it")
    given = published(config)
    known = _inputs(model)
    inputs = tables.input_specs(known, given)
    own, answer = _answers(model, loss, {"thread_count": threads(config) or -1})
    specs, adapt = outputs.declared(given.get("outputs") or (), own, shaped=False)
    build = tables.builder(known, inputs)

    def predict(tensors: Arrays, _: Mapping[str, Any]) -> Arrays:
        answered: Arrays = adapt(answer(build(tensors)))
        return answered

    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": library.__version__,
            "algorithm": f"CatBoost ({loss})" if loss else "CatBoost",
            "function": "unknown" if loss.startswith(RANKING) else _function(classifies),
            "examples": known.example_by_name,
        },
        predict=predict,
    )


def _function(classifies: bool) -> str:
    return "classification" if classifies else "regression"


def _inputs(model: Any) -> fitted.Inputs:
    names = [str(name) for name in model.feature_names_]
    texts = sorted({*model.get_cat_feature_indices(), *model.get_text_feature_indices()})
    return fitted.Inputs(
        names=None if names == [str(at) for at in range(len(names))] else names,
        count=len(names), examples={at: ANY_CATEGORY for at in texts}, categories={}, documents=False,
        frame=False, single=False,
    )  # fmt: skip


def _answers(model: Any, loss: str, options: Mapping[str, Any]) -> Tuple[List[Spec], Answer]:
    if loss in SEVERAL_LABELS:
        return _several_labels(model, options)
    if loss in CLASSIFYING:
        return _classes(model, options)
    bias = np.asarray(model.get_scale_and_bias()[1])
    specs = [signatures.spec("prediction", "FP64", [-1, len(bias)] if bias.size > 1 else [-1])]
    return specs, lambda table: {"prediction": np.asarray(model.predict(table, **options), dtype=np.float64)}


def _classes(model: Any, options: Mapping[str, Any]) -> Tuple[List[Spec], Answer]:
    classes = _labels(model.classes_)
    columns = [_shown(each) for each in np.asarray(model.classes_).tolist()]
    specs = [
        signatures.spec_of("label", classes),
        signatures.spec("probabilities", "FP64", [-1, len(columns)], columns),
    ]
    threshold = model.get_probability_threshold() if len(columns) == 2 else None

    def answer(table: Any) -> Dict[str, Any]:
        probabilities = np.asarray(model.predict_proba(table, **options), dtype=np.float64)
        if threshold is None:
            chosen = probabilities.argmax(axis=1)
        else:
            chosen = (probabilities[:, 1] > threshold).astype(np.int64)
        return {"label": classes[chosen], "probabilities": probabilities}

    return specs, answer


def _several_labels(model: Any, options: Mapping[str, Any]) -> Tuple[List[Spec], Answer]:
    columns = [_shown(each) for each in np.asarray(model.classes_).tolist()]
    specs = [
        signatures.spec("label", "INT64", [-1, len(columns)], columns),
        signatures.spec("probabilities", "FP64", [-1, len(columns)], columns),
    ]

    def answer(table: Any) -> Dict[str, Any]:
        probabilities = np.asarray(model.predict_proba(table, **options), dtype=np.float64)
        label = np.asarray(model.predict(table, **options)).astype(np.int64)
        return {"label": label, "probabilities": probabilities}

    return specs, answer


def _labels(classes: Any) -> Any:
    array = np.asarray(classes)
    if array.dtype.kind in "bi" or (array.dtype.kind == "f" and np.array_equal(array, np.floor(array))):
        return array.astype(np.int64)
    return normal(array, "label")


def _shown(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
