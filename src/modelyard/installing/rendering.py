"""The manifests of the platform itself: one list of documents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from modelyard.backends.kubernetes import priorities
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.backends.kubernetes.priorities import Rung
from modelyard.installing import checks, control_plane, foundation, routers, values, writing
from modelyard.installing.tree import Condition, Given, Tree, filled, holds
from modelyard.installing.values import Values

_ROUTERS: Condition = Given("routers.count")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One manifest with holes, in the order of applying."""

    name: str
    """Of its file in the chart."""
    tree: Tree
    condition: Condition | None = None
    """When it is there; None is always."""
    chart: bool = True
    """Whether the chart has it; the namespace is made by Helm."""


def documents() -> tuple[Document, ...]:
    """Everything that the platform consists of."""
    return (
        Document(name="namespace", tree=foundation.namespace(), chart=False),
        *(Document(name=_file_of(rung), tree=foundation.priority_class(rung)) for rung in priorities.LADDER),
        Document(name="service-account", tree=foundation.account()),
        Document(name="cluster-role", tree=foundation.reader_role()),
        Document(name="cluster-role-tenant", tree=foundation.tenant_role()),
        Document(name="cluster-role-binding", tree=foundation.reader_binding()),
        Document(name="role", tree=foundation.own_role()),
        Document(name="role-binding", tree=foundation.own_binding()),
        Document(name="database", tree=foundation.database_secret(), condition=Given("database.url")),
        Document(name="volume", tree=foundation.volume_claim()),
        Document(name="network-policy", tree=foundation.network_policy(), condition=Given("network_policy")),
        Document(name="service", tree=control_plane.service()),
        Document(name="door", tree=control_plane.door()),
        Document(name="router-service", tree=control_plane.routing()),
        Document(name="deployment", tree=control_plane.deployment()),
        Document(name="budget", tree=control_plane.budget(), condition=control_plane.SEVERAL),
        Document(name="router-service-account", tree=routers.account(), condition=_ROUTERS),
        Document(name="router-budget", tree=routers.budget(), condition=_ROUTERS),
        Document(name="router-deployment", tree=routers.deployment(), condition=_ROUTERS),
    )


def manifests(chosen: Values) -> tuple[Manifest, ...]:
    """What is to be applied, in this order. Raises Invalid for values that contradict one another."""
    plain = values.plain(chosen)
    checks.require(chosen, control_plane.settings_written(plain))
    return tuple(
        filled(each.tree, plain)
        for each in documents()
        if each.condition is None or holds(each.condition, plain)
    )


def render(files: Iterable[Path], assignments: Iterable[str]) -> str:
    """The manifests for values of files and words, as YAML. Raises Invalid for wrong values."""
    return as_yaml(manifests(values.load(files, assignments)))


def as_yaml(objects: tuple[Manifest, ...]) -> str:
    """Manifests as one file."""
    return writing.documents(objects)


def _file_of(rung: Rung) -> str:
    return f"priority-{rung.name.removeprefix('modelyard-')}"
