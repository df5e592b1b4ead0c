"""A whole platform in a directory of its own, and the models that workloads publish to it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from modelyard.domain.deployment import Phase
from tests.support.platform import Running

_READY_SECONDS = 30.0

IDENTITY = '''"""Answers what it is asked."""


class Model:
    def predict(self, inputs):
        return inputs
'''
IDENTITY_SIGNATURE = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
}


FOREST_FEATURES = 20


def forest() -> tuple[RandomForestClassifier, Any]:
    """A random forest of 100 trees that was really trained, with its data."""
    x, y = make_classification(2000, FOREST_FEATURES, n_informative=8, random_state=0)
    return RandomForestClassifier(100, random_state=0).fit(x, y), x


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A data directory that is gone afterwards; its path is short, because sockets' paths must be."""
    parent = Path(tempfile.mkdtemp(prefix="my-bench-"))
    try:
        yield parent / "home"
    finally:
        shutil.rmtree(parent, ignore_errors=True)


@contextlib.contextmanager
def running(*flags: str) -> Iterator[Running]:
    """A started platform that is stopped afterwards."""
    with home() as directory:
        platform = Running(directory, flags=flags)
        try:
            yield platform.start()
        finally:
            platform.stop()


def iris() -> tuple[Any, Any, Any]:
    """A fitted logistic regression with 4 features and 3 classes, its rows and their classes."""
    x, y = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=1000).fit(x, y), x, y


def front(platform: Running, name: str) -> psutil.Process:
    """The serving front of a replica of the service that is ready and stays. Raises TimeoutError."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with platform.client() as client, contextlib.suppress(psutil.NoSuchProcess):
            for replica in client.deployments.get(name).status.replicas:
                leaves = replica.draining_since or replica.stopping_since
                process = psutil.Process(replica.pid) if replica.pid and not leaves else None
                served = replica.inline or (process is not None and process.children())
                if process is not None and replica.phase is Phase.READY and served:
                    return process
        time.sleep(0.1)
    raise TimeoutError(f"{name} has no ready replica after {_READY_SECONDS:g} s")


def envoy(platform: Running) -> psutil.Process:
    """The platform's gateway."""
    return next(each for each in platform.processes() if "envoy" in each.name())
