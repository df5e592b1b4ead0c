"""Containers that start before the others and stay, and probes over gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.here import IP, Here, container
from tests.support.cluster import preemption
from tests.support.cluster.writing import condition

HEALTH = """
import os, sys
from concurrent import futures
import grpc
status = {b"": 1, b"models": 1, b"broken": 2}
def check(request, context):
    name = request[2:]
    if name not in status:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
    return bytes((8, status[name]))
methods = {"Check": grpc.unary_unary_rpc_method_handler(check)}
server = grpc.server(futures.ThreadPoolExecutor())
name = "grpc.health.v1.Health" if sys.argv[1:] != ["deaf"] else "other.Service"
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
server.add_insecure_port(f"{os.environ['IP']}:9000")
server.start()
server.wait_for_termination()
"""
COMPANION = """
import pathlib, signal, sys, time
home, name = pathlib.Path("/shared"), sys.argv[1]
def ended(*_):
    with open(home / "order", "a") as file:
        file.write(f"{name} ended;")
    sys.exit(0)
signal.signal(signal.SIGTERM, ended)
with open(home / "order", "a") as file:
    file.write(f"{name} began;")
(home / name).touch()
time.sleep(100)
"""


def companion(name: str) -> dict[str, Any]:
    found = container("python", "-c", COMPANION, name, volumeMounts=[SHARED])
    asked = {"exec": {"command": ["test", "-e", f"/shared/{name}"]}}
    probe = {**asked, "periodSeconds": 1, "failureThreshold": 60}
    return {**found, "name": name, "restartPolicy": "Always", "startupProbe": probe}


SHARED = {"name": "v", "mountPath": "/shared"}


def shared(home: Path) -> list[dict[str, Any]]:
    home.mkdir()
    home.chmod(0o777)
    return [{"name": "v", "hostPath": {"path": str(home)}}]


async def test_companions_start_in_order_before_the_others_and_do_not_hold_up_an_end(
    here: Here, tmp_path: Path
) -> None:
    prepares = {**container("sh", "-c", "printf 'prepared;' >> /shared/order", volumeMounts=[SHARED])}
    main = container("sh", "-c", "printf 'worked;' >> /shared/order", volumeMounts=[SHARED])
    here.pod(
        "job", main, volumes=shared(tmp_path / "shared"), restartPolicy="Never",
        initContainers=[companion("one"), {**prepares, "name": "prepares"}, companion("two")],
    )  # fmt: skip
    await here.until(lambda: here.seen("job").get("status", {}).get("phase") == "Succeeded")
    said = (tmp_path / "shared" / "order").read_text()
    assert said == "one began;prepared;two began;worked;two ended;one ended;"
    statuses = {each["name"]: each for each in here.seen("job")["status"]["initContainerStatuses"]}
    assert all("terminated" in each["state"] for each in statuses.values())


async def test_a_pod_that_is_deleted_ends_its_companions_last(here: Here, tmp_path: Path) -> None:
    main = container("python", "-c", COMPANION, "main", volumeMounts=[SHARED])
    here.pod("web", main, volumes=shared(tmp_path / "shared"), initContainers=[companion("beside")])
    await here.until(
        lambda: condition(here.seen("web").get("status", {}), "Ready").get("status") == "True", 40
    )
    await here.until((tmp_path / "shared" / "main").exists)
    here.delete("web")
    await here.until(lambda: not here.seen("web"))
    said = (tmp_path / "shared" / "order").read_text()
    assert said == "beside began;main began;main ended;beside ended;"


async def test_a_companion_that_ends_is_started_again_and_counts_for_being_ready(here: Here) -> None:
    never = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    ends = {**container("sh", "-c", "sleep 0.2"), "name": "ends", "restartPolicy": "Always"}
    lame = {**container("sleep", "100", readinessProbe=never), "name": "lame", "restartPolicy": "Always"}
    here.pod("web", container("sleep", "100"), initContainers=[ends, lame], terminationGracePeriodSeconds=0)

    def statuses() -> dict[str, Any]:
        found = here.seen("web").get("status", {}).get("initContainerStatuses", ())
        return {each["name"]: each for each in found}

    await here.until(lambda: statuses().get("ends", {}).get("restartCount", 0) >= 1)
    await here.until(lambda: "running" in here.container("web").get("state", {}))
    status = here.seen("web")["status"]
    assert (status["phase"], condition(status, "Initialized")["status"]) == ("Running", "True")
    assert condition(status, "Ready")["status"] == "False"


def test_what_companions_ask_for_is_asked_for_all_the_time() -> None:
    def asking(cpu: str, **more: Any) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {"containers": [asking("2")], "initContainers": [asking("1", restartPolicy="Always"), asking("1")]}
    assert preemption.requests(spec)["cpu"] == 3


@pytest.mark.parametrize(
    ("service", "words", "said"),
    [
        ("", [], ""),
        ("models", [], ""),
        ("broken", [], 'service unhealthy (responded with "NOT_SERVING")'),
        ("unknown", [], "error: health rpc probe failed: no such service"),
        ("", ["deaf"], "does not implement the grpc health protocol"),
    ],
)
async def test_a_probe_over_grpc_asks_for_a_service(
    here: Here, service: str, words: list[str], said: str
) -> None:
    probe: dict[str, Any] = {"grpc": {"port": 9000, "service": service}, "periodSeconds": 1}
    starts = {"tcpSocket": {"port": 9000}, "periodSeconds": 1, "failureThreshold": 60}
    main = container(
        "python", "-c", HEALTH, *words, env=[IP], readinessProbe={**probe, "failureThreshold": 1},
        startupProbe=starts,
    )  # fmt: skip
    here.pod("model", main, terminationGracePeriodSeconds=0)

    def events() -> list[str]:
        found = here.cluster.store.list(here.cluster.kind("Event"), "default")
        return [each["message"] for each in found if "Readiness" in each["message"]]

    if not said:
        await here.until(lambda: here.container("model").get("ready"))
        return
    await here.until(lambda: any(said in each for each in events()))
    assert not here.container("model")["ready"]


async def test_a_server_that_is_not_there_does_not_answer_over_grpc(here: Here) -> None:
    probe = {"grpc": {"port": 9000}, "periodSeconds": 1, "failureThreshold": 2}
    here.pod("none", container("sleep", "100", livenessProbe=probe), terminationGracePeriodSeconds=0)
    await here.until(lambda: here.container("none").get("restartCount", 0) >= 1)
    found = here.cluster.store.list(here.cluster.kind("Event"), "default")
    assert any("failed to connect service" in each["message"] for each in found)
