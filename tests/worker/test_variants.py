"""A compiled variant answers as its original does, or is not used and says why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded
from modelyard_worker.loaders import estimators, guarded
from modelyard_worker.loaders import lightgbm as lightgbm_loader
from modelyard_worker.loaders import variant as variant_loader
from modelyard_worker.variants import deciding, graphs, parity, timing
from modelyard_worker.variants.trees import split
from tests.support import models
from tests.worker import process

FEATURES = 4
CLASSIFIERS: dict[str, Any] = {
    "forest": lambda n, depth: RandomForestClassifier(n, max_depth=depth, random_state=1),
    "extra": lambda n, depth: ExtraTreesClassifier(n, max_depth=depth, random_state=1),
    "tree": lambda n, depth: DecisionTreeClassifier(max_depth=depth, random_state=1),
    "boosting": lambda n, depth: GradientBoostingClassifier(n_estimators=n, max_depth=depth or 3),
    "histogram": lambda n, depth: HistGradientBoostingClassifier(max_iter=n, max_depth=depth),
    "scaled forest": lambda n, depth: make_pipeline(
        StandardScaler(), RandomForestClassifier(n, max_depth=depth, random_state=1)
    ),
    "logistic": lambda n, depth: make_pipeline(StandardScaler(), LogisticRegression()),
}
REGRESSORS: dict[str, Any] = {
    "forest": lambda n, depth: RandomForestRegressor(n, max_depth=depth, random_state=1),
    "boosting": lambda n, depth: GradientBoostingRegressor(n_estimators=n, max_depth=depth or 3),
    "histogram": lambda n, depth: HistGradientBoostingRegressor(max_iter=n, max_depth=depth),
    "linear": lambda n, depth: LinearRegression(),
}
EXAMPLES = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
    derandomize=True,
)


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONGEST_SECONDS", 0.01)


def loaded_of(model: Any) -> Loaded:
    return guarded(estimators.load_estimator(model, {}, version=""), {})


def decide(loaded: Loaded, directory: Path, wanted: str = "onnx") -> dict[str, Any]:
    config = {"optimize": {"wanted": wanted, "directory": str(directory)}, "threads": 1}
    return deciding.optimize(loaded, config, loaded.signature)


def variant_of(loaded: Loaded, directory: Path, kind: str = "onnx") -> Loaded:
    config = {
        "format": "variant", "serialization": kind, "entry": f"variant.{kind}", "path": str(directory),
        "files": [], "signature": loaded.signature, "threads": 1,
    }  # fmt: skip
    return variant_loader.load(config)


def near_splits(model: Any, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The rows with values that are thresholds, or next to them in single or double precision."""
    found = split(model)
    if found is None or found.before is not None:
        return rows
    forest = found.trees.forest
    inner = np.flatnonzero(forest.left >= 0)
    if not len(inner):
        return rows
    rows = rows.copy()
    for at, node in enumerate(random.choice(inner, len(rows))):
        value = forest.threshold[node]
        near = [value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf), float(np.float32(value))]
        rows[at, forest.feature[node]] = near[at % 4]
    return rows


def assert_same(model: Any, loaded: Loaded, compiled: Loaded, random: np.random.Generator) -> None:
    rows = near_splits(model, random.normal(size=(200, FEATURES)) * 2, random)
    expected, got = loaded.predict({"input": rows}, {}), compiled.predict({"input": rows}, {})
    assert list(got) == list(expected)
    for name, wanted in expected.items():
        assert got[name].dtype == wanted.dtype
        assert got[name].shape == wanted.shape
        if name == "label":
            assert got[name].tolist() == wanted.tolist()
        else:
            np.testing.assert_allclose(got[name], wanted, rtol=parity.TOLERANCE, atol=parity.TOLERANCE)


@pytest.mark.parametrize("kind", sorted(CLASSIFIERS))
@EXAMPLES
@given(seed=st.integers(0, 10_000), count=st.integers(1, 8), depth=st.sampled_from([1, 3, None]),
       classes=st.sampled_from([["no", "yes"], [0, 1], [3, 5, 9]]))  # fmt: skip
