"""The installed platform with real processes, and with no more rights than its roles give it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from starlette.requests import Request

import modelyard
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.render import networks
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.errors import ModelyardError
from modelyard.domain.network import Network
from modelyard.installing import applying, rendering, values
from tests.kubernetes.worlds import World, world
from tests.support.cluster import rights
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.verbs import Options
from tests.support.patience import PATIENCE

SYSTEM = "modelyard-system"
ACCOUNT = "the-platforms-account"
_RIGHTS = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
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
        container["env"] = [own, listens, *(each for each in container["env"] if each["name"] != "POD_IP")]
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


def guarded(here: World) -> list[str]:
    """From now on the platform may do what its roles allow, and nothing else; what it was refused."""
    server: Any = here.there.server
    answer, cluster, refused = server._answer, here.there.cluster, []

    async def checked(request: Request, fault: Any) -> Any:
        if request.headers.get("authorization") == f"Bearer {ACCOUNT}":
            wanted = rights.asked(request.method, request.url.path, request.query_params)
            roles = [each for kind in _RIGHTS for each in cluster.store.list(cluster.kind(kind))]
            if wanted is not None and not rights.allows(roles, wanted, "modelyard"):
                refused.append(str(wanted))
                raise Refusal(403, f"{wanted} is forbidden")
        return await answer(request, fault)

    server._answer = checked
    return refused


def isolated(here: World) -> None:
    """The first project is isolated from the beginning, and the network keeps it so."""
    cluster, settings = here.there.cluster, Settings()
    policy = networks.isolation("default", "modelyard-default", settings, Network(isolated=True))
    assert policy is not None
    # Without our labels, so that it stays: this platform comes in by a kubeconfig, and thinks itself outside.
    policy["metadata"] = {"name": "isolated"}
    for kind, namespace, value in (
        ("Namespace", "", {"metadata": {"name": "modelyard-default"}}),
        ("NetworkPolicy", "modelyard-default", policy),
    ):
        cluster.create(cluster.kind(kind), namespace, value, Options(manager="somebody"))


def story(url: str, token: str) -> None:
    """What a user does, from a fitted model to nothing again."""
    x, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(x, y)
    with modelyard.Client(url, token) as client:
        assert client.publish(model, "story", x_test=x).ref == "story@1"
        service = client.deploy("story@1", name="story", cpu="0.1")
        answer = httpx2.post(  # by path, as nobody here resolves the names of hosts
            f"{url}/services/default/story/v1/models/story:predict",
            json={"instances": x[:5].tolist()},
            headers={"authorization": f"Bearer {service.token}"},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text
        assert "predictions" in answer.json()
        client.deployments.delete("story")


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
    asked = [each for each in here.there.server.requests if "secrets" in each]
    return json.dumps([logs, states, asked], indent=1)


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_model_is_published_deployed_and_asked_on_what_was_installed(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True, enforces=True) as here:
        isolated(here)
        data = tmp_path / "pods/claims" / SYSTEM / "modelyard"
        data.mkdir(parents=True)
        document = yaml.safe_load(here.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": ACCOUNT}
        (data / "kubeconfig").write_text(yaml.safe_dump(document))
        refused = guarded(here)
        cluster = Cluster(config.load({}, kubeconfig=str(here.kubeconfig)), clock=time.time)
        manifests = rendering.manifests(values.of(CHOICE))
        try:
            for manifest in manifests:
                if "router" not in manifest["metadata"]["name"]:
                    await cluster.apply(fit(manifest, "$(POD_IP)"), manager=applying.MANAGER)
            api = await asyncio.wait_for(address(cluster, "control-plane"), PATIENCE)
            # The platform's own pod stays as it is, so that its address does.
            wanted = [
                fit(manifest, "$(POD_IP)" if kinds.place(manifest)[1] == "modelyard" else api)
                for manifest in manifests
            ]
            try:
                await applying.install(cluster, wanted, say=lambda _: None, timeout_seconds=40)
            except ModelyardError as error:
                raise AssertionError(f"refused: {refused}; {trouble(here)}") from error
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
            try:
                await asyncio.to_thread(story, f"http://{door}:8080", token)
            except (ModelyardError, AssertionError, httpx2.HTTPError) as error:
                raise AssertionError(f"refused: {refused}; {trouble(here)}") from error
            assert refused == []
        finally:
            await cluster.close()
