"""The platform lets itself into each project's namespace, and has no rights in any other."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from modelyard.backends.kubernetes import kinds, names
from modelyard.backends.kubernetes.client.cluster import Cluster, Listing, Selection
from modelyard.backends.kubernetes.kinds import Manifest
from modelyard.domain.errors import ModelyardError

ROLE = "modelyard-tenant-manager"
"""ClusterRole with what the platform needs in a project's namespace; the installation brings it."""
_OF_PROJECTS = (kinds.SECRET, kinds.RESOURCE_CLAIM_TEMPLATE)
_LOOKS, _LOOK_SECONDS = 50, 0.2


class Tenancy(Cluster):
    """A cluster where a project's namespace comes with the platform's rights in it."""

    account: tuple[str, str] | None = None
    """Namespace and name of the platform's ServiceAccount; None where nobody needs to be let in."""

    async def apply(self, manifest: Manifest, **how: Any) -> Manifest:
        """As ever; a project's namespace is not answered before the platform may work in it."""
        applied = await super().apply(manifest, **how)
        labels = manifest["metadata"].get("labels") or {}
        if self.account and manifest.get("kind") == kinds.NAMESPACE.name and names.PROJECT in labels:
            await self.enter(str(manifest["metadata"]["name"]))
        return applied

    async def listing(self, wanted: Selection) -> Listing:
        """As ever; some kinds are listed project by project, as those of others are not ours to read."""
        if not self.account or wanted.namespace or wanted.kind not in _OF_PROJECTS:
            return await super().listing(wanted)
        found = await self._projects()
        pages = [await super(Tenancy, self).listing(replace(wanted, namespace=each)) for each in found]
        return Listing(tuple(item for page in pages for item in page.items), "")

    async def _projects(self) -> list[str]:
        """Every project's namespace that stays."""
        wanted = f"{names.MANAGED_BY}={names.MANAGER},{names.PROJECT}"
        found = await self.list(kinds.NAMESPACE, labels=wanted)
        stay = [each for each in found.items if not each["metadata"].get("deletionTimestamp")]
        return [str(each["metadata"]["name"]) for each in stay]

    async def enter_all(self) -> None:
        """Be let into every project's namespace that there is, also where an earlier try died half-way."""
        for namespace in await self._projects() if self.account else ():
            await self.enter(namespace)

    async def enter(self, namespace: str) -> None:
        """Bind the role, and wait until the cluster works by it, which takes it a moment."""
        assert self.account is not None  # noqa: S101 - asked by both callers
        await super().apply(binding(namespace, *self.account))
        for _ in range(_LOOKS):
            if await self._may_work_in(namespace):
                return
            await asyncio.sleep(_LOOK_SECONDS)

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
            "name": "modelyard-platform",
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.MANAGER},
        },
        "roleRef": {"apiGroup": kinds.ROLE_BINDING.group, "kind": "ClusterRole", "name": ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": system}],
    }
