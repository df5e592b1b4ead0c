"""Pods that share what they fetch: each file comes once, and a claim that cannot be used stops nobody."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.base import TaskKind
from modelyard.backends.kubernetes import names
from modelyard.backends.kubernetes.render.desired import Cache, Settings
from modelyard.domain.model_files import InClaim
from tests.fetch.faults import Files, serving
from tests.kubernetes.test_pods import DOUBLES, doubled, guest
from tests.kubernetes.test_tasks import SAMPLE, Lender, task
from tests.kubernetes.worlds import TOKEN, World, world

DIGEST = hashlib.sha256(DOUBLES.encode()).hexdigest()


@pytest.fixture
def lender() -> Iterator[Files]:
    with serving({f"/files/{DIGEST}": DOUBLES.encode()}) as files:
        yield files


@pytest.fixture
async def here(tmp_path: Path, lender: Files) -> AsyncIterator[World]:
    settings = Settings(
        artifact_url=f"{lender.url}/files",
        platform_sha256=hashlib.sha256(TOKEN.encode()).hexdigest(),
        cache=Cache(size=1 << 30, storage_class="nfs"),
    )
    async with world(tmp_path, processes=True, settings=settings) as made:
        yield made


def shared(here: World) -> Path:
    return here.path / "pods" / "claims" / "modelyard-default" / names.CACHE


async def test_replicas_and_tasks_of_a_project_fetch_a_file_once(here: World, lender: Files) -> None:
    lender.pace = 0.1
    for name in ("a", "b", "c"):
        await here.backend.start(here.launch(name, guest=guest(DOUBLES, {})))
    seen = await here.until_ready("a", "b", "c")
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert [await doubled(client, seen[name], 1.5) for name in "abc"] == [3.0, 3.0, 3.0]
    assert len(lender.asked) == 1
    granted = Lender(f"{lender.url}/files", {})
    here.backend._options = replace(here.backend._options, courier=granted)
    answer = await here.backend.run(task(TaskKind.TEST, DOUBLES, granted, request=SAMPLE))
    assert answer.failure is None, answer
    assert len(lender.asked) == 1
    (claim,) = here.objects("PersistentVolumeClaim")
    assert claim["spec"]["storageClassName"] == "nfs"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


async def test_what_was_spoilt_in_the_cache_is_fetched_again(here: World, lender: Files) -> None:
    spoilt = shared(here) / DIGEST[:2] / DIGEST
    spoilt.parent.mkdir(parents=True)
    spoilt.write_text(DOUBLES.replace("2", "3"))
    await here.backend.start(here.launch("a", guest=guest(DOUBLES, {})))
    seen = await here.until_ready("a")
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert await doubled(client, seen["a"], 1.5) == 3.0
    assert spoilt.read_text() == DOUBLES


async def test_a_claim_on_which_nothing_can_be_kept_stops_no_pod(here: World) -> None:
    shared(here).mkdir(parents=True)
    (shared(here) / "locks").write_text("no directory")
    await here.backend.start(here.launch("a", guest=guest(DOUBLES, {})))
    await here.until_ready("a")


async def test_no_server_mounts_the_cache_nor_can_a_deployment_name_it(here: World) -> None:
    await here.backend.start(here.launch("a", guest=guest(DOUBLES, {})))
    (deployment,) = here.objects("Deployment")
    spec = deployment["spec"]["template"]["spec"]
    for container in spec["containers"]:
        assert "cache" not in {each["name"] for each in container["volumeMounts"]}
    assert "fetchers share" in here.backend.refuses_model_files(InClaim(names.CACHE, ""))
