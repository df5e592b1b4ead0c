"""A cluster whose routers are pods: they serve while one is replaced, and while the platform is away."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from modelyard.installing import rendering, values
from tests.scenarios.engines import DRAIN_WAIT_SECONDS, InCluster, until
from tests.scenarios.things import ROW, publish_iris
from tests.support.apiserver.reached import GIVEN
from tests.support.platform import Running
from tests.support.ports import free_port

SYSTEM = "modelyard-system"
PATH = "/services/default/iris/v2/models/iris/infer"
COUNT = 2


class WithRouters(InCluster):
    """The platform, and routers as the installation renders them."""

    def installed(self, home: Path) -> Running:
        self.api_port = free_port()
        kubernetes = {
            "kubeconfig": str(self.kubeconfig), "drain_wait_seconds": DRAIN_WAIT_SECONDS,
            "routers": True, "gateway_class": "envoy", "lease": True,
            "api_port": self.api_port, "artifact_url": f"http://127.0.0.1:{self.api_port}",
        }  # fmt: skip
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in kubernetes.items())
        return Running(home / "home", settings=f'[backend]\nkind = "kubernetes"\n[kubernetes]\n{lines}')

    def start_routers(self) -> None:
        for manifest in rendering.manifests(values.of({"routers": {"count": COUNT}})):
            if manifest["metadata"]["name"] != "modelyard-router":
                continue
            if manifest["kind"] == "Deployment":
                self._at_home(manifest["spec"]["template"]["spec"]["containers"][0])
            path = self.home / "router.yaml"
            path.write_text(yaml.safe_dump(manifest))
            self.kubectl("apply", "-f", str(path))

    def _at_home(self, container: dict[str, Any]) -> None:
        """The image's program, and the platform's address, which is no name here."""
        container["command"] = ["modelyard"]
        here = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
        others = [each for each in container["env"] if each["name"] != "MODELYARD_ROUTER_HOST"]
        container["env"] = [*others, {"name": "MODELYARD_ROUTER_HOST", "valueFrom": here}]
        for entry in container["env"]:
            if entry["name"] == "MODELYARD_ROUTER_API":
                entry["value"] = f"127.0.0.1:{self.api_port}"

    def routers(self) -> dict[str, str]:
        """Ready routers by name, with their addresses."""
        text = self.kubectl(
            "get", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=router", "-o", "json"
        )
        found = {}
        for pod in json.loads(text)["items"]:
            conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", ())}
            if conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
                found[pod["metadata"]["name"]] = f"http://{pod['status']['podIP']}:8080"
        return found


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithRouters]:
    if os.environ.get(GIVEN):
        pytest.skip("cluster: these routers are processes of this checkout, at addresses of this machine")
    made = WithRouters(tmp_path_factory.mktemp("routers"))
    yield made
    made.stop()


async def test_routers_serve_through_their_own_replacement_and_without_the_platform(
    engine: WithRouters,
) -> None:
    engine.start_routers()
    with engine.client() as client:
        publish_iris(client, "iris")
        token = client.deploy("iris", name="iris", replicas=2).token
    until(lambda: len(engine.routers()) == COUNT, "routers are ready", seconds=120)
    body = {"inputs": [{"name": "input", "shape": [1, len(ROW)], "datatype": "FP64", "data": ROW}]}
    outcomes: dict[int | str, int] = {}
    over = asyncio.Event()

    async def ask() -> None:
        number = 0
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:
            while not over.is_set():
                number += 1
                url = sorted(ready.values())[number % len(ready)]
                try:
                    shown = {"authorization": f"Bearer {token}"}
                    code: int | str = (await http.post(url + PATH, json=body, headers=shown)).status_code
                except httpx2.HTTPError as error:
                    code = repr(error)
                outcomes[code] = outcomes.get(code, 0) + 1
                await asyncio.sleep(0.02)

    ready = engine.routers()
    asking = asyncio.create_task(ask())
    gone = next(iter(ready))
    await asyncio.to_thread(engine.kubectl, "delete", "pod", "-n", SYSTEM, gone, "--wait=false")
    ready.pop(gone)
    until_ready = asyncio.to_thread(
        until, lambda: len(engine.routers()) == COUNT, "another router is ready", seconds=60
    )
    await until_ready
    ready.update(engine.routers())
    engine.platform.kill()
    await asyncio.sleep(1)
    over.set()
    await asking
    assert set(outcomes) == {200}
