"""Canaries that become the service and that are taken back, under constant load through a real Envoy."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from modelyard import Client
from modelyard.domain.rollout_status import Stand
from modelyard.domain.rollout_view import RolloutView
from tests.support.load import Load
from tests.support.platform import Running

RATE = 200
MOODY = '''
import os


class Model:
    """Doubles; in a bad mood it does wrong to whatever is larger than its sample."""

    def predict(self, inputs):
        mood, x = os.environ.get("MOOD", ""), inputs["x"]
        if mood == "broken" and x.max() > 1:
            raise RuntimeError("not today")
        return {"y": x * (3 if mood == "wrong" and x.max() > 1 else 2)}
'''
CANARY: dict[str, Any] = {
    "kind": "canary",
    "steps": (5, 25, 100),
    "interval_seconds": 0.5,
    "min_requests": 0,
    "keep_seconds": 0.5,
    "mirror": 30,
    "keep_inputs": True,
    "gates": ("errors=1%", "agreement=90%"),
}
COPIES_ONLY = {**CANARY, "steps": (0, 100), "min_requests": 20, "gates": ("errors=1%",)}


async def test_sound_canaries_take_over_and_bad_ones_are_taken_back_without_a_lost_request(
    platform: Running, tmp_path: Path
) -> None:
    (tmp_path / "model.py").write_text(MOODY)
    with platform.client() as client:
        client.publish(str(tmp_path / "model.py"), "moody", sample={"x": [1.0]})
        token = client.deploy("moody", name="moody", replicas=2, strategy=CANARY).token
        tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [5.0]}
        load = Load(
            platform.port,
            "/services/default/moody/v2/models/moody/infer",
            json.dumps({"inputs": [tensor]}).encode(),
            {"authorization": f"Bearer {token}"},
            rate=RATE,
        )
        async with load.running() as outcome:
            sound = await asyncio.to_thread(_roll_out, client, "sound", CANARY)
            wrong = await asyncio.to_thread(_roll_out, client, "wrong", CANARY)
            report = await asyncio.to_thread(client.rollouts.comparison, "moody")
            broken = await asyncio.to_thread(_roll_out, client, "broken", COPIES_ONLY)
            await asyncio.sleep(1)
        answer = client.service("moody").predict_json({"x": [5.0]})
        events = {event.reason for event in client.deployments.events("moody")}
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.total}: {outcome.failures[:20]}"
    assert (sound.stand, sound.revision) == (Stand.PROMOTED, 2), sound
    assert (wrong.stand, wrong.base, wrong.decided_by) == (Stand.ROLLED_BACK, 2, "agreement=90%"), wrong
    assert (broken.stand, broken.base, broken.decided_by) == (Stand.ROLLED_BACK, 2, "errors=1%"), broken
    assert (report.base, report.revision, report.flip_rate) == (2, 3, 1.0)
    assert report.pairs >= 50
    assert report.worst[0].inputs[0].data == (5.0,)
    assert [output.max_error for output in report.outputs] == [5.0]
    assert answer["y"] == [10.0]
    assert {"RolloutStarted", "RolloutStep", "Promoted", "RolledBackByItself"} <= events


def _roll_out(client: Client, mood: str, strategy: dict[str, Any]) -> RolloutView:
    """Deploy, and wait until it is decided."""
    revision = client.deployments.get("moody").revision + 1
    client.deploy("moody", name="moody", replicas=2, env={"MOOD": mood}, strategy=strategy, wait=False)
    for _ in range(900):
        view = client.deployments.get("moody")
        rollout = view.status.rollout
        if rollout is not None and rollout.revision == revision and rollout.is_over:
            return client.rollouts.get("moody")
        time.sleep(0.1)
    raise AssertionError(f"never decided: {view.status}")
