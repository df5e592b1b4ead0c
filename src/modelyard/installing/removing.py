"""Taking the platform off a cluster: what goes and what stays is decided first, and then done in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster, Selection
from modelyard.backends.kubernetes.kinds import Kind, Manifest
from modelyard.backends.kubernetes.nodes import class_labels
from modelyard.composing import identity
from modelyard.composing.identity import Claim
from modelyard.domain.errors import Conflict, NotFound, TimedOut
from modelyard.installing import foreign
from modelyard.installing.applying import Say
from modelyard.installing.foundation import DATABASE, INSTALLER, KEYS, NAME

_RELEASE = "meta.helm.sh/release-name"
_CLASSIFIED = "modelyard.dev/classes"
_PLATFORM = "modelyard-platform"
_SYSTEM: tuple[Kind, ...] = (
    kinds.DEPLOYMENT, kinds.HTTP_ROUTE, kinds.GRPC_ROUTE, kinds.REFERENCE_GRANT, kinds.GATEWAY, kinds.SERVICE,
    kinds.POD_DISRUPTION_BUDGET, kinds.NETWORK_POLICY, kinds.ROLE_BINDING, kinds.ROLE, kinds.SERVICE_ACCOUNT,
    kinds.CONFIG_MAP, kinds.SECRET, kinds.PERSISTENT_VOLUME_CLAIM,
)  # fmt: skip
"""What the platform consists of in its own namespace, in the order in which it goes."""
_SERVICES: tuple[Kind, ...] = (
    kinds.CRON_JOB, kinds.JOB, kinds.DEPLOYMENT, kinds.HORIZONTAL_POD_AUTOSCALER, kinds.SERVICE,
    kinds.POD_DISRUPTION_BUDGET, kinds.NETWORK_POLICY, kinds.CONFIG_MAP, kinds.SECRET, kinds.SERVICE_ACCOUNT,
    kinds.ROLE_BINDING, kinds.PERSISTENT_VOLUME_CLAIM,
)  # fmt: skip
"""What services consist of in a namespace that stays for somebody else."""
_OF_THE_CLUSTER = (kinds.CLUSTER_ROLE_BINDING, kinds.CLUSTER_ROLE)
_DATA = frozenset({(kinds.SECRET, KEYS), (kinds.SECRET, DATABASE), (kinds.PERSISTENT_VOLUME_CLAIM, NAME)})
_UNCLASSIFIED: dict[str, object] = {"metadata": {"labels": {**class_labels(frozenset()), _CLASSIFIED: None}}}
_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """How much goes."""

    services: bool = False
    """Every project's services too, and what is there for them."""
    data: bool = False
    """Records, models' files and keys too."""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        """As it is told: `Deployment modelyard-system/modelyard`."""
        return f"{self.kind.name} {self.namespace}/{self.name}" if self.namespace else self.words

    @property
    def words(self) -> str:
        """Without its namespace."""
        return f"{self.kind.name} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """What there is of Modelyard in a cluster."""

    namespace: str
    """The platform's own; empty when it is gone."""
    made: bool = False
    """Whether an installation made it, and not somebody else."""
    platform: tuple[Thing, ...] = ()
    """Objects of the platform, in the order in which they may go."""
    projects: Mapping[str, tuple[Thing, ...]] = field(default_factory=dict)
    """Namespaces of projects, each with the objects of services in it."""
    lent: tuple[Thing, ...] = ()
    """What lets the platform work in projects."""
    priorities: tuple[Thing, ...] = ()
    nodes: tuple[str, ...] = ()
    """Those that were given classes."""
    foreign: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By namespace: objects of others."""
    release: str = ""
    """Of Helm, that brought the platform."""
    beside: tuple[str, ...] = ()
    """Namespaces of other installations in the same cluster, which need what all share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes, in this order, and what stays, in words."""

    first: tuple[Thing, ...] = ()
    """Who writes: nothing else goes before its pods are gone."""
    then: tuple[Thing, ...] = ()
    nodes: tuple[str, ...] = ()
    """Which lose the labels of their classes."""
    namespaces: tuple[str, ...] = ()
    """Which go at last, with all that is left in them."""
    stays: tuple[str, ...] = ()


def plan(present: Present, scope: Scope) -> Plan:
    """What goes and what stays; pure. Raises Conflict for what is Helm's to take away."""
    if present.release:
        raise Conflict(
            f"Helm brought the platform, as the release {present.release}: first "
            f"`helm uninstall {present.release} --namespace {present.namespace}`; "
            "then this command takes away what that leaves"
        )
    platform = [each for each in present.platform if scope.data or (each.kind, each.name) not in _DATA]
    keep_services = not scope.services and any(present.projects.values())
    goes: list[Thing] = [*platform, *present.lent]
    namespaces: list[str] = []
    if scope.services:
        for namespace, things in present.projects.items():
            goes += things
            if namespace != present.namespace and namespace not in present.foreign:
                namespaces.append(namespace)
    if not keep_services and not present.beside:
        goes += present.priorities
    if scope.data and _may_go(present, scope):
        namespaces.append(present.namespace)
    return Plan(
        first=tuple(each for each in goes if _writes(each, present)),
        then=tuple(each for each in goes if not _writes(each, present)),
        nodes=present.nodes if scope.services and not present.beside else (),
        namespaces=tuple(namespaces),
        stays=tuple(_stays(present, scope, keep_services=keep_services)),
    )


