"""Services that a cluster's gateway leads to straight come to rest after every change of them."""

from __future__ import annotations

from tests.kubernetes.stage import CHURN, Stage, staged
from tests.support import inline
from tests.support.virtual import run


def test_updates_and_scales_come_to_rest() -> None:
    inline.prepare()
    run(_live())


async def _live() -> None:
    async with staged(straight=True) as stage:
        await stage.deploy(replicas=2, public=True)
        await stage.settled(seconds=60)
        assert backends(stage) == {f"{CHURN.service}-r1"}
        for number, change in enumerate(("red", "blue"), start=2):
            await stage.deploy(replicas=2, public=True, env={"COLOUR": change})
            await stage.settled(seconds=120)
            assert backends(stage) == {f"{CHURN.service}-r{number}"}
        for count in (4, 1, 3):
            await stage.scale(count)
            await stage.settled(seconds=60)


def backends(stage: Stage) -> set[str]:
    """Services that the service's host leads to."""
    cluster = stage.cluster
    return {
        backend["name"]
        for route in cluster.store.list(cluster.kind("HTTPRoute"))
        if "churn" in route["metadata"]["name"] and "second" not in route["metadata"]["name"]
        for rule in route["spec"]["rules"]
        for backend in rule["backendRefs"]
    }
