"""Publishing without processes: files of a model, and what its own library would say of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelyard.artifacts import LocalArtifacts
from modelyard.backends.base import Answer
from modelyard.backends.memory import ManualClock
from modelyard.control import publishing
from modelyard.control.controller import prepare
from modelyard.control.publishing import Part, Published
from modelyard.domain.model import PublishSpec
from tests.control.world import ADMIN, World, build
from tests.support.inline import InlineDatabase

CODE = b"""
class Model:
    def predict(self, inputs):
        return inputs
"""
FOUND: dict[str, Any] = {
    "signature": {
        "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 2], "columns": ["a", "b"]}],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
    },
    "framework_version": "1",
    "algorithm": "Model",
    "function": "classification",
}


async def empty(path: Path, clock: ManualClock) -> World:
    """A platform with files below a directory, whose time is given."""
    made = build(InlineDatabase(), now=clock)
    made.backend.answer = lambda task: Answer(result=FOUND)
    await prepare(made.platform)
    return replace(made, platform=replace(made.platform, artifacts=LocalArtifacts(path / "artifacts")))


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def parts(files: dict[str, bytes]) -> AsyncIterator[Part]:
    for path, content in files.items():
        yield Part(path, chunks(content))


async def publish(world: World, files: dict[str, bytes] | None = None, **fields: Any) -> Published:
    spec = PublishSpec(**{"name": "churn", **fields})
    given = parts({"model.py": CODE} if files is None else files)
    return await publishing.publish(world.platform, ADMIN, "default", spec, given)
