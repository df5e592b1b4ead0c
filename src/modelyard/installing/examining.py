"""What `doctor` asks of a cluster: what it can do, and whether its GPUs can be used; without a platform."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine
from typing import Any

from modelyard.backends.kubernetes.capabilities import Capabilities
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.kinds import DAEMON_SET, NODE, Kind, Manifest
from modelyard.backends.kubernetes.probe import described, probe
from modelyard.domain.errors import ModelyardError
from modelyard.installing import offered, policies
from modelyard.installing.gpus import plugin_logs, stack
from modelyard.installing.gpus.smoking import Smoke, smoked
from modelyard.installing.gpus.stack import Seen
from modelyard.installing.running import Target
from modelyard.installing.verdict import Check

_OLDEST = (1, 31)


def cluster(target: Target) -> tuple[Check, ...]:
    """What the cluster can do; a missing extra is told, and only what Modelyard cannot do without fails."""
    return _run(asked(target, gpus=False))


def gpus(target: Target, smoke: Smoke | None = None) -> tuple[Check, ...]:
    """Whether the cluster's GPUs can be used, from the driver to what pods may ask for.

    With `smoke`, a Job on each node with cards tries them; it is taken away also when this is interrupted.
    """
    return _run(asked(target, gpus=True, smoke=smoke))


def _run(asking: Coroutine[Any, Any, tuple[Check, ...]]) -> tuple[Check, ...]:
    """Its answer. Told to end by a signal, it takes away what it made, and is then interrupted."""

    async def run() -> tuple[Check, ...]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await asking

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def asked(target: Target, *, gpus: bool, smoke: Smoke | None = None) -> tuple[Check, ...]:
    """The checks of a cluster or of its GPUs; one that does not answer is a failed check."""
    access = config.load(target.environ, kubeconfig=target.kubeconfig, context=target.context)
    client = Cluster(access, clock=time.monotonic)
    try:
        async with asyncio.timeout(target.timeout_seconds):
            version = await client.version()
            found = await probe(client, known=Capabilities(version=version))
            if not gpus:
                network = policies.check(await _items(client, DAEMON_SET), await _items(client, NODE))
                return (
                    *cluster_checks(found, where=access.server, cluster_queue=target.cluster_queue),
                    network,
                    *offered.checks(found),
                )
            seen = await _seen(client, found)
        checks = stack.checks(seen)
        return checks if smoke is None else (*checks, *await smoked(client, seen, smoke))
    except (ModelyardError, TimeoutError) as error:
        remedy = "see `kubectl cluster-info`; choose another with --kubeconfig and --context"
        return (
            Check(name="cluster", ok=False, message=f"{access.server}: {error or 'no answer'}; {remedy}"),
        )
    finally:
        await client.close()


async def _seen(client: Cluster, found: Capabilities) -> Seen:
    """What the checks of GPUs look at; of plugins that are not well, what they wrote too."""
    daemons, nodes = await _items(client, DAEMON_SET), await _items(client, NODE)
    seen = Seen(found=found, nodes=nodes, daemons=daemons)
    plugins = stack.plugins(daemons)
    lacking = any(not seen.gives(node) for node in seen.carded)
    ailing = plugins if lacking else [each for each in plugins if not stack.is_well(each)]
    return Seen(found=found, nodes=nodes, daemons=daemons, logs=await plugin_logs.last_lines(client, ailing))


async def _items(client: Cluster, kind: Kind) -> tuple[Manifest, ...]:
    """All of a kind; none where they may not be seen, which the probe has told already."""
    try:
        return (await client.list(kind)).items
    except ModelyardError:
        return ()


def cluster_checks(found: Capabilities, *, where: str, cluster_queue: str = "") -> tuple[Check, ...]:
    """What the cluster can do; pure."""
    version = ".".join(map(str, found.version))
    new = found.version >= _OLDEST
    first = f"{where}, Kubernetes {version}" + ("" if new else "; Modelyard needs 1.31 or newer: upgrade it")
    said = described(found, cluster_queue=cluster_queue)
    more = (Check(name=name, ok=True, message=text) for name, text in said.items())
    return (Check(name="cluster", ok=new, message=first), *more)
