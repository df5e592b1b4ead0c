"""The installed platform with real processes: its own pod and a router, as the manifests say."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import ModelyardError
from modelyard.installing import applying, rendering, values
from tests.kubernetes.worlds import World, world

SYSTEM = "modelyard-system"
KUBECONFIG = "/data/kubeconfig"
CHOICE = {
    "routers": {"count": 1, "cpu": "100m"},
    "control_plane": {"cpu": "100m", "env": [{"name": "KUBECONFIG", "value": KUBECONFIG}]},
}


def fit(manifest: Manifest, api: str) -> Manifest:
    """For pods that share one network without names: each listens at its own address, and the API has one."""
    text = json.dumps(manifest)
    text = text.replace("modelyard.modelyard-system.svc:8081", f"{api}:8081").replace(
        '"0.0.0.0"', '"$(POD_IP)"'
    )
    found: Manifest = json.loads(text)
    if found["kind"] == "Deployment":
        own = {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}
        listens = {"name": "MODELYARD_KUBERNETES__API_HOST", "value": "$(POD_IP)"}
        (container,) = found["spec"]["template"]["spec"]["containers"]
        container["env"] = [own, listens, *container["env"]]
        for volume in found["spec"]["template"]["spec"]["volumes"]:
            if volume.get("secret", {}).get("optional"):
                volume.pop("secret")
                volume["emptyDir"] = {}
    return found


async def address(cluster: Cluster, component: str) -> str:
    """Of the one pod of a component, once it has one."""
    labels = f"app.kubernetes.io/component={component}"
    while True:
        pods = (await cluster.list(kinds.POD, namespace=SYSTEM, labels=labels)).items
        found = [str((pod.get("status") or {}).get("podIP") or "") for pod in pods]
        if found and found[0]:
            return found[0]
        await asyncio.sleep(0.05)


async def ask(host: str, path: str, token: str = "") -> Any:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
        answer = await client.get(f"http://{host}:8080{path}", headers=headers)
    answer.raise_for_status()
    return answer.json()


def trouble(here: World) -> str:
    """What the pods wrote, for whoever reads the failure."""
    written: Any = here.control.kubelet
    logs = {
        f"{pod['metadata']['name']}/{part['name']}": [
            line.text for log in written.written(pod, part["name"]) for line in log.lines
        ][-20:]
        for pod in here.objects("Pod", SYSTEM)
        for part in pod["spec"]["containers"]
    }
    states = {pod["metadata"]["name"]: pod.get("status") for pod in here.objects("Pod", SYSTEM)}
    return json.dumps([logs, states], indent=1)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_what_is_installed_answers_through_its_router(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        data = tmp_path / "pods/claims" / SYSTEM / "modelyard"
        data.mkdir(parents=True)
        (data / "kubeconfig").write_text(here.kubeconfig.read_text())
        cluster = Cluster(config.load({}, kubeconfig=str(here.kubeconfig)), clock=time.time)
        manifests = rendering.manifests(values.of(CHOICE))
        try:
            for manifest in manifests:
                if "router" not in manifest["metadata"]["name"]:
                    await cluster.apply(fit(manifest, "unknown"), manager=applying.MANAGER)
            api = await asyncio.wait_for(address(cluster, "control-plane"), 20)
            # The platform's own pod stays as it is, so that its address does.
            wanted = [
                fit(manifest, "unknown" if kinds.place(manifest)[1] == "modelyard" else api)
                for manifest in manifests
            ]
            try:
                await applying.install(cluster, wanted, say=lambda _: None, timeout_seconds=40)
            except ModelyardError as error:
                raise AssertionError(trouble(here)) from error
            door = await address(cluster, "router")
            secret = await cluster.get(kinds.SECRET, "modelyard-keys", namespace=SYSTEM)
            token = base64.b64decode(secret["data"]["admin-token"]).decode()
            said = await ask(door, "/api/v1/system", token)
            assert (said["backend"], said["cluster"]["version"]) == ("kubernetes", "1.37")
            lease = await cluster.get(kinds.LEASE, "modelyard", namespace=SYSTEM)
            (pod,) = (
                await cluster.list(
                    kinds.POD, namespace=SYSTEM, labels="app.kubernetes.io/component=control-plane"
                )
            ).items
            assert lease["spec"]["holderIdentity"] == pod["metadata"]["name"]
            copied = await cluster.get(kinds.SECRET, "modelyard-routes-0", namespace=SYSTEM)
            assert set(copied["data"]) == {"head.json", "routes.gz"}
        finally:
            await cluster.close()
