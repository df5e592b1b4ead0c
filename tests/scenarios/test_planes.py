"""Two control planes on one cluster: one leads, the other takes over; and what nodes lead to meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from modelyard import Client
from modelyard.domain.deployment import Phase
from modelyard.installing import rendering, values
from tests.scenarios.engines import until
from tests.scenarios.test_routers import PATH, SYSTEM, WithRouters
from tests.scenarios.things import ROW, publish_iris
from tests.support import postgres
from tests.support.platform import Running

BODY = {"inputs": [{"name": "input", "shape": [1, len(ROW)], "datatype": "FP64", "data": ROW}]}
_SHARED = ("artifacts", "environments", "tls")


class TwoPlanes(WithRouters):
    """Two control planes with their records in PostgreSQL, and routers in front of both."""

    def __init__(self, home: Path, url: str) -> None:
        self.url = url
        self.hosts = {"one": "127.0.0.1", "two": "127.0.0.2"}
        self.service = f"127.251.{os.getpid() % 250}.{os.getpid() // 250 % 250 + 1}"
        super().__init__(home)
        settings = (self.platform.home / "modelyard.toml").read_text()
        other = Running(home / "two", settings=settings, variables=self.variables("two"))
        for name in _SHARED:  # as volumes do in pods
            (self.platform.home / name).mkdir(exist_ok=True)
            (other.home / name).symlink_to(self.platform.home / name)
        self.planes = {"one": self.platform, "two": other.start()}

    def variables(self, name: str) -> dict[str, str]:
        """What tells one control plane from the other."""
        kubernetes = {"API_HOST": self.hosts[name], "SHOWN_PORT": "30080"}
        chosen = {f"MODELYARD_KUBERNETES__{key}": value for key, value in kubernetes.items()}
        return {"MODELYARD_STORE__URL": self.url, "POD_NAME": name, **chosen}

    def installed(self, home: Path) -> Running:
        made = super().installed(home)
        made.variables |= self.variables("one")
        file = made.home / "modelyard.toml"
        file.write_text(file.read_text().replace("http://127.0.0.1", f"http://{self.service}"))
        self.lead_to(*self.hosts)
        return made

    def lead_to(self, *planes: str) -> None:
        """Have the Service by which pods and routers call the platform lead to these, as to ready pods."""
        named = {"name": "planes", "namespace": SYSTEM}
        port = {"name": "api", "port": self.api_port, "protocol": "TCP"}
        ready = [{"addresses": [self.hosts[each]], "conditions": {"ready": True}} for each in planes]
        labelled = {**named, "labels": {"kubernetes.io/service-name": "planes"}}
        objects = [
            {"apiVersion": "v1", "kind": "Service", "metadata": named,
             "spec": {"clusterIP": self.service, "ports": [port]}},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": labelled,
             "addressType": "IPv4", "endpoints": ready, "ports": [port]},
        ]  # fmt: skip
        path = self.home / "planes.yaml"
        path.write_text(yaml.safe_dump_all(objects))
        self.kubectl("apply", "-f", str(path))

    def _at_home(self, container: dict[str, Any]) -> None:
        super()._at_home(container)
        for entry in container["env"]:
            if entry["name"] == "MODELYARD_ROUTER_API":
                entry["value"] = f"{self.service}:{self.api_port}"

    def stop(self) -> None:
        for each in getattr(self, "planes", {}).values():
            each.stop()
        super().stop()

    def start_routers(self) -> None:
        super().start_routers()
        for manifest in rendering.manifests(values.of({})):
            if manifest["metadata"]["name"] == "modelyard-door":
                path = self.home / "door.yaml"
                path.write_text(yaml.safe_dump(manifest))
                self.kubectl("apply", "-f", str(path))

    def leader(self) -> str:
        """Which of the two leads; empty for neither."""
        lease = json.loads(self.kubectl("get", "lease", "modelyard", "-n", SYSTEM, "-o", "json"))
        return str(lease["spec"].get("holderIdentity") or "")

    def of(self, plane: str) -> Client:
        """A client of one of the two by its own port."""
        token = (self.planes[plane].home / "admin-token").read_text().strip()
        return Client(f"http://{self.hosts[plane]}:{self.api_port}", token)

    def nodes(self) -> list[str]:  # type: ignore[override]
        """Addresses of the nodes."""
        found = json.loads(self.kubectl("get", "nodes", "-o", "json"))["items"]
        return [each["status"]["addresses"][0]["address"] for each in found]

    def services(self) -> dict[str, Any]:
        """The Services of the platform's namespace, by name."""
        found = json.loads(self.kubectl("get", "services", "-n", SYSTEM, "-o", "json"))["items"]
        return {each["metadata"]["name"]: each for each in found}

    def pods(self) -> list[dict[str, Any]]:
        """Pods of the service that are there to stay."""
        return [each for each in self.objects("pods", "iris") if "deletionTimestamp" not in each["metadata"]]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoPlanes]:
    with postgres.running() as database:
        made = TwoPlanes(tmp_path_factory.mktemp("planes"), database.url)
        try:
            made.start_routers()
            until(lambda: len(made.routers()) == 2, "routers are ready", seconds=120)
            until(lambda: made.leader() in made.planes, "one leads")
            yield made
        finally:
            made.stop()


def asked(url: str, token: str, **more: Any) -> httpx2.Response:
    with httpx2.Client(trust_env=False, timeout=20) as http:
        return http.post(url, json=BODY, headers={"authorization": f"Bearer {token}", **more})


