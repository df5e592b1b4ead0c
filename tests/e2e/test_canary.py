"""A canary that becomes the service and one that is taken back, under constant load through a real Envoy."""

from __future__ import annotations

import asyncio
import json
import time

import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelyard.domain.rollout_status import Stand
from modelyard.domain.rollout_view import RolloutView
from tests.support.load import Load
from tests.support.platform import Running

RATE = 200
STRATEGY = {
    "kind": "canary",
    "steps": (5, 25, 100),
    "interval_seconds": 0.5,
    "min_requests": 0,
    "keep_seconds": 1.0,
    "mirror": 30,
    "keep_inputs": True,
    "gates": ("errors=1%", "agreement=90%"),
}


async def test_a_sound_canary_takes_over_and_a_wrong_one_is_taken_back_without_a_lost_request(
    platform: Running,
) -> None:
    x, y = load_iris(return_X_y=True)
    with platform.client() as client:
        for labels in (y, y, np.roll(y, 50)):
            client.publish(LogisticRegression(max_iter=1000).fit(x, labels), "canary", x_test=x)
        service = client.deploy("canary@1", name="canary", replicas=2, strategy=STRATEGY)
    tensor = {"name": "input", "datatype": "FP64", "shape": [1, 4], "data": x[0].tolist()}
    load = Load(
        platform.port,
        "/services/default/canary/v2/models/canary/infer",
        json.dumps({"inputs": [tensor]}).encode(),
        {"authorization": f"Bearer {service.token}"},
        rate=RATE,
    )
    async with load.running() as outcome:
        sound = await asyncio.to_thread(_roll_out, platform, "canary@2")
        wrong = await asyncio.to_thread(_roll_out, platform, "canary@3")
        await asyncio.sleep(1)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.total}: {outcome.failures[:20]}"
    assert (sound.stand, sound.revision) == (Stand.PROMOTED, 2), sound
    assert (wrong.stand, wrong.base, wrong.decided_by) == (Stand.ROLLED_BACK, 2, "agreement=90%"), wrong
    with platform.client() as client:
        answer = client.service("canary").predict_json({"input": [x[0].tolist()]})
        events = {event.reason for event in client.deployments.events("canary")}
        report = client.rollouts.comparison("canary")
    assert answer["label"] == [int(y[0])]
    assert {"RolloutStarted", "RolloutStep", "Promoted", "RolledBackByItself"} <= events
    assert (report.base, report.revision, report.flip_rate) == (2, 3, 1.0)
    assert report.pairs >= 50
    assert report.worst[0].inputs[0].data == tuple(x[0].tolist())


def _roll_out(platform: Running, ref: str) -> RolloutView:
    """Deploy, and wait until it is decided."""
    with platform.client() as client:
        before = client.deployments.get("canary").revision
        client.deploy(ref, name="canary", replicas=2, strategy=STRATEGY, wait=False)
        for _ in range(600):
            view = client.deployments.get("canary")
            rollout = view.status.rollout
            if rollout is not None and rollout.revision == before + 1 and rollout.is_over:
                return client.rollouts.get("canary")
            time.sleep(0.1)
    raise AssertionError(f"never decided: {view.status}")
