"""What runs and what waits, as the command line shows it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable

import pytest

from modelyard import Client
from modelyard.backends.base import Answer, Task
from tests.cli.conftest import Run
from tests.support.faces import Live
from tests.support.patience import PATIENCE


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_queue_shows_what_runs_and_what_waits(
    run: Run, published: str, installation: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("queue").out.count("test") == 0
    ended = threading.Event()

    async def slow(task: Task) -> Answer:
        while not ended.is_set():
            await asyncio.sleep(0.02)
        return Answer(result={"outputs": {"label": [1]}})

    platform = installation.faces.platform
    monkeypatch.setattr(platform.backend, "run", slow)
    project = os.environ["MODELYARD_PROJECT"]

    def ask() -> None:
        with Client(installation.url, installation.token, project=project, environ={}) as client:
            client.models.test(published, {"rows": [[1, 2]]})

    asking = [threading.Thread(target=ask) for _ in range(10)]
    for each in asking:
        each.start()
    until(lambda: [each.position for each in platform.line.seen()] == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    found = json.loads(run("queue", "-o", "json").out)["items"]
    waiting = [each for each in found if each["state"] == "waiting"]
    assert [each["position"] for each in waiting] == list(range(1, len(waiting) + 1))
    assert len(waiting) >= 1
    assert "places for validation and tests are taken" in waiting[0]["why"]
    shown = run("queue").out
    assert "test sums@1" in shown
    assert "running" in shown
    ended.set()
    for each in asking:
        each.join(30)
    assert json.loads(run("queue", "-o", "json").out)["items"] == []