def _writes(thing: Thing, present: Present) -> bool:
    """Whether it is the control plane, which would make again what is taken away."""
    return (thing.kind, thing.namespace, thing.name) == (kinds.DEPLOYMENT, present.namespace, NAME)


def _may_go(present: Present, scope: Scope) -> bool:
    """Whether the platform's namespace is nobody else's, and nothing of it stays."""
    mine = present.made and present.namespace not in present.foreign
    return mine and (scope.services or not present.projects.get(present.namespace))


def _stays(present: Present, scope: Scope, *, keep_services: bool) -> Iterator[str]:
    """What is left, each with what takes it away."""
    for each in present.platform:
        if not scope.data and (each.kind, each.name) in _DATA:
            yield f"{each}: records and keys, with which another installation goes on; --data takes it away"
    yield from () if scope.services else _going_on(present)
    if keep_services and present.priorities:
        yield "the priority classes of running services, without which no new pod of them starts; --all"
    for other in present.beside:
        yield (
            f"another Modelyard, in the namespace {other}, with its projects, and what all share: priority "
            "classes and the classes of nodes"
        )
    gone = {*(present.projects if scope.services else ()), *([present.namespace] if scope.data else ())}
    for namespace in sorted(gone & present.foreign.keys()):
        others = present.foreign[namespace]
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        yield f"namespace {namespace}, for what others have in it: {', '.join(others[:3])}{more}"
    if scope.data and present.namespace and not present.made:
        yield f"namespace {present.namespace}, which no installation made"
    yield "the cluster's own parts, such as the Gateway API's CRDs and volumes that their class retains"


def _going_on(present: Present) -> Iterator[str]:
    """Namespaces of projects that stay."""
    for namespace, things in present.projects.items():
        count = sum(each.kind == kinds.DEPLOYMENT for each in things)
        if count:
            yield f"namespace {namespace} with {count} revisions of services, which go on; --all ends them"
        else:
            yield f"namespace {namespace}, in which nothing runs; --all takes it away"


async def present(cluster: Cluster, namespace: str = "") -> Present:
    """Look at everything of Modelyard in the cluster. Raises NotFound when there is nothing."""
    namespace = await _where(cluster, namespace)
    system = await _get(cluster, kinds.NAMESPACE, namespace)
    labels = f"{names.MANAGED_BY} in ({INSTALLER},{names.MANAGER})"
    platform: list[Thing] = []
    own: list[Thing] = []
    release = ""
    for kind in _SYSTEM if system else ():
        for each in await _list(cluster, kind, labels, namespace):
            release = release or _helms(kind, each)
            (own if names.PROJECT in (each["metadata"].get("labels") or {}) else platform).append(
                _thing(kind, each)
            )
    if system and await _get(cluster, kinds.LEASE, NAME, namespace):
        platform.append(Thing(kinds.LEASE, namespace, NAME))
    installed = f"{names.MANAGED_BY}={INSTALLER}"
    for kind in _OF_THE_CLUSTER:
        found = await _list(cluster, kind, installed)
        platform += [_thing(kind, each) for each in found if not each["metadata"].get("deletionTimestamp")]
    beside = tuple(each for each in await identity.everywhere(cluster) if each.namespace != namespace)
    projects, lent = await _projects(cluster, beside)
    if own:
        projects[namespace] = tuple(own)
    classes = [_thing(kinds.PRIORITY_CLASS, e) for e in await _list(cluster, kinds.PRIORITY_CLASS, installed)]
    nodes = [str(each["metadata"]["name"]) for each in await _list(cluster, kinds.NODE, _CLASSIFIED)]
    if not (platform or projects or classes):
        raise NotFound(f"there is nothing of Modelyard in the cluster at {cluster.access.server}")
    return Present(
        namespace=namespace if system else "",
        # A platform outside of the cluster makes it itself, to say in it that it is its.
        made=system is not None and _label(system, names.MANAGED_BY) in (INSTALLER, names.MANAGER),
        platform=tuple(platform),
        projects=projects,
        lent=lent,
        priorities=tuple(classes),
        nodes=tuple(nodes),
        foreign=await foreign.within(cluster, {*projects, *([namespace] if system else ())}),
        release=release,
        beside=tuple(each.namespace for each in beside),
    )


