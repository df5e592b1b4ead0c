"""The two places where the platform runs replicas, as scenarios see them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from modelyard import Client
from modelyard.domain.deployment import Replica
from tests.support.load import Load
from tests.support.platform import Running, free_port

KUBECTL = Path(sys.executable).parent / "kubectl"
ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0
_CHOSEN = "MODELYARD_KUBERNETES__"


class Engine(ABC):
    """A platform that runs, and what happens to it from outside."""

    name: str
    platform: Running
    nodes: int
    """Each of 32 cores, as it is told, and without a GPU."""

    @abstractmethod
    def lose(self, service: str, replica: Replica) -> None:
        """Take one replica away as its place would: a process that is killed, a pod that is evicted."""

    @abstractmethod
    def crash(self, service: str, replica: Replica) -> None:
        """The replica's server dies at once."""

    @abstractmethod
    def left(self, service: str) -> list[str]:
        """What there still is of a service outside the platform's database."""

    def stop(self) -> None:
        """End everything."""
        self.platform.stop()

    def client(self) -> Client:
        """A client as the administrator."""
        return self.platform.client()

    def cannot(self, why: str) -> NoReturn:
        """The scenario is none of this place."""
        pytest.skip(f"{self.name}: {why}")

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Call the command line; it must end with `code`."""
        done = subprocess.run(
            [sys.executable, "-m", "modelyard", "--server", self.platform.url, *arguments],
            env=self.platform.environ, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def load(self, service: str, token: str, row: list[float], **how: Any) -> Load:
        """Requests to a service by its path over connections that are kept; `how` are rate, name, shape."""
        shape = how.get("shape", [1, len(row)])
        tensor = {"name": how.get("name", "input"), "datatype": "FP64", "shape": shape, "data": row}
        path = f"/services/default/{service}/v2/models/{service}/infer"
        headers = {"authorization": f"Bearer {token}"}
        body = json.dumps({"inputs": [tensor]}).encode()
        return Load(self.platform.port, path, body, headers, rate=how.get("rate", 50), connections=4)

    def replicas(self, service: str) -> tuple[Replica, ...]:
        """What runs of a service, as the platform tells."""
        with self.client() as client:
            return tuple(client.deployments.get(service).status.replicas)


class Local(Engine):
    """One machine: replicas are processes of it."""

    name = "local"
    nodes = 1

    def __init__(self, home: Path) -> None:
        settings = f'[server]\nhttps_port = {free_port()}\n[node]\ncpu = "32"\ngpus = 0\n'
        self.platform = Running(home / "home", settings=settings).start()

    def lose(self, service: str, replica: Replica) -> None:
        psutil.Process(replica.pid).send_signal(signal.SIGKILL)

    def crash(self, service: str, replica: Replica) -> None:
        psutil.Process(replica.pid).send_signal(signal.SIGKILL)

    def left(self, service: str) -> list[str]:
        words = [" ".join(process.cmdline()) for process in self.platform.processes()]
        return [line for line in words if f"default/{service}" in line]


class InCluster(Engine):
    """A cluster: replicas are pods, which here are processes too, at addresses of their own."""

    name = "cluster"
    nodes = 2

    def __init__(self, home: Path, kubeconfig: Path | None = None) -> None:
        """With `kubeconfig`, a cluster that there is; else one of processes."""
        self.home = home / "cluster"
        self.home.mkdir(parents=True)
        self.process = None if kubeconfig else self._stand(home / "cluster.out")
        self.kubeconfig = kubeconfig or self.home / "kubeconfig.yaml"
        until(self.kubeconfig.exists, "the cluster answers", seconds=_START_SECONDS)
        self.platform = self.installed(home)
        try:
            self.platform.start()
        except BaseException:
            self.stop()
            raise

    def installed(self, home: Path) -> Running:
        """The platform that is to run, which is not started yet."""
        settings = (
            f"[server]\nhttps_port = {free_port()}\n"
            f'[backend]\nkind = "kubernetes"\n[kubernetes]\nkubeconfig = "{self.kubeconfig}"\n'
        )
        # How pods of a real cluster reach this platform, and its images, is for its tester to say.
        chosen = {name: value for name, value in os.environ.items() if name.startswith(_CHOSEN)}
        return Running(home / "home", settings=settings, variables=chosen)

    def _stand(self, output: Path) -> subprocess.Popen[bytes]:
        with output.open("ab") as out:
            command = [sys.executable, "-m", "tests.support.cluster.standing", str(self.home)]
            return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)

    def stop(self) -> None:
        self.platform.stop()
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def kubectl(self, *arguments: str, code: int | None = 0) -> str:
        """Ask the cluster itself."""
        cache = str(self.home / "cache")
        done = subprocess.run(
            [str(KUBECTL), "--kubeconfig", str(self.kubeconfig), "--cache-dir", cache, *arguments],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert code in (None, done.returncode), f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def objects(self, kind: str, service: str = "") -> list[dict[str, Any]]:
        """Objects of the platform's own namespace of the project, those of one service or all."""
        found = json.loads(self.kubectl("get", kind, "-n", "modelyard-default", "-o", "json"))["items"]
        return [each for each in found if service in each["metadata"]["name"]]

    def pod_of(self, service: str, replica: Replica) -> str:
        """The pod behind a replica."""
        for pod in self.objects("pods"):
            if replica.address.partition(":")[0] == pod.get("status", {}).get("podIP"):
                return str(pod["metadata"]["name"])
        raise AssertionError(f"{service}: no pod at {replica.address}")

    def lose(self, service: str, replica: Replica) -> None:
        self.kubectl(
            "delete", "pod", "-n", "modelyard-default", self.pod_of(service, replica), "--wait=false"
        )

    def crash(self, service: str, replica: Replica) -> None:
        pod = self.pod_of(service, replica)
        self.kubectl("exec", "-n", "modelyard-default", pod, "--", "kill", "-9", "1", code=None)

    def left(self, service: str) -> list[str]:
        kinds = ("deployments", "pods", "services", "configmaps", "secrets", "jobs", "httproutes")
        found = [(kind, each["metadata"]["name"]) for kind in kinds for each in self.objects(kind, service)]
        return [f"{kind}/{name}" for kind, name in found]

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The API server hangs meanwhile; what runs goes on."""
        if self.process is None:
            self.cannot("the API server of a cluster of others is not stopped")
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


def until(holds: Callable[[], Any], what: str, *, seconds: float = 60) -> None:
    """Wait for something; AssertionError when it never is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)
