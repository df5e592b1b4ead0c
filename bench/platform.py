"""A whole platform in a directory of its own, and the models that workloads publish to it."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.support.platform import Running

IDENTITY = '''"""Answers what it is asked."""


class Model:
    def predict(self, inputs):
        return inputs
'''
IDENTITY_SIGNATURE = {
    "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
}


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
    """The serving front of a service's first replica."""
    with platform.client() as client:
        return psutil.Process(client.deployments.get(name).status.replicas[0].pid)


def envoy(platform: Running) -> psutil.Process:
    """The platform's gateway."""
    return next(each for each in platform.processes() if "envoy" in each.name())
