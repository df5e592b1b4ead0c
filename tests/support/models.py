"""Small real models of every format, fitted and written to a directory."""

from __future__ import annotations

import hashlib
import importlib.metadata
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

IRIS_ROW = [5.1, 3.5, 1.4, 0.2]
IRIS_NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
MIXED_RECORD = {"age": 44.0, "city": "Delft", "income": 1200.0}


@dataclass(frozen=True, kw_only=True)
class WrittenModel:
    """A model on disk, described as the platform would."""

    directory: Path
    format: str
    serialization: str
    entry: str
    framework_version: str
    rows: list[Any]
    """Example rows that the model can answer."""
    expected: dict[str, list[Any]] = field(default_factory=dict)
    """What the fitted object itself answers for those rows, by output name."""

    def config(self, **more: Any) -> dict[str, Any]:
        """The contents of worker.json."""
        return {
            "format": self.format,
            "serialization": self.serialization,
            "entry": self.entry,
            "path": str(self.directory),
            "files": files_of(self.directory),
            "signature": None,
            "function": "unknown",
            "framework_version": self.framework_version,
            "runtime": "host",
            "threads": 1,
            **more,
        }


def files_of(directory: Path) -> list[dict[str, Any]]:
    """Path, size and checksum of every file below a directory."""
    return [
        {
            "path": path.relative_to(directory).as_posix(),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def iris() -> tuple[Any, Any]:
    """150 flowers with 4 measures, and their 3 classes."""
    from sklearn.datasets import load_iris

    found = load_iris()
    return found.data, found.target


def iris_frame() -> Any:
    """The measures as a DataFrame with column names."""
    import pandas

    return pandas.DataFrame(iris()[0], columns=IRIS_NAMES)


def mixed_frame() -> Any:
    """60 people with two numeric columns and one of text."""
    import pandas

    random = np.random.default_rng(7)
    return pandas.DataFrame(
        {
            "age": random.integers(18, 80, 60).astype(float),
            "city": random.choice(["Aachen", "Delft", "Ghent"], 60),
            "income": random.normal(1000, 200, 60),
        }
    )


def sklearn_classifier(directory: Path, serialization: str = "joblib") -> WrittenModel:
    """Logistic regression fitted on an array."""
    from sklearn.linear_model import LogisticRegression

    x, y = iris()
    model = LogisticRegression(max_iter=500).fit(x, y)
    return write_object(directory, model, serialization, rows=[IRIS_ROW])


def sklearn_forest(directory: Path, serialization: str = "joblib") -> WrittenModel:
    """Random forest fitted on a DataFrame with text classes."""
    from sklearn.ensemble import RandomForestClassifier

    y = np.asarray(["setosa", "versicolor", "virginica"])[iris()[1]]
    model = RandomForestClassifier(n_estimators=10, random_state=3, n_jobs=-1).fit(iris_frame(), y)
    return write_object(directory, model, serialization, rows=[IRIS_ROW])


def sklearn_mixed(directory: Path, serialization: str = "joblib") -> WrittenModel:
    """Pipeline of a column transformer and a classifier, fitted on a DataFrame with a column of text."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age", "income"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    model = Pipeline([("columns", columns), ("model", LogisticRegression())])
    frame = mixed_frame()
    model.fit(frame, (frame["age"] > 40).astype(int))
    return write_object(directory, model, serialization, rows=[MIXED_RECORD])


def sklearn_regressor(directory: Path, serialization: str = "joblib") -> WrittenModel:
    """Linear regression with two targets, fitted on float32."""
    from sklearn.linear_model import LinearRegression

    x = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    model = LinearRegression().fit(x, np.column_stack([x.sum(axis=1), x[:, 0]]))
    return write_object(directory, model, serialization, rows=[[1.0, 2.0, 3.0]])


def sklearn_clusterer(directory: Path, serialization: str = "joblib") -> WrittenModel:
    """Three-means clusters of the flowers."""
    from sklearn.cluster import KMeans

    model = KMeans(n_clusters=3, n_init=1, random_state=0).fit(iris()[0])
    return write_object(directory, model, serialization, rows=[IRIS_ROW])


def sklearn_texts(directory: Path, serialization: str = "joblib") -> WrittenModel:
    """Pipeline that reads documents."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), MultinomialNB())
    model.fit(["good fine great", "bad awful poor", "great good", "poor bad"], ["up", "down", "up", "down"])
    return write_object(directory, model, serialization, rows=["great and good"])


def xgboost_classifier(directory: Path, serialization: str = "xgboost-json") -> WrittenModel:
    """Three classes; a booster, or the wrapper itself for joblib and pickle."""
    import xgboost

    x, y = iris()
    model = xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1).fit(x, y)
    return _write_xgboost(directory, model, serialization)


def xgboost_binary(directory: Path, serialization: str = "xgboost-json") -> WrittenModel:
    """Two classes, with feature names."""
    import xgboost

    model = xgboost.XGBClassifier(n_estimators=5, max_depth=3, n_jobs=1).fit(iris_frame(), iris()[1] > 0)
    return _write_xgboost(directory, model, serialization)


def xgboost_regressor(directory: Path, serialization: str = "xgboost-ubj") -> WrittenModel:
    """One number."""
    import xgboost

    x, y = iris()
    model = xgboost.XGBRegressor(n_estimators=5, max_depth=3, n_jobs=1).fit(x, y * 1.5)
    return _write_xgboost(directory, model, serialization)


def lightgbm_classifier(directory: Path, serialization: str = "lightgbm-text") -> WrittenModel:
    """Three classes; a booster, or the wrapper itself for joblib and pickle."""
    import lightgbm

    x, y = iris()
    model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, n_jobs=1).fit(x, y)
    return _write_lightgbm(directory, model, serialization)


