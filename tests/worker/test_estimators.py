"""Labels and probabilities are the estimator's own, also where one pass gives both."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from modelyard_worker.failures import Failure
from modelyard_worker.loaders.estimators import load_estimator

CLASSIFIERS = [
    RandomForestClassifier(n_estimators=4, random_state=0),
    ExtraTreesClassifier(n_estimators=4, random_state=0),
    BaggingClassifier(n_estimators=4, random_state=0),
    GradientBoostingClassifier(n_estimators=3),
    HistGradientBoostingClassifier(max_iter=3),
    LogisticRegression(),
    GaussianNB(),
    BernoulliNB(),
    KNeighborsClassifier(4),
    SVC(),
    RidgeClassifier(),
    CalibratedClassifierCV(SVC(), cv=2),
    make_pipeline(StandardScaler(), LogisticRegression()),
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
]


@pytest.mark.parametrize("names", [None, ["low", "middle", "high"]])
@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda model: type(model).__name__)
def test_labels_are_those_of_predict(model: Any, names: list[str] | None) -> None:
    random = np.random.default_rng(5)
    x = np.round(random.normal(size=(120, 3)), 1)
    y = np.digitize(x.sum(axis=1), [-0.5, 0.5])
    model = model.fit(x, y if names is None else np.asarray(names)[y])
    loaded = load_estimator(model, {}, version="")
    answer = loaded.predict({"input": x}, {})
    expected = model.predict(x).tolist()
    assert answer["label"].tolist() == (expected if names is None else [each.encode() for each in expected])
    if hasattr(model, "predict_proba"):
        np.testing.assert_array_equal(answer["probabilities"], model.predict_proba(x))
        assert loaded.signature["outputs"][1]["columns"] == [str(each) for each in model.classes_]
    only = loaded.predict({"input": x}, {"requested_outputs": ["label"]})
    assert list(only) == ["label"]
    assert only["label"].tolist() == answer["label"].tolist()


def test_equal_probabilities_are_decided_by_predict() -> None:
    model = LogisticRegression().fit([[-1.0], [1.0]], [0, 1])
    model.intercept_ = np.asarray([0.0])
    x = np.asarray([[1e-20], [-1e-20], [0.0]])
    assert np.unique(model.predict_proba(x)).tolist() == [0.5]
    answer = load_estimator(model, {}, version="").predict({"input": x}, {})
    assert answer["label"].tolist() == model.predict(x).tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("model", "function"),
    [
        (IsolationForest(n_estimators=3, random_state=0), "unknown"),
        (GaussianMixture(2, random_state=0), "clustering"),
    ],
    ids=["outliers", "mixture"],
)
def test_other_predictors_answer_labels(model: Any, function: str) -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    loaded = load_estimator(model.fit(x), {}, version="")
    assert loaded.info["function"] == function
    assert loaded.predict({"input": x}, {})["label"].tolist() == model.predict(x).tolist()


def test_a_transformer_alone_answers_what_it_transforms_to() -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    model = StandardScaler().fit(x)
    np.testing.assert_allclose(
        load_estimator(model, {}, version="").predict({"input": x}, {})["output"], model.transform(x)
    )


def test_several_targets_have_a_column_each() -> None:
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = (x > 0).astype(int)
    model = MultiOutputClassifier(LogisticRegression()).fit(x, y)
    loaded = load_estimator(model, {}, version="")
    assert loaded.signature["outputs"][0]["shape"] == [-1, 2]
    assert loaded.predict({"input": x}, {})["label"].tolist() == model.predict(x).tolist()


def test_an_object_that_is_no_estimator_is_refused() -> None:
    with pytest.raises(Failure, match="the file holds a dict: expected a fitted estimator with predict"):
        load_estimator({"a": 1}, {}, version="")


def test_threads_are_bounded_in_every_part_of_a_model() -> None:
    x = np.random.default_rng(0).normal(size=(20, 2))
    forest = RandomForestClassifier(n_estimators=2, n_jobs=-1, random_state=0)
    model = make_pipeline(StandardScaler(), forest).fit(x, x[:, 0] > 0)
    load_estimator(model, {"threads": 2}, version="")
    assert forest.n_jobs == 2
