"""Metrics of a fitted model on test data, computed with nothing but numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelyard.client.later import Later
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.model import Function

if TYPE_CHECKING:
    import numpy as np
else:
    np = Later("numpy")


def function_of(model: Any, y_test: Any) -> Function:
    """What kind of answer the model gives: its own word first, then the look of the targets."""
    kind = getattr(model, "_estimator_type", None)
    kind = kind or getattr(_tags(model), "estimator_type", None)
    named = {
        "classifier": Function.CLASSIFICATION,
        "regressor": Function.REGRESSION,
        "clusterer": Function.CLUSTERING,
    }
    if kind in named:
        return named[kind]
    if y_test is None:
        return Function.UNKNOWN
    y = np.asarray(y_test)
    if y.ndim >= 2 and y.shape[-1] > 1:
        return Function.CLASSIFICATION
    return Function.REGRESSION if y.dtype.kind == "f" else Function.CLASSIFICATION


def evaluate(model: Any, x_test: Any, y_test: Any, function: Function) -> dict[str, float]:
    """Accuracy and weighted F1, or errors and explained variance; empty when there is nothing to compare.

    Raises Invalid when `x_test` and `y_test` differ in length.
    """
    if x_test is None or y_test is None or not callable(getattr(model, "predict", None)):
        return {}
    truth = np.asarray(y_test)
    answer = np.asarray(_answer(model, x_test))
    if len(truth) != len(answer):
        message = f"has {len(truth)} rows, x_test has {len(answer)}; give one target for each row"
        raise Invalid(f"y_test {message}", errors=[FieldError("y_test", message)])
    if function is Function.CLASSIFICATION:
        return _classification(truth, answer)
    if function is Function.REGRESSION:
        return _regression(truth.astype(float), answer.astype(float))
    return {}


def _answer(model: Any, x_test: Any) -> Any:
    """What the model says; Keras shows no progress bar."""
    quiet = any(kind.__module__.partition(".")[0] == "keras" for kind in type(model).__mro__)
    return model.predict(x_test, verbose=0) if quiet else model.predict(x_test)


def _classification(truth: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    if answer.ndim == 2 and truth.ndim == 1:
        answer = _single(answer[:, 0], truth) if answer.shape[1] == 1 else answer.argmax(axis=1)
    accuracy = float(np.mean(np.all((truth == answer).reshape(len(truth), -1), axis=1)))
    if truth.ndim > 1:
        return {"accuracy": accuracy}
    classes, counts = np.unique(truth, return_counts=True)
    scores = [_f1(truth == each, answer == each) for each in classes]
    return {"accuracy": accuracy, "f1": float(np.average(scores, weights=counts))}


def _single(answer: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """One answer a row: the labels themselves, or a network's probabilities of the second of two classes."""
    if answer.dtype.kind != "f" or truth.dtype.kind == "f" or np.array_equal(answer, np.floor(answer)):
        return answer
    return (answer > 0.5).astype(truth.dtype)


def _f1(truth: np.ndarray, answer: np.ndarray) -> float:
    hits = float(np.sum(truth & answer))
    return 2 * hits / (float(truth.sum()) + float(answer.sum())) if hits else 0.0


def _regression(truth: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    residual = truth - answer.reshape(truth.shape)
    variance = float(np.var(truth))
    explained = 1.0 - float(np.var(residual)) / variance if variance else 0.0
    return {
        "explained_variance": explained,
        "mae": float(np.mean(np.abs(residual))),
        "rmse": float(np.sqrt(np.mean(residual**2))),
    }


def _tags(model: Any) -> Any:
    tags = getattr(type(model), "__sklearn_tags__", None)
    try:
        return tags(model) if tags else None
    except AttributeError:  # an old-style estimator under a new scikit-learn has no tags
        return None
