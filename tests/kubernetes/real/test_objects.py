"""Everything that is rendered, judged by an API server: a dry run of each object, by us and by kubectl."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.domain.errors import ModelyardError
from modelyard.gateway.gateway_api import rendering as routes
from modelyard.installing import rendering, values
from tests.cluster.test_clients import kubectl
from tests.gateway.test_gateway_api import a_site, an_offer, served, some
from tests.kubernetes.render.cases import CASES
from tests.support.apiserver.reached import Reached
from tests.support.cluster import crds, customs
from tests.support.patience import PATIENCE

KEPT = sorted(Path(__file__).parents[1].glob("**/golden/*.yaml"))


async def serve_customs(cluster: Cluster, apiserver: Reached, home: Path) -> None:
    """Custom resources that clusters have, where they are not there yet; the platform itself makes none."""
    served = await cluster.resources()
    wanted = [
        (resource, schema)
        for resource, schema in (*crds.GATEWAY_API, *crds.KEDA, *crds.KUEUE)
        if f"{resource.api_version}/{resource.plural}" not in served
    ]
    path = home / "customs.yaml"
    path.write_text(yaml.safe_dump_all([customs.definition(*each) for each in wanted]))
    if wanted:
        code, said = await kubectl(apiserver.kubeconfig, "apply", "--server-side", "-f", str(path))
        assert code == 0, said
    async with asyncio.timeout(PATIENCE):
        while not {f"{r.api_version}/{r.plural}" for r, _ in wanted} <= await cluster.resources():
            await asyncio.sleep(0.1)


def moved(manifest: dict[str, Any], space: str) -> dict[str, Any]:
    """The object in another namespace, which is there."""
    found = copy.deepcopy(manifest)
    if "namespace" in found["metadata"]:
        found["metadata"]["namespace"] = space
    return found


async def judged(cluster: Cluster, space: str, manifests: Any) -> list[str]:
    """What the API server says against these objects; each is valid where it is silent."""
    said = []
    for each in manifests:
        try:
            await cluster.apply(moved(each, space), dry_run=True)
        except ModelyardError as error:
            said.append(f"{each['kind']} {each['metadata']['name']}: {error}")
    return said


@pytest.mark.parametrize("name", CASES)
async def test_what_is_rendered_of_a_deployment_is_valid(cluster: Cluster, space: str, name: str) -> None:
    version = await cluster.version()
    rendered = CASES[name]()
    assert await judged(cluster, space, rendered) == [], version


@pytest.mark.parametrize(
    "choice",
    [{}, {"routers": {"count": 0}}, {"database": {"url": "postgresql://a:b@c/d"}}],
    ids=["defaults", "no routers", "a database"],
)
async def test_what_is_installed_is_valid(cluster: Cluster, space: str, choice: dict[str, Any]) -> None:
    assert await judged(cluster, space, rendering.manifests(values.of(choice))) == []


@pytest.mark.needs("a server of our own")
@pytest.mark.parametrize("router", [True, False], ids=["with a router", "without"])
async def test_what_a_gateway_is_told_is_valid(
    cluster: Cluster, apiserver: Reached, space: str, router: bool, tmp_path: Path
) -> None:
    await serve_customs(cluster, apiserver, tmp_path)
    services = [served(), served("vision/other", some("other", 1, 1, 30), some("other", 2, 2, 70))]
    rendered = routes.objects(services, a_site(an_offer(router=router)))
    assert {each["kind"] for each in rendered} >= {"Gateway", "HTTPRoute"}
    assert await judged(cluster, space, rendered) == []


@pytest.mark.needs("a server of our own")
@pytest.mark.parametrize("path", KEPT, ids=[f"{each.parts[-3]} {each.stem}" for each in KEPT])
async def test_kubectl_takes_every_golden_file(
    cluster: Cluster, apiserver: Reached, space: str, path: Path, tmp_path: Path
) -> None:
    await serve_customs(cluster, apiserver, tmp_path)
    given = [moved(each, space) for each in yaml.safe_load_all(path.read_text())]
    (tmp_path / "given.yaml").write_text(yaml.safe_dump_all(given))
    how = ("--server-side", "--dry-run=server", "--force-conflicts", "--validate=strict")
    code, said = await kubectl(apiserver.kubeconfig, "apply", *how, "-f", str(tmp_path / "given.yaml"))
    assert code == 0, said
    assert said.count("serverside-applied (server dry run)") == len(given)


def test_there_are_golden_files() -> None:
    assert len(KEPT) >= 9
