"""Whatever changes, whoever asks over HTTP and gRPC without a pause is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard import Client
from modelyard.domain.rollout_status import Stand
from modelyard.domain.rollout_view import RolloutView
from tests.scenarios.engines import Engine, until
from tests.scenarios.things import publish_talker
from tests.support import changes
from tests.support.load import Load

TIMES = {"rolling update": 2, "scale event": 3, "promotion": 1, "gateway reconfiguration": 3}
CANARY: dict[str, Any] = {
    "kind": "canary",
    "steps": (5, 25, 100),
    "interval_seconds": 0.5,
    "min_requests": 0,
    "keep_seconds": 0.5,
    "mirror": 30,
    "gates": ("errors=1%", "agreement=90%"),
}


@pytest.fixture(scope="module")
def token(engine: Engine) -> Iterator[str]:
    with engine.client() as client:
        yield changes.publish(client, public=engine.straight)
        client.undeploy(changes.SERVICE)


@pytest.mark.traffic
@pytest.mark.parametrize("change", list(changes.CHANGES))
async def test_no_request_is_lost_through_a(engine: Engine, token: str, change: str) -> None:
    async with changes.asked(engine.target(token, rate=50), callers=2) as asked:
        await changes.happen(engine.platform, changes.CHANGES[change], TIMES[change])
    asked.require_none_failed()


@pytest.mark.traffic
async def test_a_host_changes_hands_under_load(engine: Engine, token: str) -> None:
    with engine.client() as client:
        own = changes.rivals(client, public=engine.straight)
        target = engine.target_at_host(client, own, rate=30)
    async with changes.asked(target, callers=1) as asked:
        await changes.happen(engine.platform, changes.AT_A_HOST["host takeover"], 2)
    asked.require_none_failed()
    with engine.client() as client:
        for name in changes.RIVALS:
            client.undeploy(name)


@pytest.mark.traffic
async def test_a_sound_canary_takes_over_and_a_wrong_one_is_taken_back(engine: Engine, tmp_path: Any) -> None:
    with engine.client() as client:
        publish_talker(engine, client, "moody", tmp_path)
        token = client.deploy("moody", name="moody", replicas=2, strategy=CANARY).token
        load = engine.load("moody", token, [5.0], rate=60, name="x", shape=[1])
        async with load.running() as outcome:
            sound = await asyncio.to_thread(_roll_out, client, "sound")
            wrong = await asyncio.to_thread(_roll_out, client, "wrong")
        answer = client.service("moody").predict_json({"x": [5.0]})
        client.undeploy("moody")
    assert outcome.failed == 0, outcome.failures[:20]
    assert (sound.stand, sound.revision) == (Stand.PROMOTED, 2), sound
    assert (wrong.stand, wrong.base, wrong.decided_by) == (Stand.ROLLED_BACK, 2, "agreement=90%"), wrong
    assert answer["y"] == [10.0]


def _roll_out(client: Client, mood: str) -> RolloutView:
    """Deploy, and wait until it is decided."""
    revision = client.deployments.get("moody").revision + 1
    client.deploy("moody", name="moody", replicas=2, env={"MOOD": mood}, strategy=CANARY, wait=False)

    def decided() -> bool:
        rollout = client.deployments.get("moody").status.rollout
        return rollout is not None and rollout.revision == revision and rollout.is_over

    until(decided, f"the rollout of the {mood} one is decided", seconds=120)
    return client.rollouts.get("moody")


@pytest.mark.traffic
async def test_a_rollback_loses_nothing(engine: Engine, tmp_path: Any) -> None:
    with engine.client() as client:
        publish_talker(engine, client, "returns", tmp_path)
        for colour in ("blue", "red"):
            service = client.deploy("returns", name="returns", env={"COLOUR": colour}, public=engine.straight)
        token = service.token
        load: Load = engine.load("returns", token, [1.0], rate=30, name="x", shape=[1])
        async with load.running() as outcome:
            await asyncio.to_thread(engine.cli, "rollback", "returns")
        assert outcome.failed == 0, outcome.failures[:20]
        assert client.deployments.get("returns").spec.env == {"COLOUR": "blue"}
        client.undeploy("returns")