def lightgbm_binary(directory: Path, serialization: str = "lightgbm-text") -> WrittenModel:
    """Two classes, with feature names."""
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, n_jobs=1)
    return _write_lightgbm(directory, model.fit(iris_frame(), iris()[1] > 0), serialization)


def lightgbm_regressor(directory: Path, serialization: str = "lightgbm-text") -> WrittenModel:
    """One number."""
    import lightgbm

    x, y = iris()
    model = lightgbm.LGBMRegressor(n_estimators=5, min_child_samples=5, verbose=-1, n_jobs=1).fit(x, y * 1.5)
    return _write_lightgbm(directory, model, serialization)


def lightgbm_categories(directory: Path) -> WrittenModel:
    """A booster fitted on a DataFrame with a pandas categorical column."""
    import lightgbm

    frame = mixed_frame().astype({"city": "category"})
    model = lightgbm.LGBMRegressor(
        n_estimators=5, min_child_samples=2, min_data_per_group=2, verbose=-1, n_jobs=1
    )
    model.fit(frame, frame["city"].cat.codes * 10.0 + frame["age"], categorical_feature=["city"])
    model.booster_.save_model(_made(directory) / "model.txt")
    row = frame.head(1).assign(age=44.0, income=1200.0, city=frame["city"].cat.categories[1])
    expected = model.predict(row.astype({"city": frame["city"].dtype})).tolist()
    return WrittenModel(
        directory=directory,
        format="lightgbm",
        serialization="lightgbm-text",
        entry="model.txt",
        framework_version=version("lightgbm"),
        rows=[{"age": 44.0, "city": "Delft", "income": 1200.0}],
        expected={"prediction": expected},
    )


def onnx_sum(directory: Path, *, external: bool = False, broken: bool = False) -> WrittenModel:
    """A graph y = x + w with x of shape [-1, 3]; `external` keeps w beside it, `broken` cuts the file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.arange(3, dtype=np.float32) * np.ones((400, 3), np.float32), "w")
    start = numpy_helper.from_array(np.zeros(1, dtype=np.int64), "start")
    nodes = [
        helper.make_node("Gather", ["w", "start"], ["row"], axis=0),
        helper.make_node("Add", ["x", "row"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [weights, start],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = _made(directory) / "model.onnx"
    if external:
        options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 64}
        onnx.save_model(model, path, **options)
    else:
        onnx.save_model(model, path)
    if broken:
        path.write_bytes(path.read_bytes()[:-900])
    return WrittenModel(
        directory=directory,
        format="onnx",
        serialization="onnx",
        entry="model.onnx",
        framework_version="17",
        rows=[[1.0, 2.0, 3.0]],
        expected={"y": [[1.0, 3.0, 5.0]]},
    )


def onnx_classifier(directory: Path, *, zipmap: bool = False) -> WrittenModel:
    """A logistic regression converted by skl2onnx; `zipmap` answers probabilities as a list of maps."""
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LogisticRegression

    x, y = iris()
    model = LogisticRegression(max_iter=500).fit(x, y)
    kinds = [("features", FloatTensorType([None, 4]))]
    graph = skl2onnx.convert_sklearn(model, initial_types=kinds, options={"zipmap": zipmap}, target_opset=17)
    (_made(directory) / "model.onnx").write_bytes(graph.SerializeToString())
    return WrittenModel(
        directory=directory,
        format="onnx",
        serialization="onnx",
        entry="model.onnx",
        framework_version="17",
        rows=[IRIS_ROW],
    )


PYTHON_CLASS = """
import json
import os

import numpy as np

from scaling import scaled


class Model:
    def __init__(self, path):
        self.path = path

    def load(self):
        with open(os.path.join(self.path, "factor.json")) as file:
            self.factor = json.load(file)["factor"]

    def preprocess(self, inputs):
        return {"x": np.asarray(inputs["x"], dtype=float)}

    def predict(self, inputs):
        return {"y": scaled(inputs["x"], self.factor)}

    def postprocess(self, outputs):
        return {"y": outputs["y"], "size": [len(outputs["y"])]}
