"""Whose namespaces of a cluster these are: a ConfigMap says so, and no other installation starts on them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import NoReturn

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.refusals import Exists
from modelyard.domain.errors import Conflict, Forbidden, NotFound

NAME = "modelyard-installation"
_PREFIX = "namespace_prefix"
_ONCE_GONE = "once that one is gone for good,"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That an installation has a namespace for the platform, and a prefix of those of projects."""

    id: str
    """Kept in the database: whoever has the same one is the same installation."""
    namespace: str
    prefix: str
    since: str
    """When the first of its control planes started."""
    by: str
    """Which that was."""

    def has(self, project: str, namespace: str) -> bool:
        """Whether it is where this installation's project of that name lives."""
        return names.namespace(project, prefix=self.prefix, system=self.namespace) == namespace

    def __str__(self) -> str:
        """As people are told: `installation 1f6e… since 2026-03-01T08:00:00+00:00, first started as …`."""
        since, by = self.since or "an unknown time", self.by or "somebody unknown"
        return f"installation {self.id or 'unknown'}, since {since}, first started as {by}"


async def require(cluster: Cluster, wanted: Claim) -> None:
    """Go on only where these namespaces are this installation's; those that are nobody's become it.

    Raises Conflict that says whose they are, Forbidden where the credentials do not let it find out.
    """
    try:
        found = await _said(cluster, wanted.namespace)
        if found is None:
            await _require_prefix(cluster, wanted)
            found = await _said_first(cluster, wanted)
        elif found.id == wanted.id and found.prefix != wanted.prefix:
            await _require_prefix(cluster, wanted)
            patch: dict[str, object] = {"data": {_PREFIX: wanted.prefix}}
            await cluster.patch(kinds.CONFIG_MAP, NAME, patch, namespace=wanted.namespace)
    except Forbidden as error:
        raise Forbidden(
            f"the ConfigMap {wanted.namespace}/{NAME} says whose services these are, and can be neither read "
            f"nor made with these credentials ({error.message}); where the platform is installed, "
            "`modelyard install kubernetes` or `helm upgrade` brings the right"
        ) from None
    if found.id != wanted.id:
        _refuse_namespace(cluster, found)


async def everywhere(cluster: Cluster) -> tuple[Claim, ...]:
    """Every installation that says that it has namespaces of the cluster."""
    found = await cluster.list(kinds.CONFIG_MAP, fields=f"metadata.name={NAME}")
    return tuple(map(_claim, found.items))


def config_map(claim: Claim) -> kinds.Manifest:
    """What says so in the cluster."""
    return {
        "apiVersion": "v1",
        "kind": kinds.CONFIG_MAP.name,
        "metadata": {
            "name": NAME,
            "namespace": claim.namespace,
            "labels": {names.MANAGED_BY: names.MANAGER},
        },
        "data": {"id": claim.id, _PREFIX: claim.prefix, "since": claim.since, "by": claim.by},
    }


async def _said(cluster: Cluster, namespace: str) -> Claim | None:
    """Who has a namespace; None when nobody has."""
    try:
        return _claim(await cluster.get(kinds.CONFIG_MAP, NAME, namespace=namespace))
    except NotFound:
        return None


async def _said_first(cluster: Cluster, wanted: Claim) -> Claim:
    """Say that a namespace is this one's; whose it is, which is another's that was quicker."""
    try:
        return await _made(cluster, wanted)
    except NotFound:
        # Where the platform runs outside of the cluster, nobody made the namespace for it.
        labels = {names.MANAGED_BY: names.MANAGER}
        metadata = {"name": wanted.namespace, "labels": labels}
        with contextlib.suppress(Exists):
            await cluster.create({"apiVersion": "v1", "kind": kinds.NAMESPACE.name, "metadata": metadata})
        return await _made(cluster, wanted)


async def _made(cluster: Cluster, wanted: Claim) -> Claim:
    try:
        return _claim(await cluster.create(config_map(wanted)))
    except Exists:
        return _claim(await cluster.get(kinds.CONFIG_MAP, NAME, namespace=wanted.namespace))


async def _require_prefix(cluster: Cluster, wanted: Claim) -> None:
    """Raise Conflict where projects of another installation would live in the same namespaces.

    It is looked for only before the namespaces are this one's: whoever may write a ConfigMap somewhere could
    keep a platform from starting again otherwise.
    """
    for other in await everywhere(cluster):
        if other.id != wanted.id and other.prefix == wanted.prefix:
            raise Conflict(
                f"kubernetes.namespace_prefix: the namespaces {wanted.prefix}-PROJECT of the cluster at "
                f"{cluster.access.server} are those of another Modelyard, in the namespace "
                f"{other.namespace} ({other}); set another prefix for this one, or, {_ONCE_GONE} "
                f"{_command(cluster, other)}"
            )


def _refuse_namespace(cluster: Cluster, found: Claim) -> NoReturn:
    raise Conflict(
        f"the namespace {found.namespace} of the cluster at {cluster.access.server} is another Modelyard's "
        f"({found}), whose services this one would end, as its own database does not know them; to run "
        "beside it, set both kubernetes.system_namespace and kubernetes.namespace_prefix to other names; to "
        "go on with its services, use its database (store.url, or a backup of its data directory); to take "
        f"its namespaces over and end its services, {_ONCE_GONE} {_command(cluster, found)}"
    )


def _command(cluster: Cluster, found: Claim) -> str:
    """What deletes another installation's ConfigMap."""
    access = cluster.access
    context = f"--context {access.context} " if access.context and not access.inside else ""
    return f"`kubectl {context}delete configmap {NAME} --namespace {found.namespace}`"


def _claim(manifest: kinds.Manifest) -> Claim:
    data = manifest.get("data") or {}
    return Claim(
        id=str(data.get("id") or ""),
        namespace=str(manifest["metadata"]["namespace"]),
        prefix=str(data.get(_PREFIX) or ""),
        since=str(data.get("since") or ""),
        by=str(data.get("by") or ""),
    )
