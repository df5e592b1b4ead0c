"""One cluster: everything that is asked of its API server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modelyard.backends.base import Shell, Terminal
from modelyard.backends.kubernetes.client.config import Access
from modelyard.backends.kubernetes.kinds import Kind, Manifest

Merge = Literal["merge", "json", "strategic"]
Patch = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects of a kind, and the version as of which they are."""

    items: tuple[Manifest, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to an object."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`."""
    object: Manifest


class Cluster:
    """Talks to one API server; all calls share one queue, so that the server is never flooded."""

    def __init__(self, access: Access) -> None:
        raise NotImplementedError

    async def get(self, kind: Kind, name: str, *, namespace: str = "", subresource: str = "") -> Manifest:
        """One object; raises NotFound."""
        raise NotImplementedError

    async def list(self, kind: Kind, *, namespace: str = "", labels: str = "", fields: str = "") -> Listing:
        """All objects that fit, however many pages they are."""
        raise NotImplementedError

    async def apply(
        self,
        manifest: Manifest,
        *,
        manager: str = "modelyard",
        force: bool = True,
        dry_run: bool = False,
        subresource: str = "",
    ) -> Manifest:
        """Make these fields so, and own them (server-side apply, strict about unknown fields)."""
        raise NotImplementedError

    async def create(
        self, manifest: Manifest, *, manager: str = "modelyard", dry_run: bool = False
    ) -> Manifest:
        """Make a new object; raises Exists. One that an unanswered try of ours made is a success."""
        raise NotImplementedError

    async def replace(
        self, manifest: Manifest, *, manager: str = "modelyard", subresource: str = ""
    ) -> Manifest:
        """Put this in the place of the object; with `metadata.resourceVersion`, only of that version (Conflict)."""
        raise NotImplementedError

    async def patch(  # noqa: PLR0913 - as the API has it
        self,
        kind: Kind,
        name: str,
        patch: Patch,
        *,
        namespace: str = "",
        merge: Merge = "merge",
        subresource: str = "",
        resource_version: str = "",
        manager: str = "modelyard",
    ) -> Manifest:
        """Change some fields; with a version, only of that version (Conflict)."""
        raise NotImplementedError

    async def delete(  # noqa: PLR0913 - as the API has it
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: str = "Background",
        grace_seconds: int | None = None,
    ) -> None:
        """Delete an object; one that is not there is a success, one of another uid or version is a Conflict."""
        raise NotImplementedError

    def watch(
        self,
        kind: Kind,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[Event]:
        """What happens after a version, until the server ends it; raises Gone, Unavailable."""
        raise NotImplementedError

    def logs(  # noqa: PLR0913 - as the API has it
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        previous: bool = False,
    ) -> AsyncIterator[str]:
        """The lines a container wrote, each behind its time stamp and a space; `since` is such a time stamp."""
        raise NotImplementedError

    async def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str = "",
        terminal: Terminal | None = None,
        stdin: bool = True,
    ) -> Shell:
        """Run a command in a pod's container; on a terminal of this size, or with its outputs apart."""
        raise NotImplementedError

    async def version(self) -> tuple[int, int]:
        """Such as `(1, 37)`."""
        raise NotImplementedError

    async def resources(self) -> frozenset[str]:
        """What is served, as `group/version/plural` (`v1/pods` in the core group)."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of all connections."""
        raise NotImplementedError
