"""What every backend must do; each backend's tests give it a world to do it in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from modelyard.backends.base import Backend, Launch, TaskKind
from modelyard.domain.deployment import DeploymentSpec, Key, Phase, Replica, Stage
from modelyard.domain.errors import BackendError, NotFound
from modelyard.domain.program import Subject, program
from modelyard.domain.server import Server, ServerKind
from tests.backends import things
from tests.backends.things import KEY
from tests.support.patience import PATIENCE

Good = Callable[[dict[str, Replica]], bool]


class World(Protocol):
    """A backend and the hands to shake it."""

    backend: Backend
    path: Path
    addresses: str
    """What every replica's address begins with."""

    def identity(self, replica: Replica) -> object:
        """Tells a replica from another one of the same name."""

    async def pass_time(self) -> None:
        """Let something happen."""

    async def crash(self, replica: Replica) -> None:
        """End a replica's process from outside."""

    async def speak(self, key: Key, replica: str) -> None:
        """Make a replica write more lines to its log."""

    def failing(self) -> DeploymentSpec:
        """A spec whose model does not load, for reason MissingPackage."""

    def restarted(self) -> Backend:
        """The backend as a new control plane finds it."""


@dataclass
class Shop:
    """A world with the steps that tests take."""

    world: World

    @property
    def backend(self) -> Backend:
        """What is tested."""
        return self.world.backend

    def launch(self, replica: str, **changes: object) -> Launch:
        """A launch of `churn`."""
        return things.launch(replica, self.world.path, **changes)  # type: ignore[arg-type]

    async def seen(self, key: Key = KEY) -> dict[str, Replica]:
        """What runs, by name."""
        return {each.name: each for each in await self.backend.observe(key)}

    async def ready(self, *replicas: str, **changes: object) -> dict[str, Replica]:
        """Start replicas and wait until they are ready."""
        for replica in replicas:
            await self.backend.start(self.launch(replica, **changes))
        key = changes.get("key", KEY)
        assert isinstance(key, Key)
        return await self.until(lambda seen: {each.phase for each in seen.values()} == {Phase.READY}, key)

    async def until(self, good: Good, key: Key = KEY) -> dict[str, Replica]:
        """Wait for what should come."""
        async with asyncio.timeout(PATIENCE):
            while not good(seen := await self.seen(key)):
                await self.world.pass_time()
        return seen


