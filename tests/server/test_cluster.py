"""`up` with a cluster: it says which one, keeps its keys there, leads or waits, and says what is wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from modelyard.backends.base import Outage
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.render.revision import namespace_of
from modelyard.composing import choosing, keys, leading
from modelyard.composing import cluster as composing
from modelyard.composing.reached import Reached
from modelyard.composing.tenancy import Tenancy
from modelyard.control import installation
from modelyard.domain.errors import BackendError, Forbidden, Invalid, NotFound, Unavailable
from modelyard.installing import foundation
from tests.support.cluster.running import Running, running
from tests.support.patience import PATIENCE
from tests.support.ports import free_port

SYSTEM = "modelyard-system"


@dataclass(frozen=True, slots=True)
class Started:
    """A control plane that runs."""

    url: str
    home: Path
    process: asyncio.subprocess.Process

    async def get(self, path: str) -> Any:
        """What the API answers to the administrator."""
        token = (self.home / "admin-token").read_text().strip()
        async with httpx2.AsyncClient(timeout=10) as client:
            answer = await client.get(f"{self.url}{path}", headers={"authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return answer.json()


async def begun(home: Path, environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "KUBE"))}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "modelyard", "up",
        env={**clean, "MODELYARD_HOME": str(home), "MODELYARD_BACKEND__KIND": "kubernetes", **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def up(home: Path, server: Running, **settings: str) -> AsyncIterator[Started]:
    home.mkdir(exist_ok=True)
    port = free_port()
    environ = {"MODELYARD_SERVER__PORT": str(port), "KUBECONFIG": str(server.kubeconfig(home)), **settings}
    process = await begun(home, environ)
    started = Started(f"http://127.0.0.1:{port}", home, process)
    try:
        assert process.stderr is not None
        line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        assert b"answers at" in line, (line + await process.stderr.read()).decode()
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE)
        _end_what_outlives(home)


def _end_what_outlives(home: Path) -> None:
    """The gateway of a control plane that was killed goes on, as it should; here nobody comes after it."""
    for each in psutil.process_iter(["cmdline"]):
        if any(word.startswith(f"{home}/") for word in each.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as found:
        yield found


async def refused(home: Path, environ: Mapping[str, str]) -> tuple[int, str]:
    home.mkdir(exist_ok=True)
    process = await begun(home, environ)
    _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    assert b"Traceback" not in said, said.decode()
    return process.returncode, said.decode()


async def test_a_platform_says_which_cluster_it_works_with(server: Running, tmp_path: Path) -> None:
    async with up(tmp_path / "home", server) as started:
        said = await started.get("/api/v1/system")
    assert said["backend"] == "kubernetes"
    which = {"server": server.url, "context": "test", "version": "1.37", "reachable": "yes"}
    assert which.items() <= said["cluster"].items()
    assert said["cluster"]["KEDA"] == "no"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "not enforced: the platform runs outside of the cluster"),
        ({"MODELYARD_KUBERNETES__PLATFORM_CIDRS": "127.0.0.1/32, fd00::/64"}, "by NetworkPolicy, if the"),
    ],
)
async def test_a_platform_outside_of_the_cluster_isolates_only_when_it_says_where_it_is(
    server: Running, tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    async with up(tmp_path / "home", server, **settings) as started:
        assert words in (await started.get("/api/v1/projects/default/network"))["enforcement"]


@pytest.mark.parametrize(("pod", "is_shown"), [("", True), ("modelyard-1", False)])
async def test_no_pods_log_lets_anybody_in(server: Running, tmp_path: Path, pod: str, is_shown: bool) -> None:
    async with up(tmp_path / "home", server, POD_NAME=pod) as started:
        assert started.process.stderr is not None
        said = await asyncio.wait_for(started.process.stderr.readline(), PATIENCE)
    assert (b"console (this link logs you in once): http" in said) is is_shown, said
    assert (b"kubectl exec modelyard-1 -- modelyard login --link" in said) is not is_shown, said


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = await refused(tmp_path / "home", {"MODELYARD_KUBERNETES__KUBECONFIG": "/nowhere/config"})
    assert (code, "/nowhere/config" in said) == (2, True)


async def test_a_context_that_is_not_there_is_named(server: Running, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environ = {
        "MODELYARD_KUBERNETES__KUBECONFIG": str(server.kubeconfig(tmp_path)),
        "MODELYARD_KUBERNETES__CONTEXT": "other",
    }
    code, said = await refused(tmp_path / "home", environ)
    assert (code, "other" in said) == (2, True)


async def test_a_kind_of_backend_that_nobody_knows_is_named(tmp_path: Path) -> None:
    code, said = await refused(tmp_path / "home", {"MODELYARD_BACKEND__KIND": "swarm"})
    assert (code, "backend.kind" in said) == (2, True)


async def test_status_says_which_cluster(server: Running, tmp_path: Path) -> None:
    async with up(tmp_path / "home", server) as started:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelyard", "status",
            env={**os.environ, "MODELYARD_HOME": str(started.home)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert f"Kubernetes 1.37 at {server.url}" in said.decode()


async def test_a_cluster_that_goes_away_is_said_with_since_when(server: Running, tmp_path: Path) -> None:
    now = [1_000_000.0]
    cluster = client(server, tmp_path)
    reached = Reached(cluster, clock=lambda: now[0], capabilities=Capabilities(version=(1, 37)))
    await reached.look()
    assert reached.describe()["reachable"] == "yes"
    now[0] += 60
    told: list[Outage | None] = []
    gone = Reached(
        nowhere(), clock=lambda: now[0] - 60, capabilities=Capabilities(version=(1, 36)), unheard=told.append
    )
    await gone.look()
    assert told == [], "once may be chance"
    await gone.look()
    (outage,) = told
    assert outage is not None
    assert outage.since == 1_000_000.0
    assert outage.message.startswith("the cluster's API server does not answer: ")
    gone._cluster = cluster
    await gone.look()
    assert told[1:] == [None]
    gone._cluster = nowhere()
    await gone.look()
    said = gone.describe()
    assert (said["reachable"], said["version"]) == ("no", "1.37")
    assert said["stale_since"] == "1970-01-12T13:46:40+00:00"
    assert said["why"]
    await cluster.close()


async def test_a_cluster_that_never_answers_ends_the_start_with_the_remedy() -> None:
    cluster = nowhere()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 s; see .*kubernetes\.kubeconfig"):
        await composing.capabilities_of(cluster, seconds=0.5)
    await cluster.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("kubernetes.cache_size", "lots"),
        ("kubernetes.cache_access", "Sometimes"),
        ("kubernetes.platform_cidrs", "10.0.0.5/8"),
        ("kubernetes.drain_wait_seconds", "-1"),
        ("kubernetes.drain_wait_seconds", "301"),
        ("kubernetes.drain_wait_seconds", "long"),
        ("runtimes.wheels", "/dev/null/x"),
    ],
)
async def test_settings_that_cannot_be_are_said_by_their_names(
    setting: str, value: str, tmp_path: Path, server: Running
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    name = f"MODELYARD_{setting.upper().replace('.', '__')}"
    code, said = await refused(home, {"KUBECONFIG": str(server.kubeconfig(home)), name: value})
    assert code != 0
    assert setting in said


async def test_a_platform_with_a_cache_and_wheels_starts(tmp_path: Path, server: Running) -> None:
    wheels = tmp_path / "later" / "wheels"
    settings = {"MODELYARD_KUBERNETES__CACHE_SIZE": "1Gi", "MODELYARD_RUNTIMES__WHEELS": str(wheels)}
    async with up(tmp_path / "home", server, **settings) as started:
        assert (await started.get("/api/v1/system"))["backend"] == "kubernetes"
    assert wheels.is_dir(), "there to be filled"


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (BackendError("401"), Forbidden, "lets nobody in with these credentials"),
        (Forbidden("no"), Forbidden, "lets nobody in with these credentials"),
        ((1, 30), Invalid, r"is Kubernetes 1\.30; Modelyard needs 1\.31"),
    ],
)
async def test_a_cluster_that_cannot_be_used_is_said_why(
    answer: Any, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def version() -> tuple[int, int]:
        if isinstance(answer, Exception):
            raise answer
        return tuple(answer)

    cluster = nowhere()
    monkeypatch.setattr(cluster, "version", version)
    with pytest.raises(kind, match=message):
        await composing.capabilities_of(cluster)
    await cluster.close()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'wsproto'", name="wsproto")

    monkeypatch.setattr(choosing.importlib, "import_module", absent)
    with pytest.raises(
        Invalid, match=r"`wsproto`, which is not installed; pip install 'modelyard\[kubernetes\]'"
    ):
        choosing._cluster()


async def test_a_second_installation_is_refused_before_it_writes_anything(
    server: Running, tmp_path: Path
) -> None:
    async with up(tmp_path / "home", server):
        pass
    async with up(tmp_path / "home", server):
        pass  # the same one
    before = everything(server)
    (tmp_path / "second").mkdir()
    environ = {"KUBECONFIG": str(server.kubeconfig(tmp_path / "second"))}
    code, said = await refused(tmp_path / "second", environ)
    assert code != 0
    assert "the namespace modelyard-system of the cluster at" in said
    assert "kubectl --context test delete configmap modelyard-installation" in said
    assert everything(server) == before


def everything(server: Running) -> list[dict[str, Any]]:
    """What the cluster has."""
    store = server.cluster.store
    return [each for kind in server.cluster.resources for each in store.list(kind)]


async def test_every_control_plane_has_the_same_keys(server: Running, tmp_path: Path) -> None:
    cluster = client(server, tmp_path)
    homes = [tmp_path / name for name in ("one", "two", "three")]
    for home in homes:
        home.mkdir()
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    await asyncio.gather(*(keys.bring(cluster, SYSTEM, home) for home in homes[:2]))
    assert installation.master_key(homes[0]) == installation.master_key(homes[1])
    (homes[0] / installation.TOKEN_FILE).write_text("myt_known\n")
    await keys.keep(cluster, SYSTEM, homes[0])
    installation.master_key(homes[2])  # one of its own, from before
    await keys.bring(cluster, SYSTEM, homes[2])
    assert installation.keys(homes[2]) == installation.keys(homes[0])
    secret = await cluster.get(kinds.SECRET, keys.NAME, namespace=SYSTEM)
    assert base64.b64decode(secret["data"]["admin-token"]) == b"myt_known"
    await cluster.close()


async def test_a_projects_namespace_comes_with_the_platforms_rights_in_it(
    server: Running, tmp_path: Path
) -> None:
    access = config.load({}, kubeconfig=str(server.kubeconfig(tmp_path)))
    cluster = Tenancy(access, clock=time.time)
    labels = {"app.kubernetes.io/managed-by": "modelyard", "modelyard.dev/project": "vision"}
    await cluster.apply(namespace_of("vision", "modelyard-vision"))  # by somebody who needs no account
    assert (await cluster.list(kinds.ROLE_BINDING)).items == ()
    cluster.account = SYSTEM, "modelyard"
    await cluster.apply(namespace_of("text", "modelyard-text"))
    await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foreign"}})
    await cluster.enter_all()
    found = (await cluster.list(kinds.ROLE_BINDING)).items
    assert {each["metadata"]["namespace"] for each in found} == {"modelyard-vision", "modelyard-text"}
    for each in found:
        assert each["roleRef"]["name"] == foundation.TENANT_ROLE
        assert each["subjects"] == [{"kind": "ServiceAccount", "name": "modelyard", "namespace": SYSTEM}]
    assert labels.items() <= namespace_of("vision", "x")["metadata"]["labels"].items()
    await cluster.close()


@pytest.mark.slow
async def test_of_two_control_planes_one_leads_and_the_other_takes_over(
    server: Running, tmp_path: Path
) -> None:
    cluster = client(server, tmp_path)
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    lease = {
        "MODELYARD_KUBERNETES__LEASE": "true",
        "MODELYARD_STORE__URL": f"sqlite:///{tmp_path / 'shared.db'}",
    }
    async with (
        up(tmp_path / "one", server, **lease, POD_NAME="one") as first,
        up(tmp_path / "two", server, **lease, POD_NAME="two") as second,
    ):
        there = {"one": first, "two": second}
        async with asyncio.timeout(PATIENCE):
            while (leader := await holder(cluster)) not in there:
                await asyncio.sleep(0.1)
        there.pop(leader).process.kill()
        async with asyncio.timeout(PATIENCE):
            while await holder(cluster) not in there:
                await asyncio.sleep(0.2)
    assert await holder(cluster) == ""  # given back at the end
    await cluster.close()


async def holder(cluster: Cluster) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(NotFound):
                found = await cluster.get(kinds.LEASE, "modelyard", namespace=SYSTEM)
                return str(found["spec"].get("holderIdentity") or "")
            await asyncio.sleep(0.05)


class Led:
    """A lead that a test gives and takes."""

    leads = False
    elsewhere = ""

    def fence(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    async def run(self) -> None:
        await asyncio.Event().wait()


class Works:
    """A controller that only says what happens to it."""

    def __init__(self, said: list[str]) -> None:
        self._said, self._over = said, asyncio.Event()

    async def run(self) -> None:
        self._said.append("began")
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self._said.append("cancelled")
            raise
        self._said.append("ended")

    async def stop(self) -> None:
        self._over.set()


async def test_nothing_is_reconciled_but_while_leading() -> None:
    said: list[str] = []
    led, stop = Led(), asyncio.Event()
    made: Any = lambda: Works(said)  # noqa: E731 - of another type than a Controller

    async def deposed() -> None:
        said.append("forgot")

    away = iter([True])

    async def crowned() -> None:
        if next(away, False):
            raise Unavailable("the database is away")
        said.append("looked")

    running = asyncio.create_task(leading.run(led, made, stop, crowned=crowned, deposed=deposed))
    await asyncio.sleep(0.4)
    assert said == []
    led.leads = True
    first = ["looked", "began"]  # at the second try
    await until(said, first)
    led.leads = False
    await until(said, [*first, "cancelled", "forgot"])
    led.leads = True
    await until(said, [*first, "cancelled", "forgot", "looked", "began"])
    stop.set()
    await asyncio.wait_for(running, PATIENCE)
    assert said == [*first, "cancelled", "forgot", "looked", "began", "ended"]


async def until(said: list[str], wanted: list[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while said != wanted:
            await asyncio.sleep(0.05)


def client(server: Running, path: Path) -> Cluster:
    return Cluster(config.load({}, kubeconfig=str(server.kubeconfig(path))), clock=time.time)


def nowhere() -> Cluster:
    """A cluster whose API server is not there."""
    return Cluster(Access(server=f"http://127.0.0.1:{free_port()}", context="gone"), clock=time.time)
