"""The platform lets itself into each project's namespace, and has no rights in any other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster, Listing, Selection
from modelyard.backends.kubernetes.client.refusals import Terminating
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import Conflict, Forbidden, Invalid, ModelyardError, NotFound

log = logging.getLogger(__name__)

ROLE = "modelyard-tenant-manager"
"""ClusterRole with what the platform needs in a project's namespace; the installation brings it."""
_BINDING = "modelyard-platform"
_OF_PROJECTS = (kinds.SECRET, kinds.RESOURCE_CLAIM_TEMPLATE)
_LOOKS, _LOOK_SECONDS = 50, 0.2
_OF_ONE = (Conflict, Forbidden, Invalid, NotFound, Terminating)
"""How one namespace is refused, while the cluster answers for the others."""


class Tenancy(Cluster):
    """A cluster where a project's namespace comes with the platform's rights in it."""

    account: tuple[str, str] | None = None
    """Namespace and name of the platform's ServiceAccount; None where nobody needs to be let in."""
    home: Callable[[str], str] | None = None
    """Where a project lives: others with our labels are of another installation. None: all are ours."""

    async def apply(self, manifest: Manifest, **how: Any) -> Manifest:
        """As ever; a project's namespace is not answered before the platform may work in it.

        Rights in such a namespace that somebody took away are put back.
        """
        try:
            applied = await super().apply(manifest, **how)
        except Forbidden:
            if not await self._is_shut_out(manifest):
                raise
            await self.enter(str(manifest["metadata"]["namespace"]))
            applied = await super().apply(manifest, **how)
        labels = manifest["metadata"].get("labels") or {}
        if self.account and manifest.get("kind") == kinds.NAMESPACE.name and names.PROJECT in labels:
            await self.enter(str(manifest["metadata"]["name"]))
        return applied

    async def listing(self, wanted: Selection) -> Listing:
        """As ever; some kinds are listed project by project, as those of others are not ours to read."""
        if not self.account or wanted.namespace or wanted.kind not in _OF_PROJECTS:
            return await super().listing(wanted)
        found = [await self._within(replace(wanted, namespace=each)) for each in await self._projects()]
        return Listing(tuple(item for items in found for item in items), "")

    async def _within(self, wanted: Selection) -> tuple[Manifest, ...]:
        """What there is in one project's namespace; nothing, and a warning, where nobody gets in."""
        try:
            return (await super().listing(wanted)).items
        except Forbidden:
            if not await self._let_in(wanted.namespace):
                return ()
        try:
            return (await super().listing(wanted)).items
        except Forbidden as error:
            _warn(wanted.namespace, error)
            return ()

    async def _projects(self) -> list[str]:
        """Every project's namespace that is ours and stays."""
        wanted = f"{names.MANAGED_BY}={names.MANAGER},{names.PROJECT}"
        found = await self.list(kinds.NAMESPACE, labels=wanted)
        stay = [each["metadata"] for each in found.items if not each["metadata"].get("deletionTimestamp")]
        return [
            str(each["name"]) for each in stay if self._lives(each["labels"][names.PROJECT], each["name"])
        ]

    def _lives(self, project: str, namespace: str) -> bool:
        return self.home is None or self.home(project) == namespace

    async def enter_all(self) -> None:
        """Be let into every project's namespace that there is, also where an earlier try died half-way.

        One that lets nobody in is said, and keeps the platform from nothing in the others.
        """
        for namespace in await self._projects() if self.account else ():
            await self._let_in(namespace)

    async def _let_in(self, namespace: str) -> bool:
        """Whether the platform was let in; otherwise it is said why not."""
        try:
            await self.enter(namespace)
        except _OF_ONE as error:
            _warn(namespace, error)
            return False
        return True

    async def enter(self, namespace: str) -> None:
        """Bind the role, and wait until the cluster works by it, which takes it a moment."""
        assert self.account is not None  # noqa: S101 - asked by all callers
        await super().apply(binding(namespace, *self.account))
        for _ in range(_LOOKS):
            if await self._may_work_in(namespace):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _is_shut_out(self, manifest: Manifest) -> bool:
        """Whether an object belongs into a project's namespace in which nothing binds the role any more."""
        metadata = manifest["metadata"]
        namespace, project = metadata.get("namespace"), (metadata.get("labels") or {}).get(names.PROJECT)
        if not (self.account and namespace and project and self._lives(project, namespace)):
            return False
        try:
            await self.get(kinds.ROLE_BINDING, _BINDING, namespace=namespace)
        except NotFound:
            return True
        return False

    async def _may_work_in(self, namespace: str) -> bool:
        attributes = {"namespace": namespace, "group": "apps", "resource": "deployments", "verb": "create"}
        review = {
            "apiVersion": kinds.SELF_SUBJECT_ACCESS_REVIEW.api_version,
            "kind": kinds.SELF_SUBJECT_ACCESS_REVIEW.name,
            "metadata": {},
            "spec": {"resourceAttributes": attributes},
        }
        try:
            answer = await self.create(review)
        except ModelyardError:
            return True  # who cannot be asked is found out by trying
        return bool((answer.get("status") or {}).get("allowed", True))


def binding(namespace: str, system: str, account: str) -> Manifest:
    """The platform's rights in a project's namespace."""
    return {
        "apiVersion": kinds.ROLE_BINDING.api_version,
        "kind": kinds.ROLE_BINDING.name,
        "metadata": {
            "name": _BINDING,
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER},
        },
        "roleRef": {"apiGroup": kinds.ROLE_BINDING.group, "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": system}],
    }


def _warn(namespace: str, error: ModelyardError) -> None:
    log.warning(
        "the platform is not let into the namespace %s, which is left as it is: %s; what its account needs "
        "there is a RoleBinding %s to the ClusterRole %s", namespace, error.message, _BINDING, ROLE,
    )  # fmt: skip
