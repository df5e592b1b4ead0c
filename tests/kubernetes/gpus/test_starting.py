"""Parts of cards through the backend: as many replicas start as have room, and the next says why it waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from modelyard.domain.deployment import DeploymentSpec, Phase, Resources
from tests.kubernetes.worlds import World, world
from tests.support.cluster.gpus import add_gpu_node
from tests.support.patience import PATIENCE

HAMI: dict[str, Any] = {
    "annotations": {"hami.io/node-nvidia-register": "GPU-1,10,15360,100,NVIDIA-Tesla T4,0,true:"},
    # Its scheduler looks after memory and cores of each card; here the node has them as any amount.
    "nvidia.com/gpu": "10",
    "nvidia.com/gpumem-percentage": "100",
    "nvidia.com/gpucores": "100",
}


def launched(here: World, replica: str, gpu: str) -> Any:
    spec = DeploymentSpec(model="churn@3", resources=Resources(gpu=gpu))
    return here.launch(replica, spec=spec)


async def started(here: World, gpu: str, count: int) -> None:
    """So many are ready, on the node with the card, and one more waits until one of them is gone."""
    names = [f"r{number}" for number in range(count)]
    for name in names:
        await here.backend.start(launched(here, name, gpu))
    seen = await here.until_ready(*names)
    assert {each.node for each in seen.values()} == {"gpu-1"}
    await here.backend.start(launched(here, "more", gpu))
    async with asyncio.timeout(PATIENCE):
        while (more := (await here.seen())["more"]).failure is None:
            await asyncio.sleep(0.02)
    assert (more.phase, more.waits, more.failure.reason) == (Phase.STARTING, True, "InsufficientResources")
    assert "Insufficient nvidia.com/" in more.failure.message
    await here.backend.stop(here.launch("r0").key, "r0")
    await here.until_ready(*names[1:], "more")


def limits(here: World) -> list[dict[str, str]]:
    found = (each["spec"]["containers"][0]["resources"]["limits"] for each in here.objects("Pod"))
    return [{name: amount for name, amount in each.items() if "/" in name} for each in found]


@pytest.mark.parametrize("gpu", ["0.2(T4)", "mode=shared"])
async def test_a_card_that_is_divided_by_time_has_as_many_as_it_has_parts(tmp_path: Path, gpu: str) -> None:
    async with world(tmp_path, nodes=False) as here:
        add_gpu_node(here.there.cluster, "gpu-1", shared=5)
        await started(here, gpu, 5)
        assert limits(here) == [{"nvidia.com/gpu": "1"}] * 5


async def test_with_hami_a_card_has_as_many_as_its_memory_has_room_for(tmp_path: Path) -> None:
    async with world(tmp_path, nodes=False) as here:
        add_gpu_node(here.there.cluster, "gpu-1", **HAMI)
        await started(here, "0.2(T4)", 5)
        part = {"nvidia.com/gpu": "1", "nvidia.com/gpumem-percentage": "20", "nvidia.com/gpucores": "20"}
        assert limits(here) == [part] * 5


@pytest.mark.parametrize("gpu", ["0.14(A100)", "mig=1g.10gb"])
async def test_partitions_of_a_card_are_given_out_one_to_each(tmp_path: Path, gpu: str) -> None:
    async with world(tmp_path, nodes=False) as here:
        add_gpu_node(here.there.cluster, "gpu-1", "a100", slices={"1g.10gb": 2})
        await started(here, gpu, 2)
        assert limits(here) == [{"nvidia.com/mig-1g.10gb": "1"}] * 2
