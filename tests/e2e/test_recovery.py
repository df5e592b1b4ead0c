"""`kill -9` of every kind of process under load: who notices, and how soon all is well again."""

import asyncio
import json
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.support.load import Load, Outcome
from tests.support.platform import Running

RATE = 100
BACK_SECONDS = 8.0
"""Far above the two seconds aimed at, which `bench rollout` measures: tests run on busy machines."""


@pytest.fixture(scope="module")
def loads(platform: Running) -> dict[str, Load]:
    """A victim and a neighbour, both deployed, and a load for each."""
    x, y = load_iris(return_X_y=True)
    made = {}
    with platform.client() as client:
        client.publish(LogisticRegression(max_iter=1000).fit(x, y), "plain", x_test=x)
        for name in ("victim", "neighbour"):
            service = client.deploy("plain@1", name=name, variant="original")  # one that has a worker
            tensor = {"name": "input", "datatype": "FP64", "shape": [1, 4], "data": x[0].tolist()}
            made[name] = (service.token, json.dumps({"inputs": [tensor]}).encode())
    return {
        name: Load(
            platform.port,
            f"/services/default/{name}/v2/models/{name}/infer",
            body,
            {"authorization": f"Bearer {token}"},
            rate=RATE,
            connections=4,
        )
        for name, (token, body) in made.items()
    }


def front_of(platform: Running, name: str) -> psutil.Process:
    with platform.client() as client:
        return psutil.Process(client.deployments.get(name).status.replicas[0].pid)


def worker_of(platform: Running, name: str) -> psutil.Process:
    return front_of(platform, name).children()[0]


def envoy_of(platform: Running, _name: str) -> psutil.Process:
    return next(p for p in platform.processes() if "envoy" in p.name())


@pytest.mark.parametrize(
    ("find", "number"),
    [
        (front_of, signal.SIGKILL),
        (worker_of, signal.SIGKILL),
        (worker_of, signal.SIGSEGV),
    ],
)
async def test_a_killed_process_comes_back_and_its_neighbour_never_notices(
    platform: Running,
    loads: dict[str, Load],
    find: Callable[[Running, str], psutil.Process],
    number: signal.Signals,
) -> None:
    victim, neighbour = await _killed_under_load(platform, loads, find, number)
    assert neighbour.failed == 0, neighbour.failures[:10]
    assert set(victim.answers) <= {"200", "503"}, victim.answers


async def test_a_killed_gateway_is_back_with_all_its_routes(
    platform: Running, loads: dict[str, Load]
) -> None:
    await _killed_under_load(platform, loads, envoy_of, signal.SIGKILL)


async def _killed_under_load(
    platform: Running,
    loads: dict[str, Load],
    find: Callable[[Running, str], psutil.Process],
    number: signal.Signals,
) -> tuple[Outcome, Outcome]:
    victim, neighbour = (
        loads["victim"].again(),
        loads["neighbour"].again(),
    )
    async with victim.running() as seen, neighbour.running() as beside:
        await asyncio.sleep(0.5)
        process = await asyncio.to_thread(find, platform, "victim")
        process.send_signal(number)
        killed = time.monotonic()
        await asyncio.sleep(0.3)
        while not await _answers_for_a_while(seen):
            assert time.monotonic() - killed < 30, f"not back after 30 s: {seen.answers}"
        back = max((when for when, _ in seen.failures), default=0.0)
    took = back - 0.5 if back else 0.0
    print(f"{find.__name__} {number.name}: {seen.failed} failed, last failure {took:.2f} s after the kill")
    assert took < BACK_SECONDS
    successor = await asyncio.to_thread(find, platform, "victim")
    assert successor != process
    assert not process.is_running()  # nor a zombie; a later process with its pid is another one
    return seen, beside


async def _answers_for_a_while(outcome: Outcome) -> bool:
    before = outcome.failed
    await asyncio.sleep(1.0)
    return outcome.failed == before
