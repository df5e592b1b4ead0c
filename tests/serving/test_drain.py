"""Leaving, overload, and large tensors: nothing is lost, nothing grows without bound."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from tests.serving.replicas import CHAOS, Replica, exchange, infer_body, is_alive, replica, spawn
from tests.serving.test_crashes import begin
from tests.serving.test_http import post, read_responses


def test_draining_under_load_loses_nothing() -> None:
    running = spawn(code=CHAOS)
    running.wait_ready()
    worker = running.worker
    lost: list[str] = []
    answered = [0]
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                connection = running.connection()
            except OSError:
                return  # it listens no more: a client goes elsewhere
            with contextlib.closing(connection):
                _ask_until_closed(connection, stop, lost, answered)

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    before = answered[0]
    status = running.terminate()
    stop.set()
    for thread in threads:
        thread.join()
    assert lost == []
    assert before > 0
    assert status == 0
    assert not is_alive(worker)


def test_a_draining_replica_is_not_ready_finishes_what_it_has_and_closes() -> None:
    running = spawn(code=CHAOS)
    running.wait_ready()
    with (
        ThreadPoolExecutor(2) as pool,
        running.connect() as probe,
        contextlib.closing(running.connection()) as later,
    ):
        asked = begin(pool, running, 7, 1.0)
        probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\n\r\n")
        assert read_responses(probe, 1)[0][0] == 200
        running.process.send_signal(signal.SIGTERM)
        running.wait_for(lambda: running.state["phase"] == "draining")
        probe.sendall(b"GET /v2/health/ready HTTP/1.1\r\n\r\n")
        status, headers, _ = read_responses(probe, 1)[0]
        assert (status, headers["connection"]) == (503, "close")
        answer = exchange(later, "POST", "/v2/models/echo/infer", infer_body(0, 1))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert asked.result().status == 200
    assert running.process.wait(5) == 0


def test_pipelined_requests_are_all_answered_across_a_drain() -> None:
    running = spawn(code=CHAOS)
    running.wait_ready()
    with running.connect() as sock:
        sock.sendall(post(infer_body(7, 0.3)) + post(infer_body(0, 1)) * 20)
        time.sleep(0.1)
        running.process.send_signal(signal.SIGTERM)
        answers = read_responses(sock, 30)
    assert [status for status, _, _ in answers] == [200] * 21
    assert ["connection" in headers for _, headers, _ in answers] == [False] * 20 + [True]
    assert running.process.wait(5) == 0


def test_a_drain_ends_at_its_limit_and_a_second_signal_ends_it_at_once() -> None:
    for second, most in ((False, 3.0), (True, 1.0)):
        running = spawn(code=CHAOS, limits={"drain_seconds": 1.5})
        running.wait_ready()
        worker = running.worker
        with running.connect() as sock:
            sock.sendall(post(infer_body(3, 0)))
            time.sleep(0.2)
            begun = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            running.wait_for(lambda: running.state["phase"] == "draining")  # noqa: B023 - waited for at once
            if second:
                running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(10) == 0
        assert time.monotonic() - begun < most
        running.wait_for(lambda: not is_alive(worker), 3)  # noqa: B023 - waited for at once


def test_a_front_told_to_stop_while_loading_stops() -> None:
    running = spawn(code="import time\ntime.sleep(60)")
    running.wait_for(lambda: bool(running.state.get("workers")))
    worker = running.worker
    begun = time.monotonic()
    assert running.call("GET", "/livez").status == 200
    refused = running.infer(1)
    assert (refused.status, refused.headers["x-modelyard-retry"], refused.json["reason"]) == (
        503,
        "safe",
        "Starting",
    )
    assert running.terminate() == 0
    assert time.monotonic() - begun < 3
    running.wait_for(lambda: not is_alive(worker), 3)


def test_overload_is_refused_early_and_what_is_taken_is_answered() -> None:
    with replica(code=CHAOS, limits={"queue": 4}) as running, ThreadPoolExecutor(40) as pool:
        blocking = begin(pool, running, 7, 1.0)
        begun = time.monotonic()
        answers = [f.result() for f in [pool.submit(running.infer, 0, n) for n in range(30)]]
        refused = [answer for answer in answers if answer.status == 503]
        assert sum(answer.status == 200 for answer in answers) == 4
        assert len(refused) == 26
        for answer in refused:
            assert answer.headers["x-modelyard-retry"] == "safe"
            assert answer.headers["retry-after"] == "1"
            assert answer.json["reason"] == "QueueFull"
        assert blocking.result().status == 200
        assert time.monotonic() - begun < 4
        text = running.call("GET", "/metrics").body.decode()
        assert 'reason="QueueFull"} 26' in text


def test_the_heartbeat_goes_on_and_the_state_has_its_fields(echo: Replica) -> None:
    path = echo.directory / "state.json"
    first = path.stat().st_mtime
    echo.wait_for(lambda: path.stat().st_mtime > first, 3)
    state = echo.state
    assert set(state) == {
        "pid",
        "phase",
        "failure",
        "worker_restarts",
        "memory_bytes",
        "device",
        "workers",
        "models",
        "last_failure",
        "variant",
        "inline",
        "queue",
        "inflight",
    }
    assert (state["pid"], state["phase"], state["failure"]) == (echo.process.pid, "ready", None)
    assert state["memory_bytes"] > 10 << 20
    (model,) = state["models"]
    assert set(model) == {"name", "version", "phase", "memory_bytes", "peak_bytes", "threads", "batch"}
    assert set(model["batch"]) == {"mode", "reason", "max_rows", "milliseconds"}


def test_tensors_grow_through_shared_memory_and_the_front_does_not(echo: Replica) -> None:
    connection = echo.connection()
    for count in (1, 8000, 8192, 8193, 20_000, 200_000, 3, 400_000, 9000):
        values = np.random.default_rng(count).random(count)
        assert np.array_equal(_binary(connection, values), values)
    values = np.random.default_rng(0).random(75_000)
    for turn in range(400):
        if turn == 200:
            before = _resident(echo.process.pid)
        assert np.array_equal(_binary(connection, values), values)
    assert _resident(echo.process.pid) - before < 4 << 20
    connection.close()


def test_large_tensors_of_many_clients_do_not_mix(echo: Replica) -> None:
    def client(number: int) -> bool:
        with contextlib.closing(echo.connection()) as connection:
            for turn in range(8):
                values = np.full(12_000 + number * 100, float(number * 1000 + turn))
                if not np.array_equal(_binary(connection, values), values):
                    return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(client, range(10)))


def test_a_small_request_may_have_a_large_answer_and_the_other_way_round() -> None:
    code = """
