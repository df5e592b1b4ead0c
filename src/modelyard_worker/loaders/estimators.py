"""Any fitted estimator with predict or transform, from whatever library, as a loaded model."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from modelyard_worker import fitted, outputs, samples, signatures, tables
from modelyard_worker.arrays import native, normal
from modelyard_worker.config import published, threads
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays
    from modelyard_worker.signatures import Spec

ARGMAX = (
    "RandomForestClassifier",
    "ExtraTreesClassifier",
    "DecisionTreeClassifier",
    "ExtraTreeClassifier",
    "BaggingClassifier",
    "XGBClassifier",
    "XGBRFClassifier",
    "LGBMClassifier",
)
"""Classifiers whose predict is by definition the most probable class, so that one pass gives both answers."""

MONOTONE = (
    "LogisticRegression",
    "LogisticRegressionCV",
    "GradientBoostingClassifier",
    "HistGradientBoostingClassifier",
    "GaussianNB",
    "MultinomialNB",
    "BernoulliNB",
)
"""Classifiers whose probabilities rise with the scores that predict compares: the same unless two tie."""

Answer = Callable[[Any, Optional[Sequence[str]]], Dict[str, Any]]


def load_estimator(model: Any, config: Mapping[str, Any], *, version: str) -> Loaded:
    """Make a fitted estimator ready.

    Raises Failure(ModelLoadFailed) for objects that neither predict nor transform,
    Failure(SignatureMismatch) when the publisher's signature contradicts the estimator.
    """
    if not hasattr(model, "predict") and not hasattr(model, "transform"):
        kind = type(model).__name__
        raise Failure("ModelLoadFailed", f"the file holds a {kind}: expected a fitted estimator with predict")
    _require_fitted(model)
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    set_threads = _threads_of(model)
    if threads(config):
        set_threads(threads(config))
    given = published(config)
    known = fitted.inputs_of(model)
    inputs = tables.input_specs(known, given)
    function = function_of(model)
    own, answer = _answers(model, function)
    specs, adapt = outputs.declared(given.get("outputs") or (), own, shaped=False)
    build = tables.builder(known, inputs)

    def predict(tensors: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        answered: Arrays = adapt(answer(build(tensors), parameters.get("requested_outputs")))
        return answered

    samples.warm(predict, inputs, given.get("sample"))
    return Loaded(
        signature=signatures.signature(inputs, specs, given),
        device="CPU",
        info={
            "framework_version": version,
            "algorithm": type(_last(model)).__name__,
            "function": function,
            "examples": known.example_by_name,
        },
        predict=predict,
        source=model,
        known=known,
        set_threads=set_threads,
    )


def _require_fitted(model: Any) -> None:
    validation = sys.modules.get("sklearn.utils.validation")
    if validation is None or not type(model).__module__.startswith("sklearn."):
        return
    try:
        validation.check_is_fitted(model)
    except sys.modules["sklearn.exceptions"].NotFittedError as error:
        kind = type(model).__name__
        raise Failure(
            "ModelLoadFailed", f"the {kind} is not fitted: call fit before publishing it"
        ) from error


def function_of(model: Any) -> str:
    """What kind of answer an estimator gives: classification, regression, clustering or unknown."""
    last = _last(model)
    declared = getattr(last, "_estimator_type", None)
    names = [kind.__name__ for kind in type(last).__mro__]
    if hasattr(model, "classes_") or declared == "classifier" or "ClassifierMixin" in names:
        return "classification"
    if "OutlierMixin" in names or declared == "outlier_detector" or not hasattr(model, "predict"):
        return "unknown"
    if declared == "clusterer" or "ClusterMixin" in names or hasattr(last, "fit_predict"):
        return "clustering"
    return "regression"


def _last(model: Any) -> Any:
    for name in ("best_estimator_", "regressor_"):
        if hasattr(model, name):
            return _last(getattr(model, name))
    steps = getattr(model, "steps", None)
    return _last(steps[-1][1]) if isinstance(steps, list) and steps else model


def _threads_of(model: Any) -> Callable[[int], None]:
    """Sets with how many threads an estimator, and the libraries below it, compute."""
    parts = [
        part
        for part in fitted.walk(model)
        if getattr(part, "n_jobs", None) not in (None, 1) and hasattr(part, "get_params")
    ]

    def set_threads(count: int) -> None:
        for part in parts:
            part.n_jobs = count
        pools = sys.modules.get("threadpoolctl")  # scikit-learn brings it along
        if pools is not None:
            pools.threadpool_limits(limits=count)

    return set_threads


def _answers(model: Any, function: str) -> "tuple[List[Spec], Answer]":
    if not hasattr(model, "predict"):
        return [signatures.spec("output", "FP64", [-1, -1])], lambda table, _: {
            "output": _dense(model.transform(table))
        }
    if function == "classification":
        return _classifier(model)
    if function == "regression":
        several = getattr(_last(model), "n_outputs_", 1)
        specs = [signatures.spec("prediction", "FP64", [-1, several] if several > 1 else [-1])]
        return specs, lambda table, _: {
            "prediction": native(np.asarray(model.predict(table), dtype=np.float64))
        }
    return [signatures.spec("label", "INT64", [-1])], lambda table, _: {
        "label": labels_of(model.predict(table))
    }


def _classifier(model: Any) -> "tuple[List[Spec], Answer]":
    classes = getattr(model, "classes_", None)
    if classes is None or isinstance(classes, list) or not hasattr(model, "predict_proba"):
        several = len(classes) if isinstance(classes, list) else 1
        sample = labels_of(
            np.asarray(classes[0] if isinstance(classes, list) else classes if classes is not None else [0])
        )
        specs = [{**signatures.spec_of("label", sample), "shape": [-1, several] if several > 1 else [-1]}]
        return specs, lambda table, _: {"label": labels_of(model.predict(table))}
    labels = labels_of(np.asarray(classes))
    columns = [_class_name(each) for each in np.asarray(classes).tolist()]
    specs = [
        signatures.spec_of("label", labels),
        signatures.spec("probabilities", "FP64", [-1, len(columns)], columns),
    ]
    once = _one_pass(_last(model))

    def answer(table: Any, wanted: Optional[Sequence[str]]) -> Dict[str, Any]:
        if wanted is not None and "probabilities" not in wanted:
            return {"label": labels_of(model.predict(table))}
        probabilities = native(np.asarray(model.predict_proba(table), dtype=np.float64))
        if once(probabilities) and probabilities.shape[1:] == labels.shape:
            return {"label": labels[probabilities.argmax(axis=1)], "probabilities": probabilities}
        return {"label": labels_of(model.predict(table)), "probabilities": probabilities}

    return specs, answer


def _one_pass(last: Any) -> Callable[[Any], bool]:
    """Whether the labels for some probabilities are those of the highest ones."""
    name, known = type(last).__name__, type(last).__module__.startswith(fitted.PLAIN)
    if known and name in ARGMAX:
        return lambda probabilities: True
    if not known or name not in MONOTONE:
        return lambda probabilities: False

    def distinct(probabilities: Any) -> bool:
        highest = probabilities.max(axis=1, keepdims=True)
        return int(np.count_nonzero(probabilities == highest)) == len(probabilities)

    return distinct


def _class_name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def labels_of(values: Any) -> Any:
    """Labels as they are answered: INT64 for numbers without a fraction, else BYTES or what they are."""
    array = np.asarray(values)
    if array.dtype.kind in "iu" or (array.dtype.kind == "f" and np.array_equal(array, np.floor(array))):
        return native(array.astype(np.int64, copy=False))
    if array.dtype.kind == "b":
        return native(array.astype(np.int64))
    return normal(array, "label")


def _dense(values: Any) -> Any:
    values = values.toarray() if hasattr(values, "toarray") else values
    return normal(np.asarray(values), "output")
