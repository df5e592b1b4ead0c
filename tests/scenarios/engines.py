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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from modelyard import Client
from modelyard.domain.deployment import Replica
from tests.support import changes
from tests.support.cluster.nodes import OFF
from tests.support.load import Load
from tests.support.platform import Running
from tests.support.ports import free_port

KUBECTL = Path(sys.executable).parent / "kubectl"
ROOT = Path(__file__).parents[2]
DRAIN_WAIT_SECONDS = 5
"""Of pods that go: these clusters know sooner than those that the default is for."""
_START_SECONDS = 60.0
_CHOSEN = "MODELYARD_KUBERNETES__"


@dataclass(frozen=True, slots=True)
class Way:
    """How a service is called."""

    door: tuple[str, int]
    prefix: str = ""
    host: str = ""


class Engine(ABC):
    """A platform that runs, and what happens to it from outside."""

    name: str
    platform: Running
    nodes: int
    """Each of 32 cores, as it is told, and without a GPU."""
    is_own: bool = True
    """Whether nobody else uses the place."""
    straight = False
    """Whether requests for public services go past everything of the platform's."""

    @abstractmethod
    def lose(self, service: str, replica: Replica) -> None:
        """Take one replica away as its place would: a process that is killed, a pod that is evicted."""

    @abstractmethod
    def crash(self, service: str, replica: Replica) -> None:
        """The replica's server dies at once."""

    @abstractmethod
    def left(self, service: str) -> list[str]:
        """What there still is of a service outside the platform's database."""

    @abstractmethod
    def one_card(self) -> contextlib.AbstractContextManager[None]:
        """Meanwhile there is one GPU."""

    def stop(self) -> None:
        """End everything."""
        self.platform.stop()

    def client(self) -> Client:
        """A client as the administrator."""
        return self.platform.client()

    def cannot(self, why: str) -> NoReturn:
        """The scenario is none of this place."""
        pytest.skip(f"{self.name}: {why}")

    def require_own(self, why: str) -> None:
        """Go on only where the place is ours to break."""
        if not self.is_own:
            self.cannot(f"it is a cluster of others: {why}")

    def cli(self, *arguments: str, code: int = 0) -> str:
        """Call the command line; it must end with `code`."""
        return self._called(arguments, code).stdout

    def refused(self, *arguments: str) -> str:
        """Call the command line with what it does not take; what it says of that."""
        return self._called(arguments, 2).stderr

    def _called(self, arguments: Sequence[str], code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "modelyard", "--server", self.platform.url, *arguments],
            env=self.platform.environ, capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def way(self, service: str) -> Way:
        """How clients reach a service: by its path at the front door."""
        return Way(("127.0.0.1", self.platform.port), prefix=f"/services/default/{service}")

    def target(self, token: str, *, rate: float) -> changes.Target:
        """The service that changes, for both loads."""
        return changes.at_the_service(self.platform, token, rate=rate)

    def target_at_host(self, client: Client, token: str, *, rate: float) -> changes.Target:
        """The host that the rivals want."""
        return changes.at_the_host(client, token, rate=rate)

    def load(self, service: str, token: str, row: list[float], **how: Any) -> Load:
        """Requests to a service by its path over connections that are kept; `how` are rate, name, shape."""
        shape = how.get("shape", [1, len(row)])
        tensor = {"name": how.get("name", "input"), "datatype": "FP64", "shape": shape, "data": row}
        way = self.way(service)
        path = f"{way.prefix}/v2/models/{service}/infer"
        headers = {"authorization": f"Bearer {token}"}
        body = json.dumps({"inputs": [tensor]}).encode()
        address, port = way.door
        more = {"rate": how.get("rate", 50), "host": way.host, "address": address}
        return Load(port, path, body, headers, connections=4, **more)

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
        self.settings = home / "home/modelyard.toml"
        self.platform = Running(home / "home", settings=settings).start()

    @contextlib.contextmanager
    def one_card(self) -> Iterator[None]:
        before = self.settings.read_text()
        try:
            self._begun_with(before.replace("gpus = 0", "gpus = 1"))
            yield
        finally:
            self._begun_with(before)

    def _begun_with(self, settings: str) -> None:
        self.platform.stop()
        self.settings.write_text(settings)
        self.platform.start()

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
    stands = "tests.support.cluster.standing"
    """The module that is the cluster when it is run."""

    def __init__(self, home: Path, kubeconfig: Path | None = None) -> None:
        """With `kubeconfig`, a cluster that there is; else one of processes."""
        self.home = home / "cluster"
        self.home.mkdir(parents=True)
        self.is_own = kubeconfig is None
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
            f"drain_wait_seconds = {DRAIN_WAIT_SECONDS}\n"
        )
        if self.is_own:
            settings += 'platform_cidrs = "127.0.0.1/32"\n'
        # How pods of a real cluster reach this platform, and its images, is for its tester to say.
        chosen = {name: value for name, value in os.environ.items() if name.startswith(_CHOSEN)}
        return Running(home / "home", settings=settings, variables=chosen)

    def _stand(self, output: Path) -> subprocess.Popen[bytes]:
        with output.open("ab") as out:
            command = [sys.executable, "-m", self.stands, str(self.home)]
            return subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)

    def stop(self) -> None:
        self.platform.stop()
        if self.process is None:
            # The next run has other records, and so is another installation.
            where = ("--namespace", "modelyard-system", "--ignore-not-found")
            self.kubectl("delete", "configmap", "modelyard-installation", *where, code=None)
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

    def claim(self, name: str) -> Path:
        """Make a claim in the project's namespace; the directory that pods find behind it."""
        if self.process is None:
            self.cannot("volumes of a cluster of others are not filled from here")
        spec = {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}
        made = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        path = self.home / f"{name}.json"
        path.write_text(json.dumps(made))
        self.kubectl("apply", "--server-side", "-n", "modelyard-default", "-f", str(path))
        return self.home / "pods" / "claims" / "modelyard-default" / name

    def pod_of(self, service: str, replica: Replica) -> str:
        """The pod behind a replica."""
        for pod in self.objects("pods"):
            if replica.address.partition(":")[0] == pod.get("status", {}).get("podIP"):
                return str(pod["metadata"]["name"])
        raise AssertionError(f"{service}: no pod at {replica.address}")

    @contextlib.contextmanager
    def one_card(self) -> Iterator[None]:
        if self.process is None:
            self.cannot("nobody puts a card into a cluster of others")
        labels = {"kubernetes.io/hostname": "gpu-1", "nvidia.com/gpu.product": "Tesla-T4"}
        amounts = {"cpu": "4", "memory": "16Gi", "pods": "110", "nvidia.com/gpu": "1"}
        ready = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        path = self.home / "gpu-1.json"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": "gpu-1", "labels": labels},
                    "status": {
                        "allocatable": amounts,
                        "capacity": amounts,
                        "conditions": ready,
                        **self._kubelet(),
                    },
                }
            )
        )
        self.kubectl("create", "-f", str(path))
        self.kubectl("replace", "--subresource=status", "-f", str(path))
        try:
            yield
        finally:
            self.kubectl("delete", "node", "gpu-1")

    def _kubelet(self) -> dict[str, Any]:
        """Where an API server that asks kubelets finds the one that has all nodes."""
        status = json.loads(self.kubectl("get", "node", "node-1", "-o", "json"))["status"]
        if not status.get("daemonEndpoints"):
            return {}
        return {name: status[name] for name in ("addresses", "daemonEndpoints")}

    def lose(self, service: str, replica: Replica) -> None:
        self.kubectl(
            "delete", "pod", "-n", "modelyard-default", self.pod_of(service, replica), "--wait=false"
        )

    def crash(self, service: str, replica: Replica) -> None:
        # From inside, a container's first process cannot be killed.
        if self.process is None:
            self.cannot("nothing here kills a process on a node of others")
        address = replica.address.partition(":")[0]
        found = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        (server, *_) = {each.pid for each in found if each.laddr[0] == address}
        psutil.Process(server).kill()

    def left(self, service: str) -> list[str]:
        kinds = ("deployments", "pods", "services", "configmaps", "secrets", "jobs", "httproutes")
        found = [(kind, each["metadata"]["name"]) for kind in kinds for each in self.objects(kind, service)]
        return [f"{kind}/{name}" for kind, name in found]

    @contextlib.contextmanager
    def without(self, node: str) -> Iterator[None]:
        """A node has no power meanwhile: all that runs on it is gone, and it says nothing."""
        self.kubectl("annotate", "node", node, f"{OFF}=yes")
        try:
            yield
        finally:
            self.kubectl("annotate", "node", node, f"{OFF}-")

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The API server hangs meanwhile; what runs goes on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


class InRealCluster(InCluster):
    """A cluster whose API server, controllers and scheduler are Kubernetes' own, of `KUBEBUILDER_ASSETS`."""

    stands = "tests.support.apiserver.joined"

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The API server hangs meanwhile; the kubelets and what they run go on."""
        assert self.process is not None
        (server,) = (
            each for each in psutil.Process(self.process.pid).children() if each.name() == "kube-apiserver"
        )
        server.suspend()
        try:
            yield
        finally:
            server.resume()


def until(holds: Callable[[], Any], what: str, *, seconds: float = 60) -> None:
    """Wait for something; AssertionError when it never is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)
