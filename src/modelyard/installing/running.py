"""What the command `install` calls: one cluster, from a kubeconfig to an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.installing import applying, removing, rendering, values
from modelyard.installing.applying import Installed, Say
from modelyard.installing.removing import Plan, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which cluster, and how long it may take."""

    environ: Mapping[str, str]
    kubeconfig: str = ""
    context: str = ""
    timeout_seconds: float = 600.0
    cluster_queue: str = ""
    """The setting of that name, as far as whoever looks knows it."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What went off a cluster, or would go, and what is left of Modelyard there."""

    removed: tuple[str, ...]
    stays: tuple[str, ...]


def uninstall(
    target: Target, scope: Scope, *, namespace: str, agree: Callable[[Plan], bool], say: Say
) -> Removed:
    """Take the platform off the cluster, if whoever is asked agrees to what goes; else nothing is done."""
    access = config.load(target.environ, kubeconfig=target.kubeconfig, context=target.context)

    async def run() -> Removed:
        cluster = Cluster(access, clock=time.time)
        try:
            wanted = removing.plan(await removing.present(cluster, namespace), scope)
            agreed = agree(wanted)
            if agreed:
                await removing.remove(cluster, wanted, say=say, timeout_seconds=target.timeout_seconds)
            nodes = (f"labels of Node {node}" for node in wanted.nodes)
            spaces = (f"Namespace {name}" for name in wanted.namespaces)
            goes = (*map(str, (*wanted.first, *wanted.then)), *nodes, *spaces)
            return Removed(removed=goes, stays=wanted.stays)
        finally:
            await cluster.close()

    return asyncio.run(run())
