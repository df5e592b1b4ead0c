"""What the backend sees of the cluster when answers and news cross."""

from __future__ import annotations

import asyncio
from pathlib import Path

from modelyard.backends.kubernetes.kinds import POD
from tests.backends.things import KEY
from tests.kubernetes.worlds import world
from tests.support.patience import PATIENCE


async def test_an_answer_that_is_late_brings_no_pod_back(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await there.backend.start(there.launch("a"))
        await there.until_ready("a")
        view, cluster = there.backend._view, there.backend._cluster
        (pod,) = view.of(POD, KEY)
        metadata = pod["metadata"]
        patch = {"metadata": {"annotations": {"note": "x"}}}
        late = await cluster.patch(POD, metadata["name"], patch, namespace=metadata["namespace"])
        await there.backend.kill(KEY, "a")
        async with asyncio.timeout(PATIENCE):
            while await there.backend.observe(KEY) or await there.backend.keys():
                await asyncio.sleep(0.02)
        view.wrote(POD, late)
        assert view.of(POD, KEY) == ()
        assert await there.backend.keys() == frozenset()


async def test_what_we_wrote_is_seen_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as there:
        await there.backend.start(there.launch("a"))
        await there.until_ready("a")
        view, cluster = there.backend._view, there.backend._cluster
        (pod,) = view.of(POD, KEY)
        metadata = pod["metadata"]
        patch = {"metadata": {"annotations": {"note": "x"}}}
        view.wrote(POD, await cluster.patch(POD, metadata["name"], patch, namespace=metadata["namespace"]))
        assert view.of(POD, KEY)[0]["metadata"]["annotations"]["note"] == "x"
