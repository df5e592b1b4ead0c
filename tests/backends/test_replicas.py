"""What only real processes can show: whole ends, foreign pids, silence, environments, files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelyard.backends import process
from modelyard.backends.base import ISOLATION
from modelyard.backends.local import LocalBackend, spawn
from modelyard.domain.deployment import DeploymentSpec, Key, Phase, Resources, Stage
from modelyard.domain.errors import BackendError, Invalid
from tests.backends import things
from tests.backends.conftest import LocalWorld
from tests.backends.contract import Shop
from tests.backends.things import KEY
from tests.support.patience import PATIENCE


async def test_a_kill_ends_the_worker_too(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    await carried(world, 2)
    await world.backend.kill(KEY, "a")
    assert things.carriers(str(world.home("a"))) == []
    assert not world.home("a").exists()
    assert list((world.directory / "s").iterdir()) == []


async def test_a_kill_finds_a_worker_that_left_the_session(world: LocalWorld, shop: Shop) -> None:
    seen = await shop.ready("a", spec=things.playing("escape"))
    await world.crash(seen["a"])
    await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
    await carried(world, 1)
    await world.backend.kill(KEY, "a")
    assert things.carriers(str(world.home("a"))) == []


async def test_a_kill_ends_a_frozen_replica(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    for pid in await carried(world, 2):
        os.kill(pid, signal.SIGSTOP)
    await world.backend.kill(KEY, "a")
    assert things.carriers(str(world.home("a"))) == []


async def test_a_stranger_with_the_same_pid_is_never_touched(world: LocalWorld, shop: Shop) -> None:
    seen = await shop.ready("a")
    await world.backend.stop(KEY, "a")
    await shop.until(lambda seen: not seen)
    await shop.ready("a")
    born = process.birth(world.home("a") / spawn.BIRTH)
    assert born is not None
    os.kill(born.pid, signal.SIGKILL)
    stranger = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    try:
        line = Path(f"/proc/{stranger.pid}/stat").read_text()
        now = process.parse(line)
        assert now is not None
        (world.home("a") / spawn.BIRTH).write_text(line.replace(str(now.start), str(born.start)))
        backend = world.restarted()
        (replica,) = await backend.observe(KEY)
        assert replica.phase is Phase.FAILED
        await backend.stop(KEY, "a")
        await backend.kill(KEY, "a")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert seen["a"].pid != stranger.pid


async def test_numbers_of_processes_from_before_a_reboot_mean_nothing(world: LocalWorld, shop: Shop) -> None:
    pid = (await shop.ready("a"))["a"].pid
    launch = world.home("a") / "launch.json"
    launch.write_text(json.dumps({**json.loads(launch.read_text()), "boot": "an earlier one"}))
    os.kill(pid, signal.SIGKILL)
    await shop.until(lambda seen: not seen)
    assert not world.home("a").exists()


async def test_an_intent_without_a_process_is_begun_anew(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    kept = (world.home("a") / "launch.json").read_text()
    await world.backend.kill(KEY, "a")
    world.home("a").mkdir(parents=True)
    (world.home("a") / "launch.json").write_text(kept)
    await world.backend.start(shop.launch("a", revision=7))
    seen = await shop.until(lambda seen: seen["a"].phase is Phase.READY)
    assert seen["a"].revision == 7


async def test_an_intent_that_nobody_begins_is_cleared_away(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    kept = (world.home("a") / "launch.json").read_text()
    await world.backend.kill(KEY, "a")
    world.home("a").mkdir(parents=True)
    (world.home("a") / "launch.json").write_text(kept)
    assert await world.restarted().observe(KEY) == ()
    assert await world.backend.keys() == frozenset()


async def test_while_another_starts_a_replica_it_is_starting_and_gets_no_twin(
    world: LocalWorld, shop: Shop
) -> None:
    await shop.ready("a")
    birth = (world.home("a") / spawn.BIRTH).read_text()
    (world.home("a") / spawn.BIRTH).unlink()
    backend = world.restarted()
    await backend.start(shop.launch("a"))
    assert spawn.running(world.home("a"))
    await carried(world, 2)
    (world.home("a") / spawn.BIRTH).write_text(birth)


KILLED_START = """
import asyncio, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.backends import things
from modelyard.backends.local import LocalBackend
base = Path({base!r})
backend = LocalBackend(directory=base / "data", socket_directory=base / "s", interpreter=sys.executable,
                       clock=time.time, options=things.FAKES)
