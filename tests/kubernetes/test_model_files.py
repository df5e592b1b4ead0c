"""Models that lie on a claim or in an image: mounted, compared with the version, served without a fetch."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.domain.deployment import Failure, Phase
from modelyard.domain.model_files import InClaim, InImage
from tests.backends import things
from tests.kubernetes.test_pods import DOUBLES, doubled, guest
from tests.kubernetes.worlds import TOKEN, World, world
from tests.support.cluster.processes.kubelet import ProcessKubelet
from tests.support.cluster.verbs import Options
from tests.support.patience import PATIENCE

REFERENCE = f"registry.example.org/models/churn:3@sha256:{'7' * 64}"
NOWHERE = "http://127.0.0.1:9/files"
"""Where pods get files from: nobody is there, so that who fetches fails."""


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    """What the image holds."""
    return tmp_path / "image"


@pytest.fixture
async def here(tmp_path: Path, laid: Path) -> AsyncIterator[World]:
    settings = Settings(artifact_url=NOWHERE, platform_sha256=hashlib.sha256(TOKEN.encode()).hexdigest())
    async with world(tmp_path, processes=True, settings=settings) as made:
        assert isinstance(made.control.kubelet, ProcessKubelet)
        made.control.kubelet.storage.images[REFERENCE] = laid
        yield made


def lay(folder: Path, text: str = DOUBLES) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(text)
    (folder / "README").write_text("what lies beside is nobody's business")


def claim(here: World, name: str = "models") -> Path:
    """Make a claim, and its namespace before anything else of it; its directory."""
    cluster = here.there.cluster
    if cluster.store.get(cluster.kind("Namespace"), ("", "modelyard-default")) is None:
        space = {"metadata": {"name": "modelyard-default"}}
        cluster.create(cluster.kind("Namespace"), "", space, Options(manager="test"))
    spec = {"accessModes": ["ReadOnlyMany"], "resources": {"requests": {"storage": "1Gi"}}}
    made = {"metadata": {"name": name}, "spec": spec}
    cluster.create(cluster.kind("PersistentVolumeClaim"), "modelyard-default", made, Options(manager="test"))
    return here.path / "pods" / "claims" / "modelyard-default" / name


async def start(here: World, source: str) -> None:
    spec = replace(things.launch("a", here.path).spec, model_files=source)
    await here.backend.start(here.launch("a", guest=guest(DOUBLES, {}), spec=spec))


async def trouble(here: World) -> Failure:
    async with asyncio.timeout(60):
        while (found := (await here.seen())["a"]).failure is None:
            assert found.phase is not Phase.READY
            await asyncio.sleep(0.05)
    return found.failure


async def served(here: World) -> float:
    seen = await here.until_ready("a")
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await doubled(client, seen["a"], 1.5)


async def test_a_model_of_a_claim_is_served_where_it_lies(here: World) -> None:
    home = claim(here)
    await start(here, "pvc://models/churn/3")
    lay(home / "churn" / "3")
    assert await served(here) == 3.0
    (pod,) = here.objects("Pod")
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["model-check"]


async def test_a_model_of_an_image_is_served_where_it_lies(here: World, laid: Path) -> None:
    lay(laid / "models")
    await start(here, f"oci://{REFERENCE}#models")
    assert await served(here) == 3.0


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        (DOUBLES.replace("2", "3"), "ArtifactCorrupt", "`model.py` has sha256"),
        (DOUBLES + "\n", "ArtifactCorrupt", "bytes and was published with"),
        ("", "MountFailed", "`model.py` is not in the folder of the volume, which holds README"),
    ],
    ids=["changed", "longer", "missing"],
)
async def test_files_that_are_not_the_version_are_not_served(
    here: World, text: str, reason: str, words: str
) -> None:
    home = claim(here)
    lay(home, text)
    if not text:
        (home / "model.py").unlink()
    await start(here, "pvc://models")
    failure = await trouble(here)
    assert failure.reason == reason, failure
    assert words in failure.message


async def test_a_claim_and_a_folder_that_are_not_there_are_named_and_waited_for(here: World) -> None:
    await start(here, "pvc://models/churn")
    failure = await trouble(here)
    assert failure.reason == "MountFailed", failure
    assert 'persistentvolumeclaim "models" not found' in failure.message
    home = claim(here)
    async with asyncio.timeout(PATIENCE):
        while (failure := await trouble(here)).reason != "ConfigError":
            await asyncio.sleep(0.05)
    assert "subPath" in failure.message
    lay(home / "churn")
    assert await served(here) == 3.0


async def test_an_image_that_nobody_has_is_said(here: World) -> None:
    await start(here, f"oci://{REFERENCE.replace('7', '8')}")
    failure = await trouble(here)
    assert failure.reason == "ImageError", failure
    assert "registry.example.org/models/churn" in failure.message


async def test_what_a_cluster_cannot_mount_is_refused_with_what_it_needs(here: World) -> None:
    image, there = InImage(REFERENCE, ""), InClaim("models", "")
    assert here.backend.refuses_model_files(image) == ""
    here.backend.learn(Capabilities(version=(1, 34), takes_images=False))
    assert "Kubernetes 1.34" in here.backend.refuses_model_files(image)
    assert "ImageVolume" in here.backend.refuses_model_files(image)
    assert here.backend.refuses_model_files(there) == ""
