"""Callers who hang up take what they asked for with them: places are for those who wait."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request

from modelyard import Client
from modelyard.api.leaving import while_awaited
from modelyard.backends.base import Answer, Task
from modelyard.domain.errors import Refused, Unavailable
from tests.support import models
from tests.support.faces import live
from tests.support.patience import PATIENCE

_SECONDS = PATIENCE


class Caller:
    """A client that is there until it hangs up."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.request = Request({"type": "http", "headers": []}, self._receive)

    async def _receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_whoever_stays_gets_what_comes() -> None:
    async def answer() -> int:
        return 7

    async def refusal() -> int:
        raise Refused("no")

    assert await while_awaited(Caller().request, answer()) == 7
    with pytest.raises(Refused, match="no"):
        await while_awaited(Caller().request, refusal())


async def test_whoever_goes_ends_it() -> None:
    caller, ended = Caller(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(while_awaited(caller.request, work()))
    await asyncio.sleep(0)
    caller.gone.set()
    with pytest.raises(Unavailable, match="the client is gone"):
        await waiting
    assert ended.is_set()


async def test_a_server_that_stops_ends_it() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(while_awaited(Caller().request, work()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}])
def test_a_test_that_nobody_waits_for_leaves_its_place(tmp_path: Path, headers: dict[str, str]) -> None:
    with live(tmp_path) as there:
        client = Client(there.url, token=there.token)
        x, _ = models.iris()
        client.publish(models.sklearn_classifier(tmp_path / "model").directory, "iris", x_test=x[:2])
        began, ended = threading.Event(), []

        async def run(task: Task) -> Answer:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(task)
            raise AssertionError("never")

        there.faces.backend.run = run  # type: ignore[method-assign]
        words = json.dumps({"rows": x[:1].tolist()}).encode()
        headers = {"authorization": f"Bearer {there.token}", **headers}
        connection = http.client.HTTPConnection(there.url.removeprefix("http://"))
        path = "/api/v1/projects/default/models/iris/versions/1/test"
        connection.request("POST", path, words, {"content-type": "application/json", **headers})
        assert began.wait(_SECONDS)
        connection.close()
        there.call(_until(lambda: bool(ended)))
        assert there.call(_seen(there.faces.platform.line)) == ()


async def _until(true: Any) -> None:
    async with asyncio.timeout(_SECONDS):
        while not true():
            await asyncio.sleep(0.02)


async def _seen(line: Any) -> Any:
    return tuple(line.seen())