class BackendContract:
    """Subclass it with a fixture `shop`."""

    async def test_a_node_says_what_it_has(self, shop: Shop) -> None:
        (node, *_) = await shop.backend.nodes()
        assert node.cpu_millis > 0
        assert node.memory_bytes > 0
        assert node.name

    async def test_nothing_runs_before_a_start(self, shop: Shop) -> None:
        assert await shop.backend.observe(KEY) == ()
        assert await shop.backend.keys() == frozenset()

    async def test_a_started_replica_becomes_ready_and_keeps_what_was_reserved(self, shop: Shop) -> None:
        await shop.backend.start(shop.launch("a", cpu_millis=500, memory_bytes=1 << 28, gpus=(1,)))
        assert (await shop.seen())["a"].phase in (Phase.STARTING, Phase.READY)
        replica = (await shop.until(lambda seen: seen["a"].phase is Phase.READY))["a"]
        assert (replica.revision, replica.cpu_millis, replica.memory_reserved) == (2, 500, 1 << 28)
        assert replica.gpus == (1,)
        assert replica.address.startswith(shop.world.addresses)
        assert shop.world.identity(replica)
        assert replica.started_at > 0
        assert replica.failure is None

    async def test_another_server_has_an_address_for_each_of_its_ports(self, shop: Shop) -> None:
        server = Server(kind=ServerKind.SERVING, command="sleep 100", ports=(80, 81))
        wanted = DeploymentSpec(server=server)
        await shop.backend.start(shop.launch("a", spec=wanted, program=program(wanted, Subject(name="a"))))
        replica = (await shop.until(lambda seen: bool(seen["a"].address)))["a"]
        assert replica.second_address not in ("", replica.address)

    async def test_a_command_runs_in_a_replica(self, shop: Shop) -> None:
        await shop.ready("a")
        shell = await shop.backend.exec(KEY, "a", ("echo", "is", "here"))
        assert await shell.read() is not None
        await shell.write(b"")
        assert await shell.read() is None
        assert await shell.wait() == 0
        await shell.close()
        await shell.close()
        with pytest.raises(NotFound):
            await shop.backend.exec(KEY, "ghost", ("echo",))

    async def test_samples_are_of_replicas_that_run(self, shop: Shop) -> None:
        await shop.ready("a", "b")
        await shop.backend.kill(KEY, "a")
        assert {(s.service, s.replica, s.revision) for s in await shop.backend.samples()} <= {
            (str(KEY), "b", 2)
        }

    async def test_starting_a_replica_that_exists_is_nothing(self, shop: Shop) -> None:
        before = await shop.ready("a")
        await shop.backend.start(shop.launch("a", revision=9))
        assert {name: (shop.world.identity(r), r.revision) for name, r in (await shop.seen()).items()} == {
            "a": (shop.world.identity(before["a"]), 2)
        }

    async def test_replicas_have_addresses_of_their_own(self, shop: Shop) -> None:
        seen = await shop.ready("a", "b")
        assert seen["a"].address != seen["b"].address

    async def test_keys_finds_every_deployment_and_no_other(self, shop: Shop) -> None:
        staged = Key("shop", "churn", Stage.TEST)
        await shop.backend.start(shop.launch("a"))
        await shop.backend.start(shop.launch("a", key=staged))
        assert await shop.backend.keys() == {KEY, staged}
        await shop.backend.kill(KEY, "a")
        assert await shop.backend.keys() == {staged}
        assert [each.name for each in await shop.backend.observe(staged)] == ["a"]

    async def test_a_draining_replica_goes_on_and_keeps_its_first_time(self, shop: Shop) -> None:
        before = (await shop.ready("a"))["a"]
        await shop.backend.drain(KEY, "a")
        first = (await shop.seen())["a"]
        await shop.world.pass_time()
        await shop.backend.drain(KEY, "a")
        again = (await shop.seen())["a"]
        assert first.phase is again.phase is Phase.DRAINING
        assert first.draining_since == again.draining_since > 0
        assert shop.world.identity(again) == shop.world.identity(before)

    async def test_a_stopped_replica_ends_and_leaves_nothing(self, shop: Shop) -> None:
        await shop.ready("a", "b")
        await shop.backend.drain(KEY, "a")
        await shop.backend.stop(KEY, "a")
        await shop.until(lambda seen: set(seen) == {"b"})
        assert await shop.backend.keys() == {KEY}

    async def test_stopping_and_draining_what_is_not_there_is_nothing(self, shop: Shop) -> None:
        await shop.backend.stop(KEY, "ghost")
        await shop.backend.drain(KEY, "ghost")
        await shop.backend.kill(KEY, "ghost")
        assert await shop.backend.observe(KEY) == ()

    async def test_stopping_says_so_until_the_replica_is_gone(self, shop: Shop) -> None:
        await shop.ready("a", spec=things.playing("linger"))
        await shop.backend.stop(KEY, "a")
        await shop.backend.stop(KEY, "a")
        replica = (await shop.seen())["a"]
        assert replica.phase is Phase.STOPPING
        assert replica.stopping_since > 0

    async def test_a_killed_replica_is_gone_at_once(self, shop: Shop) -> None:
        await shop.ready("a")
        await shop.backend.kill(KEY, "a")
        assert await shop.backend.observe(KEY) == ()
        await shop.backend.kill(KEY, "a")

    async def test_a_name_can_be_used_again_after_a_kill(self, shop: Shop) -> None:
        before = await shop.ready("a")
        await shop.backend.kill(KEY, "a")
        after = await shop.ready("a")
        assert shop.world.identity(after["a"]) != shop.world.identity(before["a"])

    async def test_a_crashed_replica_is_failed_until_it_is_killed(self, shop: Shop) -> None:
        before = await shop.ready("a", "b")
        await shop.world.crash(before["a"])
        seen = await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
        assert seen["a"].failure is not None
        assert seen["a"].failure.reason == "FrontCrashed"
        assert seen["b"].phase is Phase.READY
        await shop.backend.start(shop.launch("a"))
        assert (await shop.seen())["a"].phase is Phase.FAILED
        await shop.backend.kill(KEY, "a")
        assert set(await shop.seen()) == {"b"}

    async def test_a_model_that_does_not_load_fails_with_its_reason(self, shop: Shop) -> None:
        await shop.backend.start(shop.launch("a", spec=shop.world.failing()))
        seen = await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
        assert seen["a"].failure is not None
        assert seen["a"].failure.reason == "MissingPackage"

    async def test_a_new_control_plane_finds_the_same_replicas_and_makes_no_twin(self, shop: Shop) -> None:
        before = await shop.ready("a")
        await shop.backend.close()
        backend = shop.world.restarted()
        await backend.start(shop.launch("a"))
        (after,) = await backend.observe(KEY)
        assert (shop.world.identity(after), after.phase, after.started_at) == (
            shop.world.identity(before["a"]),
            Phase.READY,
            before["a"].started_at,
        )
        await backend.kill(KEY, "a")
        assert await shop.world.restarted().observe(KEY) == ()

    async def test_logs_tell_what_replicas_wrote_and_from_whom(self, shop: Shop) -> None:
        await shop.ready("a", "b")
        everything = [line async for line in shop.backend.logs(KEY)]
        assert {line.replica for line in everything} == {"a", "b"}
        assert all(line.text for line in everything)
        assert {line.replica async for line in shop.backend.logs(KEY, replica="b")} == {"b"}
        assert [line async for line in shop.backend.logs(KEY, tail=0)] == []

    async def test_logs_of_another_deployment_are_not_shown(self, shop: Shop) -> None:
        await shop.ready("a")
        assert [line async for line in shop.backend.logs(Key("default", "other"))] == []
        assert [line async for line in shop.backend.logs(KEY, replica="../../a")] == []

    async def test_following_goes_on_with_what_comes(self, shop: Shop) -> None:
        await shop.ready("a")
        async with asyncio.timeout(PATIENCE), aclosing(shop.backend.logs(KEY, follow=True)) as lines:
            first = await anext(lines)
            await shop.world.speak(KEY, "a")
            async for line in lines:
                if "more" in line.text:
                    break
        assert first.replica == line.replica == "a"

    async def test_a_replica_that_does_not_run_answers_no_question(self, shop: Shop) -> None:
        with pytest.raises(BackendError, match="nobody"):
            await shop.backend.ask(KEY, "nobody", "/metrics")

    async def test_a_guest_answers(self, shop: Shop) -> None:
        for kind in (TaskKind.INSPECT, TaskKind.TEST):
            answer = await shop.backend.run(things.task(kind, path=shop.world.path))
            assert answer.failure is None
            assert answer.result is not None