asyncio.run(backend.nodes())
print("go", flush=True)
asyncio.run(backend.start(things.launch("a", base / "model")))
print("done", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 5, 9])
async def test_a_start_killed_at_any_moment_makes_one_replica_in_the_end(
    world: LocalWorld, shop: Shop, delay_ms: int
) -> None:
    root = str(Path(__file__).parents[2])
    script = KILLED_START.format(root=root, base=str(world.directory))
    planner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert planner.stdout is not None
    assert planner.stdout.readline() == b"go\n"
    time.sleep(delay_ms / 1000)
    planner.kill()
    planner.wait()
    planner.stdout.close()
    await world.backend.start(shop.launch("a"))
    seen = await shop.until(lambda seen: bool(seen) and seen["a"].phase is Phase.READY)
    await world.backend.start(shop.launch("a"))
    fronts = [
        pid
        for pid in things.carriers(str(world.home("a")))
        if b"front.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert fronts == [seen["a"].pid]


async def test_a_silent_front_is_unready_and_says_so_until_it_speaks_again(
    world: LocalWorld, shop: Shop
) -> None:
    world.backend = world.restarted(heartbeat_seconds=0.2)
    pid = (await shop.ready("a"))["a"].pid
    os.kill(pid, signal.SIGSTOP)
    seen = await shop.until(lambda seen: seen["a"].phase is not Phase.READY)
    assert seen["a"].phase is Phase.UNREADY
    assert seen["a"].failure is not None
    assert seen["a"].failure.reason == "FrontUnresponsive"
    os.kill(pid, signal.SIGCONT)
    await shop.until(lambda seen: seen["a"].phase is Phase.READY)


async def test_a_jump_of_the_clock_makes_nobody_silent(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    world.clock = lambda: time.time() + 86_400
    assert (await shop.seen())["a"].phase is Phase.READY


async def test_a_model_that_loads_for_long_is_starting(world: LocalWorld, shop: Shop) -> None:
    world.backend = world.restarted(heartbeat_seconds=60)
    await world.backend.start(shop.launch("a", spec=things.playing("load")))
    seen = await shop.until(lambda seen: seen["a"].pid > 0)
    assert seen["a"].phase is Phase.STARTING
    assert seen["a"].memory_bytes > 0


async def test_a_crash_names_the_signal_when_we_saw_it_and_not_otherwise(
    world: LocalWorld, shop: Shop
) -> None:
    await world.backend.start(shop.launch("a", spec=things.playing("crash")))
    seen = await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
    assert seen["a"].failure is not None
    assert "signal 11 (SIGSEGV)" in seen["a"].failure.message
    (adopted,) = await world.restarted().observe(KEY)
    assert adopted.failure is not None
    assert (adopted.failure.reason, "signal" in adopted.failure.message) == ("FrontCrashed", False)


async def test_a_front_that_cannot_be_executed_is_a_crash(world: LocalWorld, shop: Shop) -> None:
    world.backend = world.restarted(front=("/nowhere/python",))
    await world.backend.start(shop.launch("a"))
    seen = await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
    assert seen["a"].failure is not None
    assert "exit code 127" in seen["a"].failure.message


async def test_stopping_twice_asks_the_front_once(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    for _ in range(3):
        await world.backend.stop(KEY, "a")
    await shop.until(lambda seen: not seen)
    assert world.log("a").read_text().splitlines()[-1] == "told to stop 1 times"


async def test_a_front_that_missed_the_signal_is_asked_again_later(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    (world.home("a") / "stopping").write_text(repr(time.time()))
    await world.backend.stop(KEY, "a")
    assert (await shop.seen())["a"].phase is Phase.STOPPING
    world.clock = lambda: time.time() + 10
    await world.backend.stop(KEY, "a")
    await shop.until(lambda seen: not seen)


async def test_the_model_gets_its_names_its_share_and_nothing_of_ours(
    world: LocalWorld, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_PLATFORM", "hush")
    monkeypatch.setenv("UV_INDEX_PASSWORD", "hush")
    spec = DeploymentSpec(
        model="churn@3",
        env={"GREETING": "a=b", "CUDA_VISIBLE_DEVICES": "7", "OMP_NUM_THREADS": "3"},
        config_files={"rules.json": "{}"},
        resources=Resources(cpu="1.5", memory="1Gi", gpu="2"),
    )
    key = Key("shop", "churn", Stage.TEST)
    guest = things.guest(world.path, env={"MODELYARD_PROJECT": "another", "GREETING": "old"})
    changes = {"key": key, "spec": spec, "guest": guest, "cpu_millis": 1500, "gpus": (0, 1)}
    await world.backend.start(shop.launch("a", **changes))
    await shop.until(lambda seen: seen["a"].phase is Phase.READY, key)
    config = json.loads((world.home("a", key) / "replica.json").read_text())
    (worker,) = json.loads((world.home("a", key) / "state.json").read_text())["workers"]
    said = Path(f"/proc/{worker['pid']}/environ").read_text().rstrip("\0").split("\0")
    env = dict(line.split("=", 1) for line in said)
    assert env == config["worker"]["env"]
    expected = {
        "MODELYARD_PROJECT": "shop",
        "MODELYARD_SERVICE": "churn@test",
        "MODELYARD_STAGE": "test",
        "MODELYARD_MODEL": "churn",
        "MODELYARD_MODEL_VERSION": "3",
        "MODELYARD_MODEL_PATH": str(world.path),
        "MODELYARD_REVISION": "2",
        "MODELYARD_REPLICA": "a",
        "KUBEFLOW_ENV": "test",
        "KUBEFLOW_MODEL_PATH": str(world.path),
        "KUBEFLOW_MODEL_VERSION": "3",
        "KUBEFLOW_MODEL_IMAGES": "host",
        "KUBEFLOW_MODEL_NAME": "churn",
        "KUBEFLOW_AREA": "local",
        "K8S_POD_NAMESPACE": "shop",
        "K8S_POD_IP": "127.0.0.1",
        "K8S_HOST_IP": "127.0.0.1",
        "K8S_POD_NAME": "a",
        "GREETING": "a=b",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "2",
        "RESOURCE_CPU": "1.5",
        "LANG": "C.UTF-8",
    }
    assert expected.items() <= env.items()
    assert env["K8S_NODE_NAME"]
    assert (Path(env["MODELYARD_CONFIG_DIR"]) / "rules.json").read_text() == "{}"
    assert Path(env["HOME"]).is_dir()
    assert "hush" not in "".join(said)
    front = Path(f"/proc/{config_pid(world, key)}/environ").read_text()
    assert "hush" not in front
    assert "GREETING" not in front


async def carried(world: LocalWorld, count: int) -> list[int]:
    """Wait until so many processes of replica `a` are there."""

    async def look() -> list[int]:
        return things.carriers(str(world.home("a")))

    return await things.until(look, lambda pids: len(pids) == count)


def config_pid(world: LocalWorld, key: Key) -> int:
    """Pid of the front of replica `a`."""
    return int(json.loads((world.home("a", key) / "state.json").read_text())["pid"])


async def test_a_model_without_gpus_sees_none(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    env = json.loads((world.home("a") / "replica.json").read_text())["worker"]["env"]
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert env["NVIDIA_VISIBLE_DEVICES"] == "none"


async def test_the_front_is_told_what_the_deployment_says(world: LocalWorld, shop: Shop) -> None:
    spec = DeploymentSpec(
        model="churn@3",
        queue_size=7,
        drain_seconds=3,
        request_timeout_seconds=20,
        start_timeout_seconds=9,
        workers=2,
        batch="on",
        batch_max_rows=16,
        batch_max_delay_ms=2.5,
        latency_slo_ms=80,
        cache="1Mi",
        retry=False,
        warmup="none",
    )
    seen = await shop.ready("a", spec=spec, memory_bytes=1 << 29, cpu_millis=4000)
    told = json.loads((world.home("a") / "replica.json").read_text())
    assert told["listen"] == seen["a"].address
    assert told["limits"] == {
        "queue": 7,
        "request_timeout_seconds": 20,
        "max_body_bytes": 64 << 20,
        "drain_seconds": 3,
        "batch": {"mode": "on", "max_rows": 16, "max_delay_ms": 2.5, "slo_ms": 80},
        "retry": False,
        "cache_bytes": 1 << 20,
    }
    worker = told["worker"]
    # Workers share what the replica has: its memory and its cores.
    assert (worker["count"], worker["load_timeout_seconds"], worker["memory_bytes"]) == (2, 9, 1 << 28)
    assert (worker["config"]["threads"], worker["env"]["OMP_NUM_THREADS"]) == (2, "2")
    assert worker["config"]["warmup"] == "none"
    assert worker["config"]["signature"] is None
    assert worker["config"]["files"] == [{"path": "model.joblib", "size": 1, "sha256": "0" * 64}]


async def test_only_the_owner_can_read_what_a_replica_was_told(world: LocalWorld, shop: Shop) -> None:
    await shop.ready("a")
    for path in (world.home("a"), world.home("a") / "replica.json", world.log("a")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


async def test_names_that_leave_the_directory_are_refused(world: LocalWorld, shop: Shop) -> None:
    for name in ("../b", "", ".", "a/b", "x" * 200):
        with pytest.raises(Invalid, match="replica"):
            await world.backend.start(shop.launch(name))


def test_a_data_directory_whose_sockets_would_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="shorter path"):
        LocalBackend(
            directory=tmp_path,
            socket_directory=tmp_path / ("long" * 30),
            interpreter=sys.executable,
            clock=time.time,
            options=things.FAKES,
        )


async def test_a_disk_that_refuses_is_an_error_that_can_be_retried(world: LocalWorld, shop: Shop) -> None:
    (world.directory / "data/replicas/default").write_text("in the way")
    with pytest.raises(BackendError) as refused:
        await world.backend.start(shop.launch("a"))
    assert refused.value.retryable
    assert str(world.directory) not in refused.value.message
    (world.directory / "data/replicas/default").unlink()


async def test_two_deployments_do_not_wait_for_one_another(world: LocalWorld, shop: Shop) -> None:
    keys = [Key("default", f"model-{number}") for number in range(4)]
    await asyncio.gather(*(world.backend.start(shop.launch("a", key=key)) for key in keys))
    for key in keys:
        await shop.until(lambda seen: seen["a"].phase is Phase.READY, key)
    assert await world.backend.keys() == set(keys)


async def test_the_node_is_what_its_owner_gives(world: LocalWorld) -> None:
    (node,) = await world.backend.nodes()
    assert (node.cpu_millis, node.memory_bytes, node.enforcement) == (2000, 4 << 30, "watched")
    assert [gpu.index for gpu in node.gpus] == [0, 1]


async def test_what_is_not_enforced_is_said(world: LocalWorld) -> None:
    told = world.backend.enforcement()
    assert told["network of services"] == "not enforced"
    assert told[ISOLATION].startswith("by construction, of every project")
    assert "not enforced for ports of other servers" in told[ISOLATION]
    assert told["memory"] == "watched"
    open_world = world.restarted(isolate_tasks=False)
    assert open_world.enforcement()["network of validation and tests"] == "not enforced"


async def test_samples_add_up_what_a_replicas_processes_used(world: LocalWorld, shop: Shop) -> None:
    front = (await shop.ready("a", spec=things.playing("talk")))["a"].pid
    (first,) = await world.backend.samples()
    assert (first.service, first.replica, first.revision) == ("default/churn", "a", 2)
    assert len(first.cpu_seconds) == 2  # the front and its worker
    assert any(name.startswith(f"{front} ") for name in first.cpu_seconds)
    assert first.memory_bytes > 5 << 20
    assert (first.inflight, first.queue, first.gpu_ratio) == (3, 2, None)
    async with asyncio.timeout(PATIENCE):
        while sum((await world.backend.samples())[0].cpu_seconds.values()) <= sum(first.cpu_seconds.values()):
            await asyncio.sleep(0.02)
    os.kill(front, signal.SIGKILL)
    await shop.until(lambda seen: seen["a"].phase is Phase.FAILED)
    assert await world.backend.samples() == ()
