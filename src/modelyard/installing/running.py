"""What the command `install` calls: one cluster, from a kubeconfig to an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.installing import applying, rendering, values
from modelyard.installing.applying import Installed, Say


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which cluster, and how long it may take."""

    environ: Mapping[str, str]
    kubeconfig: str = ""
    context: str = ""
    timeout_seconds: float = 600.0


def install(target: Target, files: Sequence[Path], assignments: Sequence[str], *, say: Say) -> Installed:
    """Put the platform on the cluster, or bring the one that is there up to date."""
    manifests = rendering.manifests(values.load(files, assignments))
    access = config.load(target.environ, kubeconfig=target.kubeconfig, context=target.context)

    async def run() -> Installed:
        cluster = Cluster(access, clock=time.time)
        try:
            return await applying.install(cluster, manifests, say=say, timeout_seconds=target.timeout_seconds)
        finally:
            await cluster.close()

    return asyncio.run(run())
