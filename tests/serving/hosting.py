"""One hosted model with its real worker, in the test's own process and loop: what faces are built on."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from modelyard.oip.tensor import from_array
from modelyard.serving.config import parse_config
from modelyard.serving.errors import Problem
from modelyard.serving.hosted import HostedModel
from modelyard.serving.jobs import Job, Prediction
from modelyard.serving.logs import Log
from tests.serving.replicas import FP64
from tests.support.patience import PATIENCE


class Watcher:
    """Who is told how the model fares."""

    def changed(self, hosted: HostedModel) -> None:
        del hosted


@contextlib.asynccontextmanager
async def hosting(
    directory: Path, code: str, *, worker: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[HostedModel]:
    """A model that is loaded; `worker` is more of worker.json."""
    (directory / "model.py").write_text(code)
    found = find_spec("modelyard_worker")
    assert found is not None
    assert found.submodule_search_locations
    guest = {"format": "python", "entry": "model.py", "path": str(directory), "signature": FP64}
    document = {
        "service": "echo",
        "listen": "127.0.0.1:0",
        "state_path": str(directory / "state.json"),
        "signature": FP64,
        "worker": {
            "interpreter": sys.executable,
            "package": next(iter(found.submodule_search_locations)),
            "config": guest | {"threads": 1} | (worker or {}),
            "cwd": str(directory),
        },
    } | more
    hosted = HostedModel(
        parse_config(document).models[0], Watcher(), Log({}), settings_path=directory / "worker.json"
    )
    hosted.load()
    try:
        failure = await hosted.loaded()
        assert failure is None, failure
        yield hosted
    finally:
        await hosted.close()


def job(values: list[list[float]], outcomes: list[Prediction | Problem], **more: Any) -> Job:
    """A job with one table."""
    now = monotonic()
    inputs = (from_array("input", np.array(values, np.float64)),)
    seconds = more.pop("seconds", 20.0)
    return Job(inputs, more.pop("parameters", {}), now + seconds, seconds, now, outcomes.append, **more)


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that the loop brings about."""
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end
        await asyncio.sleep(0.01)
