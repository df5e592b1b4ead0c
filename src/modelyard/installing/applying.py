"""Putting the platform on a cluster: apply, take away what is no longer wanted, wait until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client.cluster import Cluster, Selection
from modelyard.backends.kubernetes.kinds import Kind, Manifest
from modelyard.composing import outside
from modelyard.domain.errors import Invalid, TimedOut, Unavailable
from modelyard.installing.foundation import LABELS, NAME, OURS
from modelyard.settings import PREFIX

MANAGER = "modelyard-install"
"""Field manager of the platform's own objects."""
OLDEST = (1, 31)
_PRUNED: tuple[Kind, ...] = (
    kinds.SERVICE, kinds.SECRET, kinds.NETWORK_POLICY, kinds.DEPLOYMENT, kinds.POD_DISRUPTION_BUDGET,
    kinds.SERVICE_ACCOUNT,
)  # fmt: skip
"""Kinds whose objects may go when values change. Volumes never do."""
_SCHEMES = ("http", "https")
"""Names of the front door's own ports; services' second ports have another one."""
_PAUSE_SECONDS = 1.0

Say = Callable[[str], None]
"""Called with each step, for who watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What came of it."""

    version: tuple[int, int]
    """The cluster's."""
    addresses: tuple[str, ...]
    """URLs at which the front door should answer; empty when it is inside the cluster only."""


async def install(
    cluster: Cluster, manifests: Sequence[Manifest], *, say: Say, timeout_seconds: float
) -> Installed:
    """Make the cluster have these, and wait until the platform answers.

    Raises Invalid for a cluster that is too old, TimedOut that says why the platform does not answer yet.
    """
    version = await cluster.version()
    if version < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise Invalid(
            f"the cluster is Kubernetes {version[0]}.{version[1]}; Modelyard needs {oldest} or newer"
        )
    for manifest in manifests:
        await cluster.apply(manifest, manager=MANAGER)
        say(f"{manifest['kind']} {manifest['metadata']['name']}")
    namespace = _namespace(manifests)
    for gone in await _prune(cluster, manifests, namespace):
        say(f"{gone} is no longer wanted and was deleted")
    names = [each["metadata"]["name"] for each in manifests if each["kind"] == "Deployment"]
    await _until_available(cluster, namespace, names, say=say, timeout_seconds=timeout_seconds)
    return Installed(version=version, addresses=await addresses(cluster, namespace, _told(manifests)))


async def addresses(cluster: Cluster, namespace: str, told: Mapping[str, str]) -> tuple[str, ...]:
    """Where the front door answers outside; `told` is what the platform has in its environment."""
    public = told.get(f"{PREFIX}SERVER__PUBLIC_URL", "").rstrip("/")
    found = await _found(cluster, namespace, told)
    return tuple(dict.fromkeys([*([public] if public else ()), *found]))


async def _found(cluster: Cluster, namespace: str, told: Mapping[str, str]) -> tuple[str, ...]:
    door = await cluster.get(kinds.SERVICE, outside.DOOR, namespace=namespace)
    host = outside.said(
        told.get(f"{PREFIX}KUBERNETES__SHOWN_HOST", ""), told.get(f"{PREFIX}GATEWAY__EXTERNAL_IP", "")
    )
    if door["spec"].get("type") == "ClusterIP":
        pods = await cluster.list(kinds.POD, namespace=namespace, labels=_selector(OURS))
        return tuple(url for pod in pods.items for url in _of_host_ports(pod, host))
    if door["spec"].get("type") == "LoadBalancer":
        hosts = [host] if host else list(outside.balanced(door))
        ports = [(each["name"], each["port"]) for each in door["spec"]["ports"]]
    else:
        nodes = [] if host else (await cluster.list(kinds.NODE)).items
        hosts = [host] if host else [each for each in map(outside.node_address, nodes) if each]
        ports = [(each["name"], each.get("nodePort")) for each in door["spec"]["ports"]]
    return tuple(
        _url(scheme, host, port) for host in hosts for scheme, port in ports if port and scheme in _SCHEMES
    )


async def _prune(cluster: Cluster, wanted: Sequence[Manifest], namespace: str) -> list[str]:
    """Delete what an earlier installation brought and this one does not."""
    keep = {(kinds.of(each), each["metadata"]["name"]) for each in wanted}
    gone: list[str] = []
    for kind in _PRUNED:
        ours = Selection(kind=kind, namespace=namespace, labels=_selector(LABELS), metadata_only=True)
        found = await cluster.listing(ours)
        for name in (each["metadata"]["name"] for each in found.items):
            if (kind, name) not in keep:
                await cluster.delete(kind, name, namespace=namespace)
                gone.append(f"{kind.name} {name}")
    return gone


async def _until_available(
    cluster: Cluster, namespace: str, names: Sequence[str], *, say: Say, timeout_seconds: float
) -> None:
    """Wait for the pods of what was applied; a cluster that does not answer for a moment is asked again."""
    why = ""
    try:
        async with asyncio.timeout(timeout_seconds):
            while not all([await _is_available(cluster, namespace, name) for name in names]):
                found = await _trouble(cluster, namespace)
                if found and found != why:
                    say(found)
                why = found or why
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        raise TimedOut(
            f"Modelyard does not answer after {timeout_seconds:g} s: {why or 'its pods are not ready'}; "
            f"look with `kubectl -n {namespace} describe pod` and `kubectl -n {namespace} logs "
            f"deployment/{NAME}`; what was applied stays, and the same command goes on"
        ) from None


async def _is_available(cluster: Cluster, namespace: str, name: str) -> bool:
    try:
        found = await cluster.get(kinds.DEPLOYMENT, name, namespace=namespace)
    except Unavailable:
        return False
    status, wanted = found.get("status") or {}, int(found["spec"].get("replicas", 1))
    seen = int(status.get("observedGeneration") or 0) >= int(found["metadata"].get("generation") or 0)
    counts = (status.get(name) or 0 for name in ("replicas", "updatedReplicas", "availableReplicas"))
    return seen and all(count == wanted for count in counts)


async def _trouble(cluster: Cluster, namespace: str) -> str:
    """Why the platform's pods are not ready, in the cluster's words; empty when it does not say."""
    try:
        pods = await cluster.list(kinds.POD, namespace=namespace, labels=_selector(OURS))
    except Unavailable as error:
        return str(error)
    return next((reason for pod in pods.items for reason in _reasons(pod)), "")


def _reasons(pod: Manifest) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"pod {name} has no node: {condition.get('message') or condition.get('reason')}"
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            words = waiting.get("message") or ended.get("message") or ""
            yield f"pod {name}: {waiting['reason']}" + (f": {words}" if words else "")


def _of_host_ports(pod: Manifest, said: str) -> Iterator[str]:
    on = str((pod.get("status") or {}).get("hostIP") or "")
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            host = said or on
            if port.get("hostPort") and host and port["name"] in _SCHEMES:
                yield _url(port["name"], host, port["hostPort"])


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _namespace(manifests: Sequence[Manifest]) -> str:
    return next(str(each["metadata"]["name"]) for each in manifests if each["kind"] == "Namespace")


def _told(manifests: Sequence[Manifest]) -> dict[str, str]:
    """What the platform's own pod has in its environment."""
    return {
        str(entry["name"]): str(entry.get("value") or "")
        for each in manifests
        if (each["kind"], each["metadata"]["name"]) == ("Deployment", NAME)
        for container in each["spec"]["template"]["spec"]["containers"]
        for entry in container["env"]
    }


def _selector(labels: Mapping[str, object]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())
