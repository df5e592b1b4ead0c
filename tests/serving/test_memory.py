"""Memory: what does not fit is refused with both numbers, and what was taken always comes back."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from modelyard.serving.errors import Failure
from modelyard.serving.memory import artifact_bytes, free_bytes, misfit
from tests.serving.hosting import hosting, until
from tests.serving.replicas import Replica, is_alive, replica, spawn

CYCLES = 12


def machine(root: Path, *, available: int, limit: str = "max", current: int = 0, cached: int = 0) -> str:
    """A /proc and /sys that say this."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available // 1024} kB\n")
    (root / "proc/self/cgroup").write_text("0::/pod/one\n")
    group = root / "sys/fs/cgroup/pod/one"
    group.mkdir(parents=True)
    (group / "memory.max").write_text(f"{limit}\n")
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")
    return str(root)


def test_free_is_what_the_machine_and_the_group_leave(tmp_path: Path) -> None:
    gib = 1 << 30
    assert free_bytes(machine(tmp_path / "a", available=8 * gib)) == 8 * gib
    bounded = machine(tmp_path / "b", available=8 * gib, limit=str(4 * gib), current=3 * gib, cached=gib // 2)
    assert free_bytes(bounded) == gib + gib // 2
    assert free_bytes(machine(tmp_path / "c", available=gib, limit=str(4 * gib))) == gib
    assert free_bytes(str(tmp_path / "nowhere")) == 0


def test_a_misfit_is_named_with_both_numbers() -> None:
    assert misfit("large", int(3.1 * (1 << 30)), int(2.4 * (1 << 30)), measured=True) == Failure(
        "InsufficientResources",
        'model "large" does not fit: needs 3.1 GiB (measured), free 2.4 GiB; unload another model, '
        "or give the replica more memory",
    )
    unmeasured = misfit("large", 3 << 30, 2 << 30)
    assert unmeasured is not None
    assert "needs 3.0 GiB, free 2.0 GiB" in unmeasured.message
    assert misfit("small", 5, 6) is None
    # What is not known is no reason to refuse.
    assert misfit("unknown", 0, 6) is None
    assert misfit("unknown", 5, 0) is None


def test_a_model_larger_than_the_machine_is_not_started(tmp_path: Path) -> None:
    huge = tmp_path / "weights.bin"
    with huge.open("wb") as file:
        file.truncate(1 << 43)  # takes no room on the disk
    config = {"path": str(tmp_path), "files": [{"path": "weights.bin"}]}
    assert artifact_bytes(config) == 1 << 43
    with replica() as running:
        first = running.state["models"][0]
        assert first["phase"] == "ready"
        assert 5 << 20 < first["memory_bytes"] < 1 << 30
        assert first["batch"]["mode"] == "auto"
        assert "modelyard_model_loaded_bytes{" in running.call("GET", "/metrics").body.decode()
    guest = {"format": "python", "entry": "model.py", **config}
    refused = spawn(worker={"config": guest})
    assert refused.process.wait(20) == 1
    assert refused.state["failure"]["reason"] == "InsufficientResources"
    assert "does not fit: needs 8192.0 GiB, free " in refused.state["failure"]["message"]
    remembered = spawn(worker={"known_bytes": 1 << 43})
    assert remembered.process.wait(20) == 1
    assert "does not fit: needs 8192.0 GiB (measured), free " in remembered.state["failure"]["message"]


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def cycle(running: Replica) -> None:
    assert running.infer(1, 2).status == 200
    for verb in ("unload", "load"):
        assert running.call("POST", f"/v2/repository/models/echo/{verb}").status == 200


def test_loading_and_unloading_again_and_again_costs_the_front_nothing() -> None:
    with replica(model_control=True) as running:
        for _ in range(3):
            cycle(running)
        pid = running.process.pid
        before, files = resident(pid), len(os.listdir(f"/proc/{pid}/fd"))
        for _ in range(CYCLES):
            cycle(running)
        assert resident(pid) < 1.02 * before
        assert len(os.listdir(f"/proc/{pid}/fd")) <= files + 1


def segments(pid: int) -> set[int]:
    """Inodes of the memory files that a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith(("/memfd:request-", "/memfd:answer-", "/memfd:ledger")):
                found.add(entry.stat().st_ino)
    return found


def open_anywhere() -> set[int]:
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                found |= segments(int(process.name))
    return found


@pytest.mark.parametrize("who", ["worker", "front"])
def test_no_memory_segment_outlives_a_kill(who: str) -> None:
    with replica() as running:
        worker, front = running.worker, running.process.pid
        # They have no names, and end with the last process that has them open.
        before = segments(worker)
        assert len(before) == 2 * 16 + 1
        assert before <= open_anywhere()
        os.kill(worker if who == "worker" else front, signal.SIGKILL)
        if who == "front":
            running.process.wait(10)
        running.wait_for(lambda: not is_alive(worker))
        if who == "worker":
            running.wait_for(lambda: running.has_replaced(worker))
            assert running.infer(1, 2).status == 200
        running.wait_for(lambda: not before & open_anywhere())


async def test_a_worker_that_died_has_a_successor_only_when_there_is_memory_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hosting(tmp_path, "def predict(inputs): return {'output': inputs['input']}") as hosted:
        (supervisor,) = hosted.supervisors
        first = supervisor.pid
        assert 0 < hosted.loaded_bytes <= hosted.peak_bytes
        monkeypatch.setattr("modelyard.serving.hosted.free_bytes", lambda: 1 << 20)
        os.kill(first, signal.SIGKILL)
        await until(lambda: hosted.failure is not None and hosted.failure.reason == "InsufficientResources")
        assert hosted.failure is not None
        assert "(measured), free 1.0 MiB" in hosted.failure.message
        assert (supervisor.pid, hosted.phase) == (0, "unready")
        monkeypatch.setattr("modelyard.serving.hosted.free_bytes", lambda: 1 << 40)
        await until(lambda: hosted.is_ready)
        assert supervisor.pid not in (0, first)
        assert hosted.failure is None
        assert hosted.restarts == 1
