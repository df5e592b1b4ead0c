"""Every verb against an API server that checks what it is sent, and what kubectl then sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import calls
from modelyard.backends.kubernetes.client.calls import Selection
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.refusals import Exists, Gone, QuotaExceeded
from modelyard.domain.errors import Conflict, Forbidden, Invalid, NotFound
from tests.cluster.manifests import config, deployment, pod_spec
from tests.cluster.test_clients import kubectl
from tests.support.connected import connected


def here(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["metadata"]["namespace"] = "default"
    return manifest


def scale(replicas: int) -> dict[str, Any]:
    return {**here(deployment()), "spec": {"replicas": replicas}}


async def read(cluster: Cluster, name: str = "demo-r1") -> dict[str, Any]:
    return await cluster.get(kinds.DEPLOYMENT, name, namespace="default")


async def test_fields_belong_to_whoever_applied_them() -> None:
    async with connected() as (_, cluster):
        await cluster.apply(here(deployment()))
        await cluster.apply(scale(3), manager="modelyard-scale")
        again = await cluster.apply(here(deployment(image="x:2")))
        assert again["spec"]["replicas"] == 3  # not ours as this manager, so it stays
        owners = {each["manager"]: each["operation"] for each in again["metadata"]["managedFields"]}
        assert owners == {"modelyard": "Apply", "modelyard-scale": "Apply"}
        with pytest.raises(Conflict, match=r"spec\.replicas"):
            await cluster.apply(scale(5), manager="somebody", force=False)
        assert (await cluster.apply(scale(5), manager="somebody"))["spec"]["replicas"] == 5


async def test_a_dry_run_changes_nothing() -> None:
    async with connected() as (_, cluster):
        told = await cluster.apply(here(deployment(replicas=2)), dry_run=True)
        assert told["spec"]["replicas"] == 2
        with pytest.raises(NotFound):
            await read(cluster)
        await cluster.create(here(deployment("other")), dry_run=True)
        assert (await cluster.list(kinds.DEPLOYMENT)).items == ()


async def test_unknown_fields_and_nonsense_are_named_by_field() -> None:
    async with connected() as (there, cluster):
        with pytest.raises(Invalid, match=r'unknown field "spec\.replcas"'):
            await cluster.create(here(deployment(replcas=1)))
        before = len(there.server.requests)
        with pytest.raises(Invalid, match="field not declared in schema") as told:
            await cluster.apply(here(deployment(replcas=1)))
        assert [each.path for each in told.value.errors] == ["spec.replcas"]
        assert len(there.server.requests) == before + 1
        with pytest.raises(Invalid) as told:
            await cluster.create(here(deployment("Demo")))
        assert [each.path for each in told.value.errors] == ["metadata.name"]
        with pytest.raises(Invalid, match="none is named"):
            await cluster.apply(deployment())
        with pytest.raises(Invalid, match="no name of an object"):
            await cluster.get(kinds.NODE, "")
        with pytest.raises(Invalid, match="none that Modelyard renders"):
            await cluster.apply({"apiVersion": "v1", "kind": "Poem", "metadata": {"name": "x"}})


async def test_subresources_scale_and_status() -> None:
    async with connected() as (_, cluster):
        await cluster.apply(here(deployment()))
        scaled = await cluster.apply(scale(4), manager="modelyard-scale", subresource="scale")
        assert (scaled["kind"], scaled["spec"]["replicas"]) == ("Scale", 4)
        status = {**here(deployment()), "spec": {}, "status": {"readyReplicas": 4}}
        before = await read(cluster)
        await cluster.replace({**before, "status": status["status"]}, subresource="status")
        after = await read(cluster)
        assert (after["status"]["readyReplicas"], after["spec"]) == (4, before["spec"])
        asked = await cluster.get(kinds.DEPLOYMENT, "demo-r1", namespace="default", subresource="scale")
        assert asked["status"]["selector"] == "app=demo"


async def test_lists_come_whole_from_their_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.backends.kubernetes.client.cluster._PAGE", 3)
    async with connected() as (there, cluster):
        for number in range(8):
            made = config(f"c{number}", a="1")
            made["metadata"]["labels"] = {"odd": str(number % 2)}
            await cluster.create(here(made))
        found = await cluster.list(kinds.CONFIG_MAP, namespace="default")
        assert [each["metadata"]["name"] for each in found.items] == [f"c{n}" for n in range(8)]
        assert {each["kind"] for each in found.items} == {"ConfigMap"}
        assert found.resource_version == str(there.cluster.store.version)
        assert len((await cluster.list(kinds.CONFIG_MAP, labels="odd=1")).items) == 4
        named = await cluster.list(kinds.CONFIG_MAP, namespace="default", fields="metadata.name=c2")
        assert len(named.items) == 1
        assert there.server.requests.count("GET /api/v1/namespaces/default/configmaps") == 4


async def test_replacing_and_patching_a_version_only() -> None:
    async with connected() as (_, cluster):
        first = await cluster.create(here(config(a="1")))
        old = first["metadata"]["resourceVersion"]
        second = await cluster.replace({**first, "data": {"a": "2"}})
        with pytest.raises(Conflict, match="has been modified"):
            await cluster.replace({**first, "data": {"a": "3"}})
        new = second["metadata"]["resourceVersion"]

        async def patch(change: Any, merge: calls.Merge, version: str) -> Any:
            told = await cluster.patch(
                kinds.CONFIG_MAP,
                "settings",
                change,
                namespace="default",
                merge=merge,
                resource_version=version,
            )
            return told["data"]

        operation = [{"op": "add", "path": "/data/b", "value": "1"}]
        for change, merge in (({"data": {"b": "1"}}, "merge"), (operation, "json")):
            with pytest.raises(Conflict):
                await patch(change, merge, old)  # type: ignore[arg-type]
        assert await patch({"data": {"b": "1"}}, "merge", new) == {"a": "2", "b": "1"}
        assert await patch([{"op": "remove", "path": "/data/b"}], "json", "") == {"a": "2"}
        assert await patch({"data": {"c": "1"}}, "strategic", "") == {"a": "2", "c": "1"}
        with pytest.raises(Invalid, match="is a document"):
            await patch([], "merge", "")


async def test_there_is_one_of_that_name_already() -> None:
    async with connected() as (_, cluster):
        await cluster.create(here(config()))
        with pytest.raises(Exists):
            await cluster.create(here(config()))


async def test_deleting_what_is_meant_and_nothing_else() -> None:
    async with connected() as (_, cluster):
        made = await cluster.create(here(config()))
        with pytest.raises(Conflict):
            await cluster.delete(kinds.CONFIG_MAP, "settings", namespace="default", uid="another")
        uid = made["metadata"]["uid"]
        for _again in range(2):
            await cluster.delete(kinds.CONFIG_MAP, "settings", namespace="default", uid=uid)
        for number in range(4):
            labelled = config(f"c{number}")
            labelled["metadata"]["labels"] = {"odd": str(number % 2)}
            await cluster.create(here(labelled))
        with pytest.raises(Invalid, match="needs labels"):
            await cluster.delete_all(kinds.CONFIG_MAP, namespace="default", labels="")
        await cluster.delete_all(kinds.CONFIG_MAP, namespace="default", labels="odd=1")
        left = await cluster.list(kinds.CONFIG_MAP, namespace="default")
        assert [each["metadata"]["name"] for each in left.items] == ["c0", "c2"]


async def test_a_full_quota_is_told_apart_from_missing_rights() -> None:
    async with connected() as (_, cluster):
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"pods": "0"}}}
        await cluster.create(here({**quota, "metadata": {"name": "none"}}))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod_spec()}
        with pytest.raises(QuotaExceeded) as told:
            await cluster.create(here(pod))
        assert isinstance(told.value, Forbidden)
        assert told.value.requested == "pods=1"


async def test_what_the_server_is_and_serves() -> None:
    async with connected() as (_, cluster):
        assert await cluster.version() == (1, 37)
        served = await cluster.resources()
        assert {"v1/pods", "apps/v1/deployments", "coordination.k8s.io/v1/leases"} <= served
        assert not any(each.endswith(("/scale", "/status")) for each in served)
        assert kinds.DEPLOYMENT.resource in served
        assert kinds.SCALED_OBJECT.resource not in served


async def test_a_watch_tells_what_happens_after_a_version() -> None:
    async with connected() as (there, cluster):
        await cluster.create(here(config("before")))
        version = str(there.cluster.store.version)
        await cluster.create(here(config("after")))
        await cluster.delete(kinds.CONFIG_MAP, "before", namespace="default")
        told = []
        async for event in cluster.watch(kinds.CONFIG_MAP, resource_version=version):
            told.append((event.type, event.object["metadata"]["name"]))
            if len(told) == 2:
                break
        assert told == [("ADDED", "after"), ("DELETED", "before")]
        there.cluster.store.compact()
        with pytest.raises(Gone):
            async for _ in cluster.watch(kinds.CONFIG_MAP, resource_version=version):
                pass


async def test_kubectl_sees_what_we_applied_and_as_whom(tmp_path: Path) -> None:
    async with connected() as (there, cluster):
        at = there.kubeconfig(tmp_path)
        await cluster.apply(here(deployment(image="x:1")))
        await cluster.apply(scale(2), manager="modelyard-scale")
        _, shown = await kubectl(at, "get", "deploy", "demo-r1", "-o", "json", "--show-managed-fields")
        owned = {each["manager"]: each for each in json.loads(shown)["metadata"]["managedFields"]}
        assert owned["modelyard-scale"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
        assert "f:template" in owned["modelyard"]["fieldsV1"]["f:spec"]
        assert "f:replicas" not in owned["modelyard"]["fieldsV1"]["f:spec"]
        code, said = await kubectl(at, "apply", "--server-side", "-f", "-", given=deployment(image="x:2"))
        assert code == 1
        assert 'conflict with "modelyard"' in said
        assert (await kubectl(at, "scale", "deploy/demo-r1", "--replicas=7"))[0] == 0
        with pytest.raises(Conflict, match="kubectl"):
            await cluster.apply(scale(2), manager="modelyard-scale", force=False)


def test_selections_become_queries() -> None:
    wanted = Selection(kind=kinds.SECRET, namespace="a", labels="x=1", metadata_only=True)
    call = calls.watch(wanted, version="7", seconds=300, initial=False)
    assert call.path == "/api/v1/namespaces/a/secrets"
    assert call.query == {
        "labelSelector": "x=1",
        "watch": "1",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": "300",
        "resourceVersion": "7",
    }
    assert "PartialObjectMetadata;" in call.accept
    first = calls.watch(wanted, version="", seconds=300, initial=True)
    assert first.query["resourceVersionMatch"] == "NotOlderThan"
    assert "resourceVersion" not in first.query
