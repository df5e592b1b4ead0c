"""What we render, written and read by a client of Kubernetes that is not ours, and the other way about."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightkube
import pytest
from lightkube import codecs
from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from tests.kubernetes.render.cases import CASES
from tests.support.cluster import crds
from tests.support.cluster.running import running
from tests.support.connected import HASTE

OWN, THEIRS = "modelyard", "somebody"


def bare(value: Any) -> Any:
    """Without what an API server keeps about an object."""
    metadata = {
        k: v for k, v in value["metadata"].items() if k in ("name", "namespace", "labels", "annotations")
    }
    return {**{k: v for k, v in value.items() if k != "status"}, "metadata": metadata}


async def namespaces(cluster: Cluster, rendered: Any) -> None:
    wanted = {each["metadata"].get("namespace") for each in rendered} - {None, "default"}
    for name in sorted(wanted):
        await cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


@pytest.mark.parametrize("name", CASES)
async def test_another_client_applies_and_reads_what_is_rendered(name: str, tmp_path: Path) -> None:
    rendered = [each for each in CASES[name]() if each["kind"] != "Namespace"]
    async with running(extra=(*crds.GATEWAY_API, *crds.KEDA)) as there:
        at = there.kubeconfig(tmp_path)
        ours = Cluster(config.load({}, kubeconfig=str(at)), clock=time.time, limits=HASTE)
        theirs = lightkube.AsyncClient(lightkube.KubeConfig.from_file(str(at)), field_manager=THEIRS)
        try:
            await namespaces(ours, rendered)
            for each in rendered:
                resource = codecs.from_dict(each)
                written = (await theirs.apply(resource)).to_dict()
                read = await ours.get(kinds.of(each), each["metadata"]["name"], namespace=namespace(each))
                assert bare(read) == bare(written)
                applied = await ours.apply(each)
                found = await theirs.get(type(resource), each["metadata"]["name"], namespace=namespace(each))
                assert bare(found.to_dict()) == bare(applied)
        finally:
            await ours.close()
            await theirs.close()


def namespace(manifest: Any) -> Any:
    return manifest["metadata"].get("namespace")


async def test_what_another_client_owns_is_a_conflict_for_it_and_for_us(tmp_path: Path) -> None:
    async with running() as there:
        at = there.kubeconfig(tmp_path)
        ours = Cluster(config.load({}, kubeconfig=str(at)), clock=time.time, limits=HASTE)
        theirs = lightkube.AsyncClient(lightkube.KubeConfig.from_file(str(at)), field_manager=THEIRS)
        rendered = next(each for each in CASES["own-server"]() if each["kind"] == "Deployment")
        await namespaces(ours, [rendered])
        await ours.apply(rendered)
        changed = codecs.from_dict({**rendered, "spec": {**rendered["spec"], "revisionHistoryLimit": 9}})
        with pytest.raises(ApiError) as refused:
            await theirs.apply(changed)
        assert refused.value.status.code == 409
        taken = await theirs.patch(
            type(changed), changed.metadata.name, {"spec": {"paused": True}},
            namespace=changed.metadata.namespace, patch_type=PatchType.MERGE,
        )  # fmt: skip
        assert taken.spec.paused is True
        await ours.close()
        await theirs.close()
