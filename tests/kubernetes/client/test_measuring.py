"""What the client tells whoever measures stands among the platform's metrics."""

from __future__ import annotations

import asyncio

from prometheus_client import generate_latest

from modelyard.api.measure import Measure
from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.informers import Informer
from tests.support.connected import connected


async def test_requests_and_staleness_are_metrics() -> None:
    measure = Measure()
    async with connected(observer=measure) as (_, cluster):
        await cluster.list(kinds.POD)
        informer = Informer(cluster, kinds.NODE)
        stale = "modelyard_cluster_stale_seconds"
        task = asyncio.create_task(informer.run())
        await informer.until_synced()
        text = generate_latest(measure._registry).decode()
        counted = 'modelyard_cluster_request_duration_seconds_count{code="200",kind="pods",verb="list"} 1.0'
        assert counted in text
        assert f'{stale}{{kind="nodes"}} 0.0' in text
        assert 'verb="watch"' in text
        task.cancel()