def test_any_classifier_s_variant_gives_its_labels(
    kind: str, seed: int, count: int, depth: int | None, classes: list[Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    x = np.round(random.normal(size=(80, FEATURES)), 2)
    y = np.asarray(classes)[
        np.digitize(x[:, 0] + x[:, 1] * x[:, 2], np.linspace(-0.4, 0.4, len(classes) - 1))
    ]
    if len(set(y.tolist())) < len(classes):
        return
    model = CLASSIFIERS[kind](count, depth).fit(x, y)
    loaded, directory = loaded_of(model), tmp_path_factory.mktemp("variant")
    decided = decide(loaded, directory)
    assert decided["chosen"] == "onnx", decided
    assert decided["candidates"][0]["parity"]["label_mismatches"] == 0
    assert_same(model, loaded, variant_of(loaded, directory), random)


@pytest.mark.parametrize("kind", sorted(REGRESSORS))
@EXAMPLES
@given(seed=st.integers(0, 10_000), count=st.integers(1, 8), depth=st.sampled_from([1, 3, None]))
def test_any_regressor_s_variant_gives_its_numbers(
    kind: str, seed: int, count: int, depth: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(80, FEATURES))
    model = REGRESSORS[kind](count, depth).fit(x, 10 * x[:, 0] + x[:, 1] * x[:, 2])
    loaded, directory = loaded_of(model), tmp_path_factory.mktemp("variant")
    decided = decide(loaded, directory)
    assert decided["chosen"] == "onnx", decided
    assert_same(model, loaded, variant_of(loaded, directory), random)


def forest(seed: int = 0) -> tuple[Any, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(200, FEATURES))
    return RandomForestClassifier(20, random_state=seed).fit(x, (x[:, 0] * x[:, 1] > 0).astype(int)), x


def test_auto_takes_the_faster_of_both(tmp_path: Path) -> None:
    loaded = loaded_of(forest()[0])
    decided = decide(loaded, tmp_path, "auto")
    assert [each["kind"] for each in decided["candidates"]] == ["onnx", "treelite"]
    assert all(each["parity"]["held"] for each in decided["candidates"])
    times = {each["kind"]: each["speed"][0]["variant_seconds"] for each in decided["candidates"]}
    assert decided["chosen"] == min(times, key=lambda kind: times[kind])
    assert os.listdir(tmp_path) == [f"variant.{decided['chosen']}"]


def test_a_treelite_variant_answers_as_the_model(tmp_path: Path) -> None:
    model, _ = forest()
    loaded = loaded_of(model)
    assert decide(loaded, tmp_path, "treelite")["chosen"] == "treelite"
    assert_same(model, loaded, variant_of(loaded, tmp_path, "treelite"), np.random.default_rng(4))


def test_a_variant_that_answers_otherwise_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loaded_of(forest()[0])
    other = split(forest(seed=9)[0])
    assert other is not None
    made = graphs.candidates(loaded, loaded.signature, other)
    monkeypatch.setattr(graphs, "candidates", lambda *_: made)
    decided = decide(loaded, tmp_path)
    assert decided["chosen"] == ""
    assert "labels differ" in decided["reason"]
    assert decided["candidates"][0]["parity"]["label_mismatches"] > 0
    assert not os.listdir(tmp_path)


def test_a_threshold_rounded_to_single_precision_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(200, FEATURES))
    model = HistGradientBoostingClassifier(max_iter=10).fit(x, (x[:, 0] > 0).astype(int))
    loaded = loaded_of(model)
    found = split(model)
    assert found is not None
    found.trees.forest.threshold[:] = found.trees.forest.threshold.astype(np.float32)
    made = graphs.candidates(loaded, loaded.signature, found)
    monkeypatch.setattr(graphs, "candidates", lambda *_: made)
    decided = decide(loaded, tmp_path)
    assert decided["chosen"] == ""
    assert "no parity" in decided["reason"]


def test_what_is_not_faster_is_not_used() -> None:
    def tried(one: float, many: float) -> dict[str, Any]:
        speed = [
            {"batch": 1, "original_seconds": one, "variant_seconds": 1.0},
            {"batch": 100, "original_seconds": many, "variant_seconds": 1.0},
        ]
        return {"kind": "onnx", "reason": "", "parity": None, "speed": speed}

    assert deciding.decide("auto", [tried(1.1, 2.0)])["chosen"] == ""
    assert deciding.decide("auto", [tried(3.0, 0.9)])["chosen"] == ""
    assert deciding.decide("auto", [tried(3.0, 1.1)])["chosen"] == "onnx"
    assert deciding.decide("onnx", [tried(0.5, 0.5)])["chosen"] == "onnx"


def test_what_cannot_be_compiled_says_so(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(100, FEATURES))
    y = (x[:, 0] > 0).astype(int)
    model = BaggingClassifier(n_estimators=3, random_state=0).fit(x, y)
    decided = decide(loaded_of(model), tmp_path, "treelite")
    assert decided["chosen"] == ""
    assert "treelite takes ensembles of trees alone" in decided["reason"]


@pytest.mark.filterwarnings(
    "ignore:overflow encountered in cast:RuntimeWarning"
)  # numpy's, on the way to the error
@pytest.mark.parametrize(("kind", "value"), [("logistic", np.nan), ("forest", np.inf), ("forest", 1e300)])
def test_it_refuses_what_the_model_refuses_in_the_same_words(kind: str, value: float, tmp_path: Path) -> None:
    _, x = forest()
    loaded = loaded_of(CLASSIFIERS[kind](5, None).fit(x, (x[:, 0] > 0).astype(int)))
    assert decide(loaded, tmp_path)["chosen"] == "onnx"
    row = x[:1].copy()
    row[0, 1] = value
    said = []
    for predict in (loaded.predict, variant_of(loaded, tmp_path).predict):
        with pytest.raises(Failure) as caught:
            predict({"input": row}, {})
        said.append((caught.value.reason, caught.value.message))
    assert said[0] == said[1]


def table(handle_unknown: str) -> tuple[Any, pd.DataFrame]:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"age": random.normal(40, 10, 200), "city": random.choice(["Rome", "Oslo", "Bern"], 200)}
    )
    steps = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("c", OneHotEncoder(handle_unknown=handle_unknown), ["city"]),
        ]
    )
    target = np.where(frame["city"] == "Rome", "yes", "no")
    return make_pipeline(steps, GradientBoostingClassifier(n_estimators=5)).fit(frame, target), frame


