"""Two hundred requests a second over ten rolling updates, a rollback and a killed control plane."""

import asyncio
import json

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.support.load import Load
from tests.support.platform import Running

RATE = 200
UPDATES = 10


async def test_no_request_is_lost_over_ten_rolling_updates_a_rollback_and_a_killed_control_plane(
    platform: Running,
) -> None:
    x, y = load_iris(return_X_y=True)
    with platform.client() as client:
        for strength in (0.1, 1.0):
            client.publish(LogisticRegression(C=strength, max_iter=1000).fit(x, y), "busy", x_test=x)
        service = client.deploy("busy@1", name="busy", replicas=2)
    tensor = {"name": "input", "datatype": "FP64", "shape": [1, 4], "data": x[0].tolist()}
    load = Load(
        platform.port,
        "/services/default/busy/v2/models/busy/infer",
        json.dumps({"inputs": [tensor]}).encode(),
        {"authorization": f"Bearer {service.token}"},
        rate=RATE,
    )
    async with load.running() as outcome:
        for update in range(UPDATES):
            await asyncio.to_thread(_deploy, platform, f"busy@{2 - update % 2}")
            if update == UPDATES // 2:
                await asyncio.to_thread(_killed_in_the_middle, platform)
        await asyncio.to_thread(_roll_back, platform)
        await asyncio.sleep(1)
    print(f"{outcome.total} requests, p50 {outcome.quantile(0.5):.4f} s, p99 {outcome.quantile(0.99):.4f} s")
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.total}: {outcome.failures[:20]}"
    assert outcome.total > RATE * UPDATES / 4


def _deploy(platform: Running, ref: str) -> None:
    with platform.client() as client:
        client.deploy(ref, name="busy", replicas=2)


def _roll_back(platform: Running) -> None:
    with platform.client() as client:
        client.deployments.roll_back("busy")
        client.deployments.wait("busy")


def _killed_in_the_middle(platform: Running) -> None:
    """Begin a rollout, kill the control plane while replicas start, and let its successor finish."""
    with platform.client() as client:
        client.deployments.restart("busy")
    platform.kill()
    platform.start()
    with platform.client() as client:
        client.deployments.wait("busy")
