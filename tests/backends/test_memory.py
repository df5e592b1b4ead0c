"""The backend in memory keeps the contract, in time that the tests make."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.backends.base import Answer
from modelyard.backends.memory import ManualClock, MemoryBackend, MemoryEnvironments, Pace
from modelyard.domain.deployment import DeploymentSpec, Failure, Key, Phase, Replica
from modelyard.domain.runtime import RuntimeSpec, RuntimeState
from tests.backends import things
from tests.backends.contract import BackendContract, Shop
from tests.backends.things import KEY

MISSING = Failure(reason="MissingPackage", message="xgboost is missing")


class MemoryWorld:
    """Time passes a quarter of a second a step."""

    addresses = "unix:"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = ManualClock()
        self.backend = MemoryBackend(clock=self.clock)

    def identity(self, replica: Replica) -> object:
        return replica.pid

    async def pass_time(self) -> None:
        self.clock.advance(0.25)

    async def crash(self, replica: Replica) -> None:
        self.backend.crash(KEY, replica.name)

    async def speak(self, key: Key, replica: str) -> None:
        self.backend.write(key, replica, "more")

    def failing(self) -> DeploymentSpec:
        self.backend.load = lambda launch: MISSING
        return DeploymentSpec(model="churn@3")

    def restarted(self) -> MemoryBackend:
        return self.backend


@pytest.fixture
def world(tmp_path: Path) -> MemoryWorld:
    return MemoryWorld(tmp_path)


@pytest.fixture
def shop(world: MemoryWorld) -> Shop:
    return Shop(world)


class TestMemoryBackend(BackendContract):
    """Every test of the contract."""


async def test_a_replica_is_ready_exactly_when_its_time_has_come(world: MemoryWorld) -> None:
    await world.backend.start(things.launch("a", world.path))
    world.clock.advance(0.99)
    assert (await world.backend.observe(KEY))[0].phase is Phase.STARTING
    world.clock.advance(0.01)
    assert (await world.backend.observe(KEY))[0].phase is Phase.READY


async def test_a_replica_can_lose_its_worker_and_come_back(world: MemoryWorld, shop: Shop) -> None:
    await shop.ready("a")
    world.backend.set_unready(KEY, "a", Failure(reason="WorkerCrashed"))
    (replica,) = await world.backend.observe(KEY)
    assert (replica.phase, replica.failure) == (Phase.UNREADY, Failure(reason="WorkerCrashed"))
    world.backend.set_unready(KEY, "a", None)
    assert (await world.backend.observe(KEY))[0].phase is Phase.READY


async def test_stopping_waits_no_longer_than_the_replica_may_drain(world: MemoryWorld, shop: Shop) -> None:
    await shop.ready("a", spec=DeploymentSpec(model="churn@3", drain_seconds=0))
    await world.backend.stop(KEY, "a")
    assert await world.backend.observe(KEY) == ()


async def test_guests_answer_what_the_test_decides(world: MemoryWorld) -> None:
    world.backend.answer = lambda task: Answer(result=None, failure=MISSING)
    assert (await world.backend.run(things.task(path=world.path))).failure == MISSING


async def test_a_runtime_is_pending_then_building_then_ready() -> None:
    clock = ManualClock()
    environments = MemoryEnvironments(clock=clock, pace=Pace(build_seconds=10))
    runtime = things.runtime(RuntimeSpec(python="3.10", packages=("six==1.16.0",)))
    assert (await environments.observe(runtime)).state is RuntimeState.PENDING
    await environments.build(runtime)
    clock.advance(9)
    await environments.build(runtime)
    assert (await environments.observe(runtime)).state is RuntimeState.BUILDING
    clock.advance(1)
    status = await environments.observe(runtime)
    assert (status.state, status.python, status.packages) == (RuntimeState.READY, "3.10", {"six": "1.16.0"})
    assert status.lock
    assert status.interpreter


async def test_a_failed_build_says_why_and_can_begin_again() -> None:
    clock = ManualClock()
    environments = MemoryEnvironments(clock=clock)
    environments.fail = lambda spec: Failure(reason="IndexUnreachable", message="no route")
    runtime = things.runtime(RuntimeSpec(packages=("six",)))
    await environments.build(runtime)
    clock.advance(1)
    status = await environments.observe(runtime)
    assert (status.state, status.reason) == (RuntimeState.FAILED, "IndexUnreachable")
    environments.fail = lambda spec: None
    await environments.build(runtime)
    assert (await environments.observe(runtime)).state is RuntimeState.BUILDING


async def test_removing_a_runtime_keeps_the_environment_that_another_shares() -> None:
    clock = ManualClock()
    environments = MemoryEnvironments(clock=clock)
    runtime = things.runtime(RuntimeSpec(packages=("six",)))
    await environments.build(runtime)
    await environments.remove(runtime, others=[RuntimeSpec(packages=("six",), description="same")])
    assert (await environments.observe(runtime)).state is RuntimeState.BUILDING
    await environments.remove(runtime)
    assert (await environments.observe(runtime)).state is RuntimeState.PENDING
    assert (await environments.host()).state is RuntimeState.READY
