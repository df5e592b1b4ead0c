"""Workers that die, hang, stop and eat memory: only what was inside them may fail, and they come back."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.serving.replicas import CHAOS, Answer, Replica, is_alive, replica, spawn

DEADLINE = 1.0
LIMITS = {"request_timeout_seconds": DEADLINE}


def begin(
    pool: ThreadPoolExecutor, running: Replica, *values: float, headers: dict[str, str] | None = None
) -> Future[Answer]:
    """Ask for a prediction, and wait until the worker has it."""
    before = _busy(running)
    asked = pool.submit(running.infer, *values, headers=headers)
    running.wait_for(lambda: _busy(running) > before or asked.done())
    return asked


def _busy(running: Replica) -> float:
    text = running.call("GET", "/metrics").body.decode()
    return sum(
        float(line.split()[-1])
        for line in text.splitlines()
        if line.startswith(("modelyard_inflight{", "modelyard_queue_depth{"))
    )


@pytest.mark.parametrize(
    ("action", "status", "reason", "restarts"),
    [
        (1, 503, "WorkerCrashed", 2),
        (2, 503, "OutOfMemory", 0),
        (3, 504, "", 1),
        (4, 500, "UserCodeFailed", 0),
        (5, 503, "WorkerCrashed", 2),
        (11, 503, "WorkerCrashed", 2),
    ],
    ids=["segfault", "MemoryError", "endless loop", "sys.exit", "os._exit", "broken protocol"],
)
def test_only_the_request_inside_a_failing_worker_fails(
    action: int, status: int, reason: str, restarts: int
) -> None:
    with replica(code=CHAOS, limits=LIMITS) as running, ThreadPoolExecutor(8) as pool:
        begun = time.monotonic()
        # One that kills its worker is given to a second one, and no third: that takes as long as a start.
        patience = {"X-Request-Timeout": "15"} if restarts == 2 else {}
        failing = begin(pool, running, action, 0, headers=patience)
        # These wait behind it, and are answered by the next worker; the endless loop outlasts their deadline.
        others = [pool.submit(running.infer, 0, n, headers={"X-Request-Timeout": "15"}) for n in range(5)]
        answer = failing.result()
        assert time.monotonic() - begun < (6 if restarts == 2 else DEADLINE + 1)
        assert (answer.status, answer.json.get("reason", "")) == (status, reason), answer.body
        assert ("this request is poison" in answer.json["error"]) == (restarts == 2)
        assert "x-modelyard-retry" not in answer.headers
        assert [other.result().status for other in others] == [200] * 5
        running.wait_ready()
        assert running.infer(0, 1).status == 200
        assert running.state["worker_restarts"] == restarts
        assert time.monotonic() - begun < 8


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_request_whose_worker_is_killed_is_answered_by_the_next_one(number: signal.Signals) -> None:
    with replica(code=CHAOS, worker={"hang_timeout_seconds": 5}) as running, ThreadPoolExecutor(2) as pool:
        asked = begin(pool, running, 7, 1.5)
        running.wait_for((running.directory / "begun").exists)
        first = running.worker
        os.kill(first, number)
        answer = asked.result()
        assert (answer.status, answer.json["outputs"][0]["data"]) == (200, [7, 1.5])
        assert running.has_replaced(first)
        assert number.name in running.log
        text = running.call("GET", "/metrics").body.decode()
        (line,) = (line for line in text.splitlines() if line.startswith("modelyard_retried_total{"))
        assert line.endswith("} 1")


def test_a_request_that_outlives_two_workers_is_not_given_to_a_third() -> None:
    with replica(code=CHAOS, worker={"hang_timeout_seconds": 5}) as running, ThreadPoolExecutor(2) as pool:
        failing = begin(pool, running, 7, 5)
        for _ in range(2):
            running.wait_for((running.directory / "begun").exists)
            (running.directory / "begun").unlink()
            os.kill(running.worker, signal.SIGKILL)
        answer = failing.result()
        assert (answer.status, answer.json["reason"]) == (503, "WorkerCrashed")
        assert "this request is poison" in answer.json["error"]
        # Sending it again would kill the next worker, so nobody is invited to.
        assert not {"retry-after", "x-modelyard-retry"} & set(answer.headers)
        running.wait_ready()
        assert running.infer(0, 1).status == 200


def test_the_second_try_keeps_to_the_deadline() -> None:
    with replica(code=CHAOS, worker={"hang_timeout_seconds": 5}) as running, ThreadPoolExecutor(2) as pool:
        begun = time.monotonic()
        late = begin(pool, running, 7, 5, headers={"X-Request-Timeout": "1.5"})
        running.wait_for((running.directory / "begun").exists)
        os.kill(running.worker, signal.SIGKILL)
        assert late.result().status == 504
        assert time.monotonic() - begun < 2.5


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_without_retries_a_worker_killed_in_the_middle_comes_back_and_says_why(
    number: signal.Signals,
) -> None:
    options: dict[str, Any] = {"limits": {"retry": False}, "worker": {"hang_timeout_seconds": 5}}
    with replica(code=CHAOS, **options) as running, ThreadPoolExecutor(2) as pool:
        failing = begin(pool, running, 7, 5)
        running.wait_for((running.directory / "begun").exists)
        first = running.worker
        os.kill(first, number)
        answer = failing.result()
        assert (answer.status, answer.json["reason"]) == (503, "WorkerCrashed")
        assert number.name in answer.json["error"]
        assert answer.headers["retry-after"] == "1"
        running.wait_for(lambda: running.has_replaced(first))
        assert running.infer(0, 1).status == 200
        assert running.state["failure"] is None


def test_readiness_tells_the_truth_while_the_worker_is_away() -> None:
    slow = "import os, time\nif os.path.exists('again'): time.sleep(1)\nopen('again', 'w').close()\n"
    with replica(code=slow + "def predict(inputs): return {'output': inputs['input']}") as running:
        os.kill(running.worker, signal.SIGKILL)
        running.wait_for(lambda: running.state["phase"] == "unready")
        assert running.state["failure"]["reason"] == "WorkerCrashed"
        for path in ("/v2/health/ready", "/readyz", "/ping", "/v2/models/echo/ready"):
            answer = running.call("GET", path)
            assert (answer.status, answer.json["ready"], answer.json["reason"]) == (
                503,
                False,
                "WorkerCrashed",
            )
        index = running.call("POST", "/v2/repository/index").json[0]
        assert index["state"] == "UNAVAILABLE"
        assert index["reason"].startswith("WorkerCrashed: ")
        assert running.call("GET", "/livez").status == 200
        # A request that comes nevertheless waits the moment until the worker is back.
        assert running.infer(1, 2).status == 200
        assert running.state["phase"] == "ready"


@pytest.mark.parametrize("busy", [False, True])
def test_a_stopped_worker_is_found_out_and_replaced(busy: bool) -> None:
    with replica(code=CHAOS) as running, ThreadPoolExecutor(2) as pool:
        first = running.worker
        failing = begin(pool, running, 7, 3) if busy else None
        running.wait_for(lambda: not busy or (running.directory / "begun").exists())
        os.kill(first, signal.SIGSTOP)
        running.wait_for(lambda: running.state["worker_restarts"] == 1, 6)
        assert not is_alive(first)
        assert '"reason":"WorkerHung"' in running.log
        if failing is not None:
            # The next worker answers it: it was the process that was stopped, not the request that is bad.
            assert failing.result().status == 200
        running.wait_ready()
        assert running.infer(0, 1).status == 200


def test_a_short_deadline_of_a_client_costs_nobody_the_worker() -> None:
    with replica(code=CHAOS, limits={"request_timeout_seconds": 20}) as running:
        first = running.worker
        begun = time.monotonic()
        answer = running.infer(7, 2.5, headers={"X-Request-Timeout": "0.2"})
        assert (answer.status, answer.json["code"]) == (504, "timed_out")
        assert 0.19 < time.monotonic() - begun < 1
        # The worker goes on to the end, and its slot with it.
        assert running.infer(0, 1).status == 200
        assert running.worker == first
        assert time.monotonic() - begun > 2


def test_a_deadline_counts_the_time_in_the_queue() -> None:
    with replica(code=CHAOS) as running, ThreadPoolExecutor(2) as pool:
        begin(pool, running, 7, 1)
        begun = time.monotonic()
        answer = running.infer(0, 1, headers={"X-Request-Timeout": "0.3"})
        assert answer.status == 504
        assert time.monotonic() - begun < 0.8


def test_a_worker_that_outgrows_its_memory_is_ended_with_both_numbers() -> None:
    with replica(code=CHAOS, worker={"memory_bytes": 200 << 20}) as running:
        answer = running.infer(6, 300)
        assert (answer.status, answer.json["reason"]) == (503, "OutOfMemory")
        assert "of the 200 MiB it may have" in answer.json["error"]
        running.wait_ready()
        assert running.infer(0, 1).status == 200
        assert running.state["memory_bytes"] < 200 << 20


def test_a_sound_worker_beside_a_dying_one_never_notices() -> None:
    with replica(code=CHAOS, worker={"count": 2}) as running, ThreadPoolExecutor(4) as pool:
        running.wait_for(
            lambda: (
                "modelyard_worker_up{" in (t := running.call("GET", "/metrics").body.decode())
                and "} 2\n" in t
            )
        )
        asked = begin(pool, running, 7, 0.5)
        statuses = []
        os.kill(running.worker, signal.SIGKILL)
        for n in range(40):
            statuses.append(running.infer(0, n).status)
        assert statuses == [200] * 40
        assert asked.result().status == 200


def test_requests_are_turned_away_when_the_worker_does_not_come_back() -> None:
    code = "import os, time\nif os.path.exists('again'): time.sleep(60)\nopen('again', 'w').close()\n"
    with replica(code=code + "def predict(inputs): return inputs") as running:
        os.kill(running.worker, signal.SIGKILL)
        running.wait_for(lambda: running.state["phase"] == "unready")
        begun = time.monotonic()
        refused = running.infer(1, 2)
        assert (refused.status, refused.headers["x-modelyard-retry"]) == (503, "safe")
        assert 2 < time.monotonic() - begun < 5
        assert running.infer(1, 2).status == 503


def test_workers_that_keep_dying_are_started_ever_more_slowly() -> None:
    with replica() as running:
        pids = set()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            for worker in running.state["workers"]:
                if worker["pid"] not in pids and is_alive(worker["pid"]):
                    pids.add(worker["pid"])
                    os.kill(worker["pid"], signal.SIGKILL)
            time.sleep(0.01)
        assert 2 <= len(pids) <= 6
        refused = running.infer(1, 2)
        assert (refused.status, refused.headers["x-modelyard-retry"]) == (503, "safe")


def test_the_worker_dies_with_its_front() -> None:
    for action in (None, 3):
        running = spawn(code=CHAOS)
        running.wait_ready()
        worker = running.worker
        if action is not None:
            threading.Thread(target=_ignoring(running, action), daemon=True).start()
            time.sleep(0.3)
        running.process.kill()
        running.process.wait(10)
        running.wait_for(lambda: not is_alive(worker), 5)  # noqa: B023 - waited for at once


def _ignoring(running: Replica, action: int) -> Any:
    def ask() -> None:
        with pytest.raises(OSError, match=r".*"):
            running.infer(action, 0)

    return ask


def test_children_of_a_worker_go_with_it() -> None:
    code = (
        "import subprocess\nchild = subprocess.Popen(['sleep', '60'])\n"
        "def predict(inputs): return {'output': [[float(child.pid)]]}"
    )
    with replica(code=code) as running:
        child = int(running.infer(0).json["outputs"][0]["data"][0])
        assert is_alive(child)
        os.kill(running.worker, signal.SIGKILL)
        running.wait_for(lambda: not is_alive(child), 5)
