"""Commands in pods, as kubectl and our own client give them, and what pods use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard.backends.base import Terminal
from modelyard.backends.kubernetes.client.cluster import Cluster as Client
from tests.cluster.here import Here, container
from tests.cluster.test_clients import kubectl
from tests.support.cluster.commands import Played
from tests.support.cluster.control import Control, add_node
from tests.support.cluster.processes.containers import usage
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.running import Running, running, serving
from tests.support.cluster.verbs import Options
from tests.support.connected import client


@dataclass(slots=True)
class Pods:
    """A cluster with a pod that sleeps, behind a socket."""

    here: Here
    running: Running
    kubeconfig: Path

    async def kubectl(self, *arguments: str) -> tuple[int, str]:
        return await kubectl(self.kubeconfig, *arguments)


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Pods]:
    here = Here(tmp_path / "pods")
    looping = asyncio.create_task(here.control.run())
    async with serving(here.cluster) as there:
        connect(there, here.kubelet)
        here.pod("sleeper", container("sleep", "1000", env=[{"name": "A", "value": "b"}]))
        await here.until(lambda: "running" in here.container("sleeper").get("state", {}))
        await here.until(
            lambda: any(each.pid for each in here.kubelet._running(here.seen("sleeper")).values())
        )
        yield Pods(here, there, there.kubeconfig(tmp_path))
    await here.kubelet.close()
    looping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looping


def connect(there: Running, kubelet: ProcessKubelet) -> None:
    there.server.keeper = kubelet
    there.server.execute = kubelet.execute
    there.server.measure = kubelet.measure


async def test_a_command_is_among_the_containers_processes(pods: Pods) -> None:
    script = "import os; os.kill(1, 0); print(os.getpid() < 100, os.getppid())"
    code, said = await pods.kubectl("exec", "sleeper", "--", "python3", "-c", script)
    assert (code, said) == (0, "True 0\n"), "its parent is outside"


async def test_kubectl_runs_commands_and_reads_logs(pods: Pods) -> None:
    assert await pods.kubectl("exec", "sleeper", "--", "sh", "-c", "echo $A") == (0, "b\n")
    code, said = await pods.kubectl("exec", "sleeper", "--", "sh", "-c", "echo wrong >&2; exit 3")
    assert code == 3
    assert said.startswith("wrong\n")
    code, said = await pods.kubectl("exec", "none", "--", "true")
    assert (code, '"none" not found' in said) == (1, True)
    code, said = await pods.kubectl("exec", "sleeper", "-c", "other", "--", "true")
    assert "container other is not valid" in said or "container not found" in said
    assert await pods.kubectl("logs", "sleeper") == (0, "")


async def test_our_client_gives_input_and_has_a_terminal(pods: Pods) -> None:
    async with client(pods.running.url) as ours:
        assert await said(ours, ["sh", "-c", "read x; echo got $x; exit 4"], b"this\n") == (
            b"got this\r\n",
            4,
            True,
        )


async def said(ours: Client, command: list[str], given: bytes) -> tuple[bytes, int, bool]:
    channel = await ours.exec("default", "sleeper", command, terminal=Terminal(80, 24))
    await channel.write(given)
    found = b""
    while (piece := await channel.read()) is not None:
        found += piece.data
    code = await channel.wait()
    await channel.close()
    return found.partition(b"\r\n")[2], code, found.startswith(given.strip())


async def test_a_command_ends_when_its_caller_hangs_up(pods: Pods, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    async with client(pods.running.url) as ours:
        command = ["sh", "-c", f"touch {mark}; sleep 2; rm {mark}"]
        channel = await ours.exec("default", "sleeper", command)
        await pods.here.until(mark.exists)
        await channel.close()
    await asyncio.sleep(2.5)
    assert mark.exists()


async def test_what_pods_use_is_measured(pods: Pods) -> None:
    pods.here.pod("busy", container("sh", "-c", "while true; do true; done"))
    await pods.here.until(lambda: "running" in pods.here.container("busy").get("state", {}))
    place = f"{pods.running.url}/apis/metrics.k8s.io/v1beta1"
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def used(path: str) -> Any:
            return (await http.get(place + path)).json()

        before = spent(pods.here, "busy")
        await used("/namespaces/default/pods")
        await asyncio.sleep(1.5)
        found = {each["metadata"]["name"]: each for each in (await used("/namespaces/default/pods"))["items"]}
        assert set(found) == {"busy", "sleeper"}
        cores = {name: int(each["containers"][0]["usage"]["cpu"][:-1]) / 1e9 for name, each in found.items()}
        # How much of a core it gets is the machine's affair, which may have other things to do.
        own = [now - then for now, then in zip(spent(pods.here, "busy"), before, strict=True)]
        assert cores["busy"] == pytest.approx(own[0] / own[1], rel=0.4)
        assert cores["sleeper"] < cores["busy"] / 5
        assert int(found["busy"]["containers"][0]["usage"]["memory"][:-2]) > 100
        assert (await used("/nodes/node-1"))["kind"] == "NodeMetrics"
        assert (await used("/namespaces/default/pods/none"))["code"] == 404
    code, shown = await pods.kubectl("top", "pods", "--no-headers")
    assert (code, "busy" in shown) == (0, True)


def spent(here: Here, name: str) -> tuple[float, float]:
    """Seconds of a core that a pod's processes had, and when that was looked at."""
    (running,) = here.kubelet._running(here.seen(name)).values()
    return usage(running)[0], time.monotonic()


async def test_a_scripted_pod_plays_its_commands(tmp_path: Path) -> None:
    async with running() as there:
        add_node(there.cluster, "node-1")
        spec = {"containers": [{"name": "main", "image": "x"}]}
        value = {"metadata": {"name": "sleeper"}, "spec": spec}
        there.cluster.create(there.cluster.kind("Pod"), "default", value, Options(manager="test"))
        at = there.kubeconfig(tmp_path)
        code, words = await kubectl(at, "exec", "sleeper", "--", "date")
        assert "does not have a host assigned" in words
        Control(there.cluster).settle()

        async def answer(_: Any) -> Played:
            return Played(b"never\n", b"", 7)

        there.server.execute = answer
        code, words = await kubectl(at, "exec", "sleeper", "--", "date")
        assert (code, words.splitlines()[0]) == (7, "never")
        assert json.loads((await kubectl(at, "get", "--raw", "/apis"))[1])["kind"] == "APIGroupList"
