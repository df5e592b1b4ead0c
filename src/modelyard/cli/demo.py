"""The demo: models trained here and a real ONNX classifier, up to right answers through the front door."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import magika
import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modelyard import Client, NotFound
from modelyard.client import capture

Say = Callable[[str], None]
_BLOCK = 1024
_PADDING = 256
_SNIPPET = Path(__file__).read_bytes()


@dataclass(frozen=True, slots=True)
class Demo:
    """One model of the demo and how to tell that its answers are right."""

    name: str
    model: Any
    rows: Any
    is_right: Callable[[Any], str]
    """What the answer means in words; raises ValueError for a wrong one."""
    x_test: Any = None
    y_test: Any = None
    description: str = ""


def run(client: Client, say: Say, *, started: float) -> None:
    """Publish, test, deploy and ask every demo model; `started` is the monotonic time of the start."""
    first = True
    for make in (breast_cancer, digits, file_type):
        began = time.monotonic()
        demo = make()
        service, how = _deployed(client, demo)
        meaning = demo.is_right(service.predict(demo.rows))
        say(f"  {demo.name:<14} {how}, {time.monotonic() - began:.1f} s: {meaning}")
        say(f"  {'':<14} {service.url}")
        if first:
            say(f"  {'':<14} first prediction {time.monotonic() - started:.1f} s after the start")
        first = False


def breast_cancer() -> Demo:
    """Logistic regression on scikit-learn's breast cancer table, with named columns."""
    data = load_breast_cancer(as_frame=True)
    x, x_test, y, y_test = train_test_split(data.data, data.target, random_state=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
    expected = model.predict(x_test)

    def is_right(answer: Any) -> str:
        right = int(np.sum(answer["label"].to_numpy() == expected))
        return _counted(right, len(expected), "test rows")

    about = "Tumours: malignant (0) or benign (1)"
    return Demo("breast-cancer", model, x_test, is_right, x_test, y_test, about)


def digits() -> Demo:
    """A random forest on scikit-learn's hand-written digits."""
    x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    model = RandomForestClassifier(n_estimators=50, random_state=0, n_jobs=1).fit(x, y)
    expected = model.predict(x_test)

    def is_right(answer: Any) -> str:
        right = int(np.sum(answer["label"] == expected))
        return _counted(right, len(expected), "test images")

    return Demo("digits", model, x_test, is_right, x_test, y_test, "Hand-written digits, 8 x 8 pixels")


def file_type() -> Demo:
    """The file-type classifier that the package `magika` ships as ONNX."""
    folder = next((Path(magika.__file__).parent / "models").glob("*/model.onnx")).parent
    labels = json.loads((folder / "config.min.json").read_text())["target_labels_space"]

    def is_right(answer: Any) -> str:
        label = labels[int(np.argmax(answer["target_label"][0]))]
        if label != "python":
            raise ValueError(f"the service calls a piece of Python `{label}`")
        return "knows a piece of Python when it sees one"

    rows = features(_SNIPPET)
    return Demo("file-type", folder / "model.onnx", rows, is_right, description="What kind of file bytes are")


def features(content: bytes) -> np.ndarray:
    """What the file-type model reads of a file: its first and last bytes, INT32 [1, 2048]."""
    stripped = content.strip()
    head = np.full(_BLOCK, _PADDING, dtype=np.int32)
    tail = np.full(_BLOCK, _PADDING, dtype=np.int32)
    first, last = stripped[:_BLOCK], stripped[-_BLOCK:]
    head[: len(first)] = np.frombuffer(first, dtype=np.uint8)
    tail[_BLOCK - len(last) :] = np.frombuffer(last, dtype=np.uint8)
    return np.concatenate([head, tail])[None, :]


def _deployed(client: Client, demo: Demo) -> tuple[Any, str]:
    try:
        client.deployments.get(demo.name)
    except NotFound:
        requirements = capture.requirements()
        version = client.publish(
            demo.model,
            demo.name,
            x_test=demo.x_test,
            y_test=demo.y_test,
            description=demo.description,
            requirements=requirements,
        )
        tested = client.test(version.ref)
        return client.deploy(version.ref, name=demo.name), f"published, tested ({tested.device}), deployed"
    client.deployments.wait(demo.name)
    return client.service(demo.name), "was there already"


def _counted(right: int, total: int, words: str) -> str:
    if right != total:
        raise ValueError(f"the service agrees with the model on {right} of {total} rows only")
    return f"answers all {total} {words} as the fitted model does"