@pytest.mark.timeout(900)
def test_whoever_is_asked_the_one_that_leads_answers_and_the_other_takes_over_in_the_middle_of_a_rollout(
    engine: TwoPlanes,
) -> None:
    leading = engine.leader()
    (following,) = engine.planes.keys() - {leading}
    with engine.of(following) as client:  # all of it goes to the one that leads
        publish_iris(client, "iris")
        publish_iris(client, "iris")
        token = client.deploy("iris@1", name="iris", replicas=2, own_port=True, wait=True).token
    outcomes, over = asyncio.run(_rollout_without_a_leader(engine, leading, following, token))
    assert over == 2
    assert set(outcomes) == {200}, outcomes
    deployments = engine.objects("deployments", "iris-r")
    assert [each["metadata"]["name"] for each in deployments] == ["iris-r2"]
    names = [each["metadata"]["annotations"]["modelyard.dev/replica"] for each in engine.pods()]
    assert len(names) == len(set(names)) == 2
    engine.planes[leading].start()  # back again, it follows
    engine.lead_to(leading, following)
    until(lambda: engine.leader() == following, "the other goes on leading")
    with engine.of(leading) as client:
        phases = [each.phase for each in client.deployments.get("iris").status.replicas]
        assert phases == [Phase.READY] * 2


async def _rollout_without_a_leader(
    engine: TwoPlanes, leading: str, following: str, token: str
) -> tuple[Counter[int | str], int]:
    """Kill the leader as soon as a new replica is there; what came of requests, and how many run then."""
    outcomes: Counter[int | str] = Counter()
    ended = asyncio.Event()
    urls = sorted(engine.routers().values())

    async def ask() -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            while not ended.is_set():
                url = urls[sum(outcomes.values()) % len(urls)]
                try:
                    shown = {"authorization": f"Bearer {token}"}
                    outcomes[(await http.post(url + PATH, json=BODY, headers=shown)).status_code] += 1
                except httpx2.HTTPError as error:
                    outcomes[repr(error)] += 1
                await asyncio.sleep(0.1)

    asking = asyncio.create_task(ask())
    with engine.of(following) as client:
        await asyncio.to_thread(client.deploy, "iris@2", name="iris", replicas=2, wait=False)
    fresh = ("get", "pods", "-n", "modelyard-default", "-l", "modelyard.dev/revision=r2", "-o", "json")
    begun = partial(_any, engine, *fresh)
    await asyncio.to_thread(until, begun, "the rollout has begun", seconds=480)
    engine.planes[leading].kill()
    engine.lead_to(following)

    def read() -> Any:
        with contextlib.suppress(httpx2.HTTPError), engine.of(following) as client:
            return client.deployments.get("iris").status

    assert await asyncio.to_thread(read) is not None  # reads are answered while nobody leads
    await asyncio.to_thread(until, lambda: engine.leader() == following, "the other leads", seconds=90)
    done = partial(_only, engine, "iris-r2")
    await asyncio.to_thread(until, done, "the rollout is over", seconds=480)
    ended.set()
    await asking
    return outcomes, len(engine.pods())


def _any(engine: TwoPlanes, *asked: str) -> bool:
    return bool(json.loads(engine.kubectl(*asked))["items"])


def _only(engine: TwoPlanes, name: str) -> bool:
    """Whether a revision is the only one, with as many pods as are wanted."""
    deployments = [each["metadata"]["name"] for each in engine.objects("deployments", "iris-r")]
    return len(engine.pods()) == 2 and deployments == [name]


@pytest.mark.timeout(900)
def test_a_service_answers_at_its_own_port_of_every_node_and_inside_the_cluster(engine: TwoPlanes) -> None:
    with engine.of(engine.leader()) as client:
        publish_iris(client, "nodes")
        made = client.deploy("nodes", name="nodes", own_port=True, wait=True)
        (port,) = client.deployments.get("nodes").addresses.ports
        shown = client.deployments.get("nodes").addresses
    assert 30_000 <= port <= 32_767
    nodes = engine.nodes()
    assert len(nodes) == 2
    assert shown.port_urls == (f"http://{nodes[0]}:{port}",)
    assert shown.host_url == "http://nodes.service.localhost:30080"
    service = next(each for name, each in engine.services().items() if name.startswith("ports-default-nodes"))
    path = "/v2/models/nodes/infer"
    for url in (
        *(f"http://{node}:{port}" for node in nodes),
        f"http://{service['spec']['clusterIP']}:{port}",
    ):
        until(partial(_answers, url + path, made.token), f"{url} answers", seconds=20)
        assert asked(url + path, "wrong").status_code == 401  # it came by the router
    door = engine.services()["modelyard-door"]["spec"]["clusterIP"]
    host = {"host": "nodes.service.localhost"}
    for url in (f"http://{door}:8080", *(f"http://{node}:30080" for node in nodes)):
        assert asked(url + path, made.token, **host).status_code == 200
    before = engine.services()
    with engine.of(engine.leader()) as client:
        client.deployments.delete("nodes")
    until(lambda: service["metadata"]["name"] not in engine.services(), "the port is closed")
    assert before.keys() - engine.services().keys() == {service["metadata"]["name"]}


def _answers(url: str, token: str) -> bool:
    try:
        return asked(url, token).status_code == 200
    except httpx2.HTTPError:
        return False
