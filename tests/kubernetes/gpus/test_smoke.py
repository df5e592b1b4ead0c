"""`doctor gpu --cluster` tries the cards: a Job on every node that has some, which never stays."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from modelyard.installing import examining
from modelyard.installing.gpus.smoking import Smoke
from modelyard.installing.running import Target
from modelyard.installing.verdict import Check
from tests.kubernetes.worlds import World, world
from tests.support.cluster.gpus import add_claimed_node, add_gpu_node
from tests.support.cluster.processes import devices
from tests.support.cluster.verbs import Options
from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[3]


def add(here: World, name: str, product: str = "t4", **how: object) -> None:
    add_gpu_node(here.there.cluster, name, product, **how)  # type: ignore[arg-type]


def forget_first_node(here: World) -> None:
    """Of the world's own node nothing is to be tried."""
    cluster = here.there.cluster
    cluster.delete(cluster.kind("Node"), ("", "node-1"), Options(manager="test"))


async def filled(here: World) -> None:
    """A node with one card, which somebody has."""
    add(here, "full")
    cluster = here.there.cluster
    container = {"name": "c", "image": "modelyard/x", "command": ["sleep", "60"]}
    spec = {"containers": [{**container, "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
    pod = {"metadata": {"name": "holder"}, "spec": spec}
    cluster.create(cluster.kind("Pod"), "default", pod, Options(manager="test"))
    async with asyncio.timeout(PATIENCE):
        while not cluster.store.list(cluster.kind("Pod"))[0]["spec"].get("nodeName"):
            await asyncio.sleep(0.02)


async def tried(here: World, **how: object) -> dict[str, Check]:
    target = Target(environ={}, kubeconfig=str(here.kubeconfig), timeout_seconds=20.0)
    smoke = Smoke(**{"seconds": 20.0, "place_seconds": 0.5, "look_seconds": 0.05, **how})  # type: ignore[arg-type]
    found = await examining.asked(target, gpus=True, smoke=smoke)
    assert here.objects("Job", "default") == [], "nothing of it stays"
    return {each.name: each for each in found if each.name.startswith("smoke")}


async def test_a_job_on_every_node_prints_its_card(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        add(here, "old", "t4", count=2)
        add(here, "cut", "a100", slices={"1g.5gb": 2, "3g.20gb": 1})
        add(here, "shared", "l4", shared=4)
        said: list[str] = []
        found = await tried(here, say=said.append)
        assert found.keys() == {"smoke on old", "smoke on cut", "smoke on shared"}
        assert all(each.ok for each in found.values()), found
        assert found["smoke on old"].message.startswith("Tesla T4 (GPU-")
        assert found["smoke on cut"].message.startswith("NVIDIA A100-SXM4-40GB, MIG 1g.5gb (GPU-")
        assert found["smoke on shared"].message.startswith("NVIDIA L4 (GPU-")
        assert "old" in said[0]
        assert "20 s" in said[0]


async def test_cards_that_are_claimed_are_tried_by_a_claim(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True, nodes=False) as here:
        add_claimed_node(here.there.cluster, "claimed", divisible=True)
        target = Target(environ={}, kubeconfig=str(here.kubeconfig), timeout_seconds=20.0)
        checks = {each.name: each for each in await examining.asked(target, gpus=True)}
        found = await tried(here)
        assert here.objects("ResourceClaimTemplate", "default") == []
    assert found["smoke on claimed"].ok, found
    assert found["smoke on claimed"].message == "Tesla T4 (GPU-claimed)"
    assert (checks["allocatable"].ok, checks["allocatable"].message) == (True, "claimed: 1 by claims")
    assert (checks["labels"].ok, checks["labels"].message) == (True, "Tesla T4")
    assert checks["cards"].message == "claimed"


async def test_a_card_that_is_another_than_its_label_says_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        add(here, "swapped", "t4", annotations={devices.CARD: "NVIDIA-L4"})
        (found,) = (await tried(here)).values()
    assert not found.ok
    assert found.message.startswith("NVIDIA L4 (GPU-")
    assert "says Tesla-T4" in found.message
    assert "kubectl label --overwrite node swapped" in found.message


@pytest.mark.parametrize(
    ("annotations", "how", "words"),
    [
        ({devices.PRINTS: "absent"}, {}, "nvidia-ctk runtime configure"),
        ({devices.PRINTS: "NVIDIA-SMI has failed"}, {}, "ended with 9 and printed: NVIDIA-SMI has failed"),
        ({}, {"image": "nobody/has:this"}, "ImageError: Back-off pulling image"),
    ],
)
async def test_what_goes_wrong_is_told_with_a_remedy(
    annotations: dict[str, str], how: dict[str, str], words: str, tmp_path: Path
) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        add(here, "t4", annotations=annotations)
        (found,) = (await tried(here, **how)).values()
    assert not found.ok
    assert words in found.message


async def test_a_node_whose_cards_are_all_taken_is_told_in_the_schedulers_words(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        await filled(here)
        (found,) = (await tried(here)).values()
    assert not found.ok
    assert "InsufficientResources: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu" in found.message
    assert "--no-smoke" in found.message


async def test_nodes_that_are_not_to_be_tried_say_why(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        add(here, "serving", labels={"modelyard.dev/classes": "set", "modelyard.dev/role-deploy": "true"})
        (found,) = (await tried(here)).values()
    assert found.ok
    assert found.message == "not tried, as the node is not of class compute but deploy"


async def test_a_namespace_whose_quota_lets_no_pod_in_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        add(here, "t4")
        cluster = here.there.cluster
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        cluster.create(cluster.kind("ResourceQuota"), "default", quota, Options(manager="test"))
        (found,) = (await tried(here)).values()
    assert not found.ok
    assert "QuotaExceeded" in found.message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_doctor_that_is_interrupted_leaves_no_job(number: signal.Signals, tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        await filled(here)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelyard", "doctor", "gpu", "--kubeconfig", str(here.kubeconfig),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, env={**os.environ, "MODELYARD_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            while not here.objects("Job", "default"):
                await asyncio.sleep(0.02)
        process.send_signal(number)
        _, said = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode not in (0, None)
        assert b"Traceback" not in said, said.decode()
        assert here.objects("Job", "default") == []


async def test_the_command_prints_it_and_fails_when_anything_is_wrong(tmp_path: Path) -> None:
    async with world(tmp_path, processes=True) as here:
        forget_first_node(here)
        add(here, "t4")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modelyard", "--output", "json", "doctor", "gpu",
            "--kubeconfig", str(here.kubeconfig), "--smoke-seconds", "20",
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "MODELYARD_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        out, said = await asyncio.wait_for(process.communicate(), PATIENCE)
    checks = {each["check"]: each for each in json.loads(out)}
    assert process.returncode == 1, "there is no device plugin that could be seen"
    assert checks["smoke on t4"]["ok"]
    assert b"trying a GPU with a Job in default" in said
