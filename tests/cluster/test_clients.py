"""Clients that are not ours work with the server: kubectl over a real socket."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import httpx2

from tests.cluster.manifests import config, deployment
from tests.support.cluster.faults import Status
from tests.support.cluster.running import running

KUBECTL = Path(sys.executable).parent / "kubectl"


async def kubectl(kubeconfig: Path, *arguments: str, given: object = None) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(KUBECTL),
        "--kubeconfig",
        str(kubeconfig),
        "--cache-dir",
        str(kubeconfig.parent / "cache"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate(json.dumps(given).encode() if given else None)
    return process.returncode or 0, out.decode()


async def test_kubectl_applies_reads_conflicts_and_deletes(tmp_path: Path) -> None:
    async with running() as there:
        at = there.kubeconfig(tmp_path)
        done = await kubectl(at, "apply", "--server-side", "-f", "-", given=deployment(replicas=2))
        assert done == (0, "deployment.apps/demo-r1 serverside-applied\n")
        more = deployment(replicas=3)
        code, said = await kubectl(at, "apply", "--server-side", "--field-manager=x", "-f", "-", given=more)
        assert code == 1
        assert 'conflict with "kubectl": .spec.replicas' in said
        assert (await kubectl(at, "scale", "deploy/demo-r1", "--replicas=5"))[0] == 0
        _, shown = await kubectl(at, "get", "deploy", "demo-r1", "-o", "jsonpath={.spec.replicas}")
        assert shown == "5"
        code, said = await kubectl(at, "apply", "--server-side", "-f", "-", given=deployment("x", replcas=1))
        assert code == 1
        assert ".spec.replcas: field not declared in schema" in said
        assert (await kubectl(at, "apply", "-f", "-", given=config(a="1")))[
            1
        ] == "configmap/settings created\n"
        assert (await kubectl(at, "apply", "-f", "-", given=config(b="1")))[
            1
        ] == "configmap/settings configured\n"
        _, data = await kubectl(at, "get", "cm", "settings", "-o", "jsonpath={.data}")
        assert json.loads(data) == {"b": "1"}
        assert "deleted" in (await kubectl(at, "delete", "deploy", "demo-r1", "--wait=true"))[1]


async def test_faults_happen_where_they_are_wanted_and_only_so_often() -> None:
    async with running() as there:
        there.server.faults.add(Status(429, retry_after=1), where=lambda method, path: "configmaps" in path)
        async with httpx2.AsyncClient(base_url=there.url) as client:
            place = "/api/v1/namespaces/default/configmaps"
            assert (await client.get("/api/v1/namespaces")).status_code == 200
            refused = await client.get(place)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert (await client.get(place)).status_code == 200
