"""The process kubelet: a pod's words become processes, and its status says what became of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx2

from tests.cluster.here import IP, Here, container
from tests.support.cluster.running import serving
from tests.support.cluster.verbs import Options
from tests.support.cluster.writing import condition

SERVER = """
import http.server, os
http.server.test(http.server.SimpleHTTPRequestHandler, port=8000, bind=os.environ["IP"])
"""
PATIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), sys.exit(0)))
print("up")
time.sleep(60)
"""


async def test_a_pod_is_prepared_then_answers_at_its_own_address(here: Here) -> None:
    here.create("ConfigMap", "words", data={"text": "hello"})
    volumes = [{"name": "shared", "emptyDir": {}}, {"name": "words", "configMap": {"name": "words"}}]
    mounts = [{"name": "shared", "mountPath": "/shared"}, {"name": "words", "mountPath": "/etc/words"}]
    prepare = {
        "name": "prepare", "image": "python", "volumeMounts": mounts,
        "command": ["sh", "-c", "cp /etc/words/text /shared/$(NAME)"],
        "env": [{"name": "NAME", "value": "copied"}],
    }  # fmt: skip
    probe = {"httpGet": {"path": "/copied", "port": 8000}, "periodSeconds": 1, "failureThreshold": 30}
    main = container(
        "python", "-c", SERVER, env=[IP], volumeMounts=mounts, workingDir="/shared",
        startupProbe=probe, readinessProbe=probe,
    )  # fmt: skip
    for name in ("web", "other"):
        # A program that is the first in its container does not end by a signal that it does not know.
        more = {"initContainers": [prepare], "volumes": volumes, "terminationGracePeriodSeconds": 1}
        here.pod(name, main, **more)
    for name in ("web", "other"):
        await here.until(
            lambda name=name: condition(here.seen(name).get("status", {}), "Ready").get("status") == "True"
        )
    addresses = {here.seen(name)["status"]["podIP"] for name in ("web", "other")}
    assert len(addresses) == 2
    async with httpx2.AsyncClient(trust_env=False) as client:
        for address in addresses:
            assert (await client.get(f"http://{address}:8000/copied")).text == "hello"
    here.delete("web")
    await here.until(lambda: not here.seen("web"))


async def test_what_ends_is_started_again_with_longer_pauses(here: Here) -> None:
    here.pod("broken", container("sh", "-c", "echo why > /dev/termination-log; exit 3"))
    await here.until(lambda: here.container("broken").get("restartCount", 0) >= 2)
    ended = here.container("broken")["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (3, "Error", "why\n")


async def test_what_takes_too_much_memory_is_ended(here: Here) -> None:
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    code = "x = bytearray(1 << 28); import time; time.sleep(60)"
    here.pod("large", container("python", "-c", code, **limits), restartPolicy="Never")
    await here.until(lambda: here.seen("large").get("status", {}).get("phase") == "Failed")
    assert here.container("large")["state"]["terminated"]["reason"] == "OOMKilled"


async def test_what_is_missing_is_said_in_the_kubelets_words(here: Here) -> None:
    here.pod("imageless", {"name": "main", "image": "nowhere/nothing:1"})
    missing = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "no-such", "key": "a"}}}
    here.pod("secretless", container("sleep", "100", env=[missing]))
    await here.until(lambda: "waiting" in here.container("imageless").get("state", {}))
    await here.until(lambda: "waiting" in here.container("secretless").get("state", {}))
    await here.until(lambda: here.container("imageless")["state"]["waiting"]["reason"] == "ImagePullBackOff")
    waiting = here.container("secretless")["state"]["waiting"]
    assert (waiting["reason"], waiting["message"]) == (
        "CreateContainerConfigError",
        'secret "no-such" not found',
    )
    here.create("Secret", "no-such", data={"a": "YQ=="})
    await here.until(lambda: "running" in here.container("secretless").get("state", {}))


async def test_a_pod_has_its_time_to_finish_and_no_more(here: Here) -> None:
    # The patient one would be waited for longer than this test has.
    for name, code, grace in (
        ("patient", PATIENT, 60),
        ("deaf", "import time;print('up');time.sleep(60)", 2),
    ):
        here.pod(name, container("python", "-u", "-c", code), terminationGracePeriodSeconds=grace)
        await here.until(
            lambda name=name: any(p.parts[0].logs and p.parts[0].logs[0].lines for p in pods(here, name))
        )
    began = time.monotonic()
    here.delete("patient")
    await here.until(lambda: not here.seen("patient"))
    assert time.monotonic() - began > 0.25
    began = time.monotonic()
    here.delete("deaf")
    await here.until(lambda: not here.seen("deaf"))
    assert time.monotonic() - began > 1.5


def pods(here: Here, name: str) -> list[Any]:
    uid = here.seen(name).get("metadata", {}).get("uid")
    return [here.kubelet.pods[uid]] if uid in here.kubelet.pods else []


async def test_liveness_that_fails_restarts_and_readiness_only_takes_away(here: Here) -> None:
    never = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    here.pod("dead", container("sleep", "100", livenessProbe=never))
    here.pod("away", container("sleep", "100", readinessProbe=never))
    await here.until(lambda: here.container("dead").get("restartCount", 0) >= 1)
    assert here.container("away")["restartCount"] == 0
    assert not here.container("away")["ready"]


async def test_a_job_runs_to_its_end(here: Here) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [container("sh", "-c", "exit 0")]}}
    value = {"metadata": {"name": "once"}, "spec": {"template": template, "backoffLimit": 0}}
    here.cluster.create(here.cluster.kind("Job"), "default", value, Options(manager="test"))

    def is_complete() -> bool:
        found = here.cluster.store.get(here.cluster.kind("Job"), ("default", "once")) or {}
        return condition(found.get("status", {}), "Complete").get("status") == "True"

    await here.until(is_complete)


async def test_its_log_is_read_through_the_api_and_followed(here: Here, tmp_path: Path) -> None:
    code = "import time\nprint('one')\nprint('two')\ntime.sleep(1)\nprint('three')"
    here.pod("talks", container("python", "-u", "-c", code), restartPolicy="Never")
    async with serving(here.cluster) as running:
        running.server.keeper = here.kubelet
        await here.until(
            lambda: any(len(log.lines) > 1 for log in here.kubelet.written(here.seen("talks"), "main"))
        )
        address = f"{running.url}/api/v1/namespaces/default/pods/talks/log"
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            assert (await client.get(address, params={"tailLines": "1"})).text == "two\n"
            followed = (await client.get(address, params={"follow": "true", "timestamps": "true"})).text
            assert [line.partition(" ")[2] for line in followed.splitlines()] == ["one", "two", "three"]
            since = followed.splitlines()[1].partition(" ")[0]
            assert (await client.get(address, params={"sinceTime": since})).text == "two\nthree\n"
            assert (await client.get(address, params={"previous": "true"})).status_code == 400
            assert (await client.get(address, params={"container": "other"})).status_code == 400