def request(age: float, city: str) -> dict[str, Any]:
    return {"age": np.asarray([age]), "city": np.asarray([city.encode()], dtype=object)}


def test_a_pipeline_of_text_and_gaps_is_compiled(tmp_path: Path) -> None:
    model, _ = table("ignore")
    loaded = loaded_of(model)
    assert decide(loaded, tmp_path)["chosen"] == "onnx"
    compiled = variant_of(loaded, tmp_path)
    for asked in (request(41.5, "Rome"), request(np.nan, "Oslo"), request(20.0, "Paris")):
        expected, got = loaded.predict(asked, {}), compiled.predict(asked, {})
        assert got["label"].tolist() == expected["label"].tolist()
        np.testing.assert_allclose(got["probabilities"], expected["probabilities"], atol=1e-12)


def test_unknown_words_are_refused_as_the_model_does(tmp_path: Path) -> None:
    model, _ = table("error")
    loaded = loaded_of(model)
    assert decide(loaded, tmp_path)["chosen"] == "onnx"
    with pytest.raises(Failure, match="Found unknown categories") as original:
        loaded.predict(request(30.0, "Paris"), {})
    with pytest.raises(Failure, match="Found unknown categories") as compiled:
        variant_of(loaded, tmp_path).predict(request(30.0, "Paris"), {})
    assert compiled.value.message == original.value.message


def test_lightgbm_takes_tiny_numbers_as_zero_and_so_does_the_variant(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    random = np.random.default_rng(0)
    x = random.normal(size=(300, FEATURES))
    data = lightgbm.Dataset(x, np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.5]))
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, data, 5)
    loaded = guarded(lightgbm_loader._load_booster(booster, {}, version=""), {})
    assert decide(loaded, tmp_path)["chosen"] == "onnx"
    rows = np.full((4, FEATURES), 1e-35) * np.asarray([[1.0], [-1.0], [0.5], [2.0]])
    expected = loaded.predict({"input": rows}, {})["probabilities"]
    got = variant_of(loaded, tmp_path).predict({"input": rows}, {})["probabilities"]
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_an_inspection_reports_the_decision_and_leaves_the_file(tmp_path: Path) -> None:
    model = models.EVERY["xgboost-json"](tmp_path / "model")
    out = tmp_path / "out"
    out.mkdir()
    config = model.config(sample=model.rows) | {"optimize": {"wanted": "onnx", "directory": str(out)}}
    result = process.inspect(config, tmp_path).result
    assert result["optimization"]["chosen"] == "onnx", result["optimization"]
    assert os.listdir(out) == ["variant.onnx"]