async def remove(cluster: Cluster, wanted: Plan, *, say: Say, timeout_seconds: float) -> None:
    """Do what was planned. Raises TimedOut that names what does not go; the same command goes on."""
    try:
        async with asyncio.timeout(timeout_seconds):
            await _delete(cluster, wanted.first, say)
            await _until_gone(cluster, wanted.first)
            await _delete(cluster, wanted.then, say)
            for node in wanted.nodes:
                await cluster.patch(kinds.NODE, node, _UNCLASSIFIED, manager="modelyard-nodes")
                say(f"labels of Node {node}")
            last = [Thing(kinds.NAMESPACE, "", namespace) for namespace in wanted.namespaces]
            await _delete(cluster, last, say)
            for each in last:
                await _until_away(cluster, each)
    except TimeoutError:
        left = [each for each in (*wanted.first, *wanted.then) if await _is_there(cluster, each)]
        left += [t for n in wanted.namespaces if await _is_there(cluster, t := Thing(kinds.NAMESPACE, "", n))]
        raise TimedOut(
            f"not gone after {timeout_seconds:g} s: {', '.join(map(str, left)) or 'pods of the platform'}; "
            "see what holds it with `kubectl get -o yaml` (finalizers, status.conditions); the same command "
            "goes on"
        ) from None


async def _where(cluster: Cluster, said: str) -> str:
    """The platform's namespace: where its account is, unless somebody says. Raises Conflict for another."""
    binding = await _get(cluster, kinds.CLUSTER_ROLE_BINDING, _PLATFORM)
    known = str(((binding or {}).get("subjects") or [{}])[0].get("namespace") or "")
    if known and said and known != said:
        raise Conflict(f"the platform is in the namespace {known}, not in {said}; leave out --namespace")
    return known or said or "modelyard-system"


async def _projects(
    cluster: Cluster, beside: Iterable[Claim]
) -> tuple[dict[str, tuple[Thing, ...]], tuple[Thing, ...]]:
    """Projects' namespaces with what is in them, and what lets the platform in; not those of others."""
    labels = f"{names.MANAGED_BY}={names.MANAGER}"
    known: list[str] = []
    for each in await _list(cluster, kinds.NAMESPACE, f"{labels},{names.PROJECT}"):
        name, project = str(each["metadata"]["name"]), _label(each, names.PROJECT)
        if not each["metadata"].get("deletionTimestamp") and not any(o.has(project, name) for o in beside):
            known.append(name)
    found: dict[str, list[Thing]] = {name: [] for name in sorted(known)}
    lent: list[Thing] = []
    for kind in (*_SERVICES, kinds.REFERENCE_GRANT):
        for each in await _list(cluster, kind, labels):
            namespace = str(each["metadata"].get("namespace") or "")
            if namespace not in found:
                continue
            ours = kind == kinds.REFERENCE_GRANT or each["metadata"]["name"] == _PLATFORM
            (lent if ours else found[namespace]).append(_thing(kind, each))
    return {name: tuple(things) for name, things in found.items()}, tuple(lent)


async def _delete(cluster: Cluster, things: Iterable[Thing], say: Say) -> None:
    for each in things:
        await cluster.delete(each.kind, each.name, namespace=each.namespace)
        say(str(each))


async def _until_gone(cluster: Cluster, deployments: Iterable[Thing]) -> None:
    """Wait until these are gone with their pods."""
    for each in deployments:
        await _until_away(cluster, each)
        labels = f"app.kubernetes.io/name={NAME},app.kubernetes.io/component=control-plane"
        await _until(partial(_no_pods, cluster, labels, each.namespace))


async def _until_away(cluster: Cluster, thing: Thing) -> None:
    await _until(partial(_is_away, cluster, thing))


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if await holds():
            return
        await asyncio.sleep(_PAUSE_SECONDS)


async def _no_pods(cluster: Cluster, labels: str, namespace: str) -> bool:
    return not await _list(cluster, kinds.POD, labels, namespace)


async def _is_away(cluster: Cluster, thing: Thing) -> bool:
    return not await _is_there(cluster, thing)


async def _is_there(cluster: Cluster, thing: Thing) -> bool:
    return await _get(cluster, thing.kind, thing.name, thing.namespace) is not None


async def _get(cluster: Cluster, kind: Kind, name: str, namespace: str = "") -> Manifest | None:
    try:
        return await cluster.get(kind, name, namespace=namespace)
    except NotFound:
        return None


async def _list(cluster: Cluster, kind: Kind, labels: str, namespace: str = "") -> tuple[Manifest, ...]:
    """All of a kind, without their contents; nothing where the cluster does not know it."""
    try:
        wanted = Selection(kind=kind, namespace=namespace, labels=labels, metadata_only=True)
        return (await cluster.listing(wanted)).items
    except NotFound:
        return ()


def _thing(kind: Kind, manifest: Manifest) -> Thing:
    return Thing(kind, *kinds.place(manifest))


def _label(manifest: Manifest, name: str) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(name) or "")


def _helms(kind: Kind, manifest: Manifest) -> str:
    """The release that brought the platform's Deployment; what Helm kept is nobody's any more."""
    if kind != kinds.DEPLOYMENT:
        return ""
    return str((manifest["metadata"].get("annotations") or {}).get(_RELEASE) or "")