import numpy as np
def predict(inputs):
    return {"output": np.full((1, int(inputs["input"].flat[0])), inputs["input"].sum())}
"""
    with replica(code=code, limits={"max_body_bytes": 8 << 20}) as running:
        assert len(running.infer(30_000).json["outputs"][0]["data"]) == 30_000
        assert running.infer(1, *([1.0] * 30_000)).json["outputs"][0]["data"] == [30_001.0]


def test_nothing_of_a_killed_replica_is_left_in_shared_memory() -> None:
    with replica() as running:
        running.infer(*([1.0] * 30_000))
        front = psutil.Process(running.process.pid)
        mapped = {part.path for each in (front, *front.children()) for part in each.memory_maps()}
    shared = {path for path in mapped if path.startswith(("/memfd:", "/dev/shm/"))}
    assert shared, "it does share memory"
    assert not [path for path in shared if Path(path).exists()]


def _ask_until_closed(
    connection: http.client.HTTPConnection, stop: threading.Event, lost: list[str], answered: list[int]
) -> None:
    while not stop.is_set():
        try:
            answer = exchange(connection, "POST", "/v2/models/echo/infer", infer_body(7, 0.002))
        except (OSError, http.client.HTTPException) as error:
            lost.append(repr(error))
            return
        answered[0] += 1
        if answer.status != 200:
            lost.append(f"{answer.status} {answer.body!r}")
        if answer.headers.get("connection") == "close":
            return


def _binary(connection: http.client.HTTPConnection, values: np.ndarray) -> np.ndarray:
    tensor = {
        "name": "input",
        "shape": [1, len(values)],
        "datatype": "FP64",
        "parameters": {"binary_data_size": values.nbytes},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = exchange(connection, "POST", "/v2/models/echo/infer", head + values.tobytes(), headers)
    assert answer.status == 200, answer.body
    return np.frombuffer(answer.body[int(answer.headers["inference-header-content-length"]) :], "<f8")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
