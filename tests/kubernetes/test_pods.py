"""Pods that really run: a model is fetched, the front answers, and what goes wrong is said as everywhere."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.base import Guest
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Phase, Replica
from modelyard.domain.model import Artifact, Datatype, File, Format, Serialization, Signature, TensorSpec
from tests.backends.things import KEY
from tests.kubernetes.worlds import TOKEN, World, world
from tests.support.patience import PATIENCE

DOUBLES = "def predict(inputs):\n    return {'double': inputs['x'] * 2}\n"
FORGETS = "import no_such_package\n" + DOUBLES


@pytest.fixture
async def here(tmp_path: Path, files: tuple[str, dict[str, bytes]]) -> AsyncIterator[World]:
    settings = Settings(artifact_url=files[0], platform_sha256=hashlib.sha256(TOKEN.encode()).hexdigest())
    async with world(tmp_path, processes=True, settings=settings) as made:
        yield made


def guest(code: str, files: dict[str, bytes]) -> Guest:
    sha256 = hashlib.sha256(code.encode()).hexdigest()
    files[sha256] = code.encode()
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype=Datatype.FP64, shape=(-1,)),),
        outputs=(TensorSpec(name="double", datatype=Datatype.FP64, shape=(-1,)),),
    )
    artifact = Artifact(
        name="model",
        format=Format.PYTHON,
        serialization=Serialization.PYTHON,
        entry="model.py",
        files=(File(path="model.py", size=len(code), sha256=sha256),),
        signature=signature,
    )
    return Guest(artifact=artifact, path=Path("/nowhere"), interpreter="/nowhere/python", runtime="host")


async def doubled(client: httpx2.AsyncClient, replica: Replica, value: float) -> float:
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}
    answer = await client.post(f"http://{replica.address}/v2/models/churn/infer", json=body)
    answer.raise_for_status()
    return float(answer.json()["outputs"][0]["data"][0])


async def test_a_model_is_fetched_served_and_drained(
    here: World, files: tuple[str, dict[str, bytes]]
) -> None:
    model = guest(DOUBLES, files[1])
    for name in ("a", "b"):
        await here.backend.start(here.launch(name, guest=model))
    seen = await here.until_ready("a", "b")
    assert seen["a"].address != seen["b"].address
    async with asyncio.timeout(PATIENCE):  # it is ready before its front is asked how it is
        while not (await here.seen())["a"].loaded_bytes:
            await asyncio.sleep(0.05)
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert [await doubled(client, seen[name], 1.5) for name in ("a", "b")] == [3.0, 3.0]
        # Whoever has no token learns nothing.
        assert (await client.get(f"http://{seen['a'].address}/modelyard/state")).status_code == 404
        assert json.loads(await here.backend.ask(KEY, "a", "/modelyard/state"))["phase"] == "ready"
        await here.backend.drain(KEY, "a")
        await here.backend.stop(KEY, "a")
        assert await doubled(client, seen["a"], 4.0) == 8.0, "what still comes is answered"
        await here.until_ready("b")


@pytest.mark.parametrize("broken", ["model", "file"])
async def test_what_cannot_be_served_fails_for_the_same_reason_as_everywhere(
    here: World, files: tuple[str, dict[str, bytes]], broken: str
) -> None:
    model = guest(FORGETS if broken == "model" else DOUBLES, files[1])
    if broken == "file":
        files[1][model.artifact.files[0].sha256] = DOUBLES.replace("2", "3").encode()
    await here.backend.start(here.launch("a", guest=model))
    async with asyncio.timeout(60):
        while (found := (await here.seen())["a"]).phase is not Phase.FAILED:
            await asyncio.sleep(0.05)
    assert found.failure is not None
    reason, words = (
        ("MissingPackage", "no_such_package") if broken == "model" else ("ArtifactCorrupt", "model.py")
    )
    assert found.failure.reason == reason, found.failure
    assert words in found.failure.message
