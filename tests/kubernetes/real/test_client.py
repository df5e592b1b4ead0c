"""Every verb of the client against an API server that nobody made for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import calls
from modelyard.backends.kubernetes.client.calls import Selection
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.refusals import Exists, QuotaExceeded
from modelyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from tests.cluster.manifests import config, deployment, pod_spec
from tests.support.patience import PATIENCE

OLDEST = (1, 31)


def within(space: str, manifest: dict[str, Any], **labels: str) -> dict[str, Any]:
    metadata = {**manifest["metadata"], "namespace": space, "labels": labels}
    return {**manifest, "metadata": metadata}


def scaled(space: str, replicas: int) -> dict[str, Any]:
    return {**within(space, deployment()), "spec": {"replicas": replicas}}


async def read(cluster: Cluster, space: str) -> dict[str, Any]:
    return await cluster.get(kinds.DEPLOYMENT, "demo-r1", namespace=space)


async def test_fields_belong_to_whoever_applied_them(cluster: Cluster, space: str) -> None:
    await cluster.apply(within(space, deployment()))
    await cluster.apply(scaled(space, 3), manager="modelyard-scale")
    again = await cluster.apply(within(space, deployment(image="x:2")))
    assert again["spec"]["replicas"] == 3
    owners = {each["manager"]: each["operation"] for each in again["metadata"]["managedFields"]}
    assert {"modelyard": "Apply", "modelyard-scale": "Apply"}.items() <= owners.items()
    with pytest.raises(Conflict, match=r"spec\.replicas"):
        await cluster.apply(scaled(space, 5), manager="somebody", force=False)
    assert (await cluster.apply(scaled(space, 5), manager="somebody"))["spec"]["replicas"] == 5


async def test_what_is_applied_twice_is_not_written_twice(cluster: Cluster, space: str) -> None:
    once = await cluster.apply(within(space, config(a="1")))
    again = await cluster.apply(within(space, config(a="1")))
    assert again["metadata"]["resourceVersion"] == once["metadata"]["resourceVersion"]


async def test_a_dry_run_changes_nothing(cluster: Cluster, space: str) -> None:
    told = await cluster.apply(within(space, deployment(replicas=2)), dry_run=True)
    assert told["spec"]["replicas"] == 2
    with pytest.raises(NotFound):
        await read(cluster, space)


async def test_unknown_fields_and_nonsense_are_named(cluster: Cluster, space: str) -> None:
    for write in (cluster.apply, cluster.create):
        with pytest.raises(Invalid, match="replcas"):
            await write(within(space, deployment(replcas=1)))
    with pytest.raises(Invalid) as told:
        await cluster.create(within(space, deployment("Demo")))
    assert "metadata.name" in [each.path for each in told.value.errors]


async def test_subresources_scale_and_status(cluster: Cluster, space: str) -> None:
    await cluster.apply(within(space, deployment()))
    done = await cluster.apply(scaled(space, 4), manager="modelyard-scale", subresource="scale")
    assert (done["kind"], done["spec"]["replicas"]) == ("Scale", 4)
    config_map = await cluster.apply(within(space, config("kept", a="1")))
    assert "status" not in config_map
    asked = await cluster.get(kinds.DEPLOYMENT, "demo-r1", namespace=space, subresource="scale")
    assert (asked["spec"]["replicas"], asked["status"]["selector"]) == (4, "app=demo")


async def test_lists_come_whole_from_their_pages(
    cluster: Cluster, space: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.backends.kubernetes.client.cluster._PAGE", 3)
    for number in range(8):
        await cluster.create(within(space, config(f"c{number}", a="1"), odd=str(number % 2), ours="yes"))
    found = await cluster.list(kinds.CONFIG_MAP, namespace=space, labels="ours=yes")
    assert [each["metadata"]["name"] for each in found.items] == [f"c{n}" for n in range(8)]
    assert {each["kind"] for each in found.items} == {"ConfigMap"}
    assert len((await cluster.list(kinds.CONFIG_MAP, namespace=space, labels="odd=1")).items) == 4
    named = await cluster.list(kinds.CONFIG_MAP, namespace=space, fields="metadata.name=c2")
    assert [each["metadata"]["name"] for each in named.items] == ["c2"]


async def test_a_list_of_names_shows_nothing_of_what_is_in_secrets(cluster: Cluster, space: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "YQ=="}}
    await cluster.create(within(space, secret))
    wanted = Selection(kind=kinds.SECRET, namespace=space, metadata_only=True)
    found = [each for each in (await cluster.listing(wanted)).items if each["metadata"]["name"] == "s"]
    assert [each["kind"] for each in found] == ["Secret"]
    assert "data" not in found[0]


async def test_replacing_and_patching_a_version_only(cluster: Cluster, space: str) -> None:
    first = await cluster.create(within(space, config(a="1")))
    old = first["metadata"]["resourceVersion"]
    second = await cluster.replace({**first, "data": {"a": "2"}})
    with pytest.raises(Conflict, match="has been modified"):
        await cluster.replace({**first, "data": {"a": "3"}})

    async def patch(change: Any, merge: calls.Merge, version: str) -> Any:
        told = await cluster.patch(
            kinds.CONFIG_MAP, "settings", change, namespace=space, merge=merge, resource_version=version
        )
        return told["data"]

    with pytest.raises(Conflict):
        await patch({"data": {"b": "1"}}, "merge", old)
    new = second["metadata"]["resourceVersion"]
    assert await patch({"data": {"b": "1"}}, "merge", new) == {"a": "2", "b": "1"}
    assert await patch([{"op": "remove", "path": "/data/b"}], "json", "") == {"a": "2"}
    assert await patch({"data": {"c": "1"}}, "strategic", "") == {"a": "2", "c": "1"}


async def test_deleting_what_is_meant_and_nothing_else(cluster: Cluster, space: str) -> None:
    made = await cluster.create(within(space, config()))
    with pytest.raises(Exists):
        await cluster.create(within(space, config()))
    with pytest.raises(Conflict):
        await cluster.delete(kinds.CONFIG_MAP, "settings", namespace=space, uid="another")
    for _again in range(2):
        uid = made["metadata"]["uid"]
        await cluster.delete(kinds.CONFIG_MAP, "settings", namespace=space, uid=uid)
    for number in range(4):
        await cluster.create(within(space, config(f"c{number}"), odd=str(number % 2), ours="yes"))
    await cluster.delete_all(kinds.CONFIG_MAP, namespace=space, labels="odd=1")
    left = await cluster.list(kinds.CONFIG_MAP, namespace=space, labels="ours=yes")
    assert [each["metadata"]["name"] for each in left.items] == ["c0", "c2"]


async def test_what_the_server_is_and_serves(cluster: Cluster) -> None:
    assert await cluster.version() >= OLDEST
    served = await cluster.resources()
    assert {"v1/pods", "apps/v1/deployments", "coordination.k8s.io/v1/leases"} <= served
    assert not any(each.endswith(("/scale", "/status")) for each in served)


async def test_a_watch_tells_what_happens_after_a_version(cluster: Cluster, space: str) -> None:
    first = await cluster.create(within(space, config("before"), ours="yes"))
    version = first["metadata"]["resourceVersion"]
    await cluster.create(within(space, config("after"), ours="yes"))
    await cluster.delete(kinds.CONFIG_MAP, "before", namespace=space)
    told = []
    async with asyncio.timeout(PATIENCE):
        async for event in cluster.watch(
            kinds.CONFIG_MAP, namespace=space, labels="ours=yes", resource_version=version
        ):
            told.append((event.type, event.object["metadata"]["name"]))
            if len(told) == 2:
                break
    assert told == [("ADDED", "after"), ("DELETED", "before")]


@pytest.mark.needs("controllers")
async def test_a_full_quota_is_told_apart_from_missing_rights(cluster: Cluster, space: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "0"}}}
    await cluster.create(within(space, {**quota, "metadata": {"name": "none"}}))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod_spec()}
    assert (await refused(cluster, within(space, pod))).requested == "pods=1"


async def refused(cluster: Cluster, manifest: dict[str, Any]) -> QuotaExceeded:
    """What is said once the cluster counts: before, it says that it does not yet."""
    async with asyncio.timeout(60):
        while True:
            try:
                await cluster.create(manifest, dry_run=True)
            except QuotaExceeded as error:
                return error
            except Forbidden:
                pass
            await asyncio.sleep(0.2)


@pytest.mark.needs("controllers")
async def test_what_is_owned_goes_with_its_owner(cluster: Cluster, space: str) -> None:
    owner = await cluster.create(within(space, config("owner")))
    owned = within(space, config("owned"))
    fields = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    owned["metadata"]["ownerReferences"] = [fields]
    await cluster.create(owned)
    await cluster.delete(kinds.CONFIG_MAP, "owner", namespace=space)
    async with asyncio.timeout(60):
        while (await cluster.list(kinds.CONFIG_MAP, namespace=space, fields="metadata.name=owned")).items:
            await asyncio.sleep(0.2)