"""


def python_class(directory: Path) -> WrittenModel:
    """A class with load, preprocess, predict and postprocess, a module and a data file beside it."""
    files = {"scaling.py": "def scaled(x, factor):\n    return x * factor\n", "factor.json": '{"factor": 3}'}
    written = python_model(directory, PYTHON_CLASS, files=files)
    return WrittenModel(**{**vars(written), "rows": [{"x": 2.0}], "expected": {"y": [6.0], "size": [1]}})


def python_model(directory: Path, source: str, *, files: dict[str, str] | None = None) -> WrittenModel:
    """Any Python code as a model."""
    for name, content in {"model.py": source, **(files or {})}.items():
        (_made(directory) / name).write_text(content)
    return WrittenModel(
        directory=directory,
        format="python",
        serialization="python",
        entry="model.py",
        framework_version="",
        rows=[],
    )


def write_object(
    directory: Path, model: Any, serialization: str, *, format: str = "sklearn", rows: list[Any]
) -> WrittenModel:
    """Write a fitted object with joblib, pickle or skops."""
    entry = {"joblib": "model.joblib", "pickle": "model.pkl", "skops": "model.skops"}[serialization]
    path = _made(directory) / entry
    if serialization == "joblib":
        import joblib

        joblib.dump(model, path)
    elif serialization == "skops":
        import skops.io

        skops.io.dump(model, path)
    else:
        path.write_bytes(pickle.dumps(model))
    return WrittenModel(
        directory=directory,
        format=format,
        serialization=serialization,
        entry=entry,
        framework_version=version({"sklearn": "scikit-learn"}.get(format, format)),
        rows=rows,
        expected=expected_of(model, rows),
    )


def version(distribution: str) -> str:
    """The installed version of a library, whichever of its distributions is there."""
    for name in (distribution, f"{distribution}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise LookupError(distribution)


def _write_xgboost(directory: Path, model: Any, serialization: str) -> WrittenModel:
    if serialization in ("joblib", "pickle"):
        return write_object(directory, model, serialization, format="xgboost", rows=[IRIS_ROW])
    entry = {"xgboost-json": "model.json", "xgboost-ubj": "model.ubj"}[serialization]
    model.save_model(_made(directory) / entry)
    return WrittenModel(
        directory=directory,
        format="xgboost",
        serialization=serialization,
        entry=entry,
        framework_version=version("xgboost"),
        rows=[IRIS_ROW],
        expected=expected_of(model, [IRIS_ROW]),
    )


def _write_lightgbm(directory: Path, model: Any, serialization: str) -> WrittenModel:
    if serialization in ("joblib", "pickle"):
        return write_object(directory, model, serialization, format="lightgbm", rows=[IRIS_ROW])
    model.booster_.save_model(_made(directory) / "model.txt")
    return WrittenModel(
        directory=directory,
        format="lightgbm",
        serialization=serialization,
        entry="model.txt",
        framework_version=version("lightgbm"),
        rows=[IRIS_ROW],
        expected=expected_of(model, [IRIS_ROW]),
    )


def expected_of(model: Any, rows: list[Any]) -> dict[str, list[Any]]:
    """What a fitted object answers for these rows, by output name."""
    import warnings

    table: Any = rows
    if isinstance(rows[0], dict):
        import pandas

        table = pandas.DataFrame(rows)
    elif not isinstance(rows[0], str):
        table = np.asarray(rows, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = np.asarray(model.predict(table))
        answer = answer.ravel() if answer.shape[1:] == (1,) else answer
        if hasattr(model, "predict_proba"):
            answer = answer.astype(int) if answer.dtype.kind == "b" else answer
            return {"label": answer.tolist(), "probabilities": model.predict_proba(table).tolist()}
        name = "label" if hasattr(model, "cluster_centers_") else "prediction"
        return {name: answer.tolist()}


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


EVERY: dict[str, Callable[[Path], WrittenModel]] = {
    "sklearn-joblib": sklearn_classifier,
    "sklearn-pickle": lambda directory: sklearn_classifier(directory, "pickle"),
    "sklearn-skops": lambda directory: sklearn_classifier(directory, "skops"),
    "sklearn-forest": sklearn_forest,
    "sklearn-mixed": sklearn_mixed,
    "sklearn-regressor": sklearn_regressor,
    "sklearn-clusterer": sklearn_clusterer,
    "sklearn-texts": sklearn_texts,
    "xgboost-json": xgboost_classifier,
    "xgboost-ubj": xgboost_regressor,
    "xgboost-binary": xgboost_binary,
    "xgboost-joblib": lambda directory: xgboost_classifier(directory, "joblib"),
    "lightgbm-text": lightgbm_classifier,
    "lightgbm-binary": lightgbm_binary,
    "lightgbm-regressor": lightgbm_regressor,
    "lightgbm-pickle": lambda directory: lightgbm_binary(directory, "pickle"),
    "lightgbm-categories": lightgbm_categories,
    "onnx": onnx_sum,
    "onnx-external": lambda directory: onnx_sum(directory, external=True),
    "onnx-classifier": onnx_classifier,
    "python-class": python_class,
}
"""A model of every kind, by name."""
