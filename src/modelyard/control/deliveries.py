"""What pods may fetch and store: a token for each file, derived and nowhere kept.

`mya_SCOPE.MAC`: the scope says who may and until when, and the code under the platform's key binds it to one
checksum. A token of a revision is good while the revision is remembered; one of a task expires.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.artifacts import Artifacts, Bounds, files
from modelyard.backends.delivery import Grant, Tree
from modelyard.control.platform import Platform
from modelyard.domain.deployment import Key
from modelyard.domain.errors import Invalid, NotFound, Refused, Unauthenticated
from modelyard.domain.model import File
from modelyard.domain.ranges import Span
from modelyard.store import revisions

PREFIX = "mya_"
LONGEST_SECONDS = 3600.0
"""How long a task may be lent files: no sweep takes what nobody has recorded in that time."""
_STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Couriers:
    """Lends the files of one store; implements the backends' Courier."""

    artifacts: Artifacts
    master_key: bytes = field(repr=False)
    clock: Callable[[], float]
    new_id: Callable[[], str]
    base: str
    """Where pods reach the artifacts, such as `http://modelyard.modelyard-system:8081/api/v1/artifacts`."""

    def for_revision(self, key: Key, revision: int, files: Sequence[File]) -> Mapping[str, str]:
        """What opens each file to the pods of a revision, by SHA-256."""
        scope = {"key": str(key), "revision": revision}
        return {file.sha256: token(self.master_key, scope, file.sha256) for file in files}

    async def for_task(self, trees: Sequence[Tree], *, seconds: float, takes_bytes: int = 0) -> Grant:
        """Store what is not stored yet, and lend it for so many seconds; raises Invalid above an hour."""
        if not 0 < seconds <= LONGEST_SECONDS:
            raise Invalid(f"seconds: a task is lent files for at most {LONGEST_SECONDS:.0f} seconds")
        lent: list[File] = []
        for tree in trees:
            await self._store(tree)
            lent += [
                File(path=f"{tree.prefix}{file.path}", size=file.size, sha256=file.sha256)
                for file in tree.files
            ]
        until = round(self.clock() + seconds)
        scope = {"task": self.new_id(), "until": until}
        stores = {**scope, "takes": takes_bytes}
        return Grant(
            base=self.base,
            files=tuple(lent),
            tokens={file.sha256: token(self.master_key, scope, file.sha256) for file in lent},
            store_token=token(self.master_key, stores, _STORE) if takes_bytes > 0 else "",
        )

    async def collect(self, files: Sequence[File], into: Path) -> None:
        """Write what a task stored into a directory; raises Refused for what is not there or differs."""
        await write(self.artifacts, files, into)

    async def _store(self, tree: Tree) -> None:
        missing = [file for file in tree.files if await self.artifacts.size(file.sha256) != file.size]
        if not missing:
            return
        async with self.artifacts.upload(bounds=Bounds()) as upload:
            for file in missing:
                if await upload.add(file.path, files.chunks(tree.path / file.path)) != file:
                    raise Refused(f"file `{file.path}` was changed while it was being lent; try again")
            await upload.commit()


def token(master_key: bytes, scope: Mapping[str, Any], subject: str) -> str:
    """What opens one file, or the store, to whom the scope names."""
    words = json.dumps(scope, sort_keys=True, separators=(",", ":")).encode()
    return _token(master_key, words, subject)


def opens(master_key: bytes, secret: str, subject: str, *, now: float) -> Mapping[str, Any]:
    """The scope of a token, if it is for this; raises Unauthenticated."""
    try:
        plain = _decoded(secret.removeprefix(PREFIX).partition(".")[0])
    except ValueError:
        plain = b""
    if not hmac.compare_digest(secret.encode(errors="replace"), _token(master_key, plain, subject).encode()):
        raise Unauthenticated(
            "the token does not open this file; it is made by the platform for one file only"
        )
    scope: dict[str, Any] = json.loads(plain)
    if "until" in scope and scope["until"] <= now:
        raise Unauthenticated("the token has expired: the task that it was made for had its time")
    return scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """A file that a pod may have."""

    file: File
    is_for_task: bool
    """Whether its pod tries a model: such pods reach the platform, and nobody else."""


async def lent(platform: Platform, secret: str, sha256: str) -> Lent:
    """The file that a pod asks for with a token; raises Unauthenticated, NotFound."""
    scope = opens(platform.master_key, secret, sha256, now=platform.clock())
    if "revision" in scope:
        key = Key.parse(scope["key"])
        async with platform.database.read() as tx:
            revision = await revisions.get(tx, key, scope["revision"])
        if revision is None:
            raise NotFound(f"{key} has no revision {scope['revision']} any more, so nobody needs its files")
    size = await platform.artifacts.size(sha256)
    if size is None:
        raise NotFound(f"ArtifactNotFound: no file with sha256 {sha256} is stored; publish the model again")
    return Lent(file=File(path=sha256, size=size, sha256=sha256), is_for_task="task" in scope)


async def take(
    platform: Platform, secret: str, sha256: str, body: AsyncIterator[bytes], *, announced: int
) -> File:
    """Store what a task made; raises Unauthenticated, TooLarge, Invalid when it is not what it says."""
    scope = opens(platform.master_key, secret, _STORE, now=platform.clock())
    platform.carried.count(scope, announced, now=platform.clock())
    async with platform.artifacts.upload(bounds=Bounds(max_bytes=announced, max_files=1)) as upload:
        file = await upload.add("result", body)
        if file.sha256 != sha256 or file.size != announced:
            raise Invalid(f"sha256: the body has {file.sha256} and {file.size} bytes; send it again")
        await upload.commit()
    platform.carried.stored_bytes += file.size
    return File(path=sha256, size=file.size, sha256=sha256)


async def sent(platform: Platform, file: File, span: Span | None) -> AsyncIterator[bytes]:
    """A file's bytes, or some of them, counted; raises Refused before the end of a damaged whole."""
    read = platform.artifacts.read_range
    chunks = read(file, span.start, span.end) if span else platform.artifacts.read(file)
    try:
        async for data in chunks:
            platform.carried.sent_bytes += len(data)
            yield data
    except Refused:
        platform.carried.damaged += 1
        raise


async def write(artifacts: Artifacts, wanted: Sequence[File], into: Path) -> None:
    """Write stored files into a directory, checked; raises Refused for what is missing or damaged."""
    for file in wanted:
        await files.write(into, file.path, artifacts.read(file))


def _token(master_key: bytes, scope: bytes, subject: str) -> str:
    words = b"artifact\0" + scope + b"\0" + subject.encode()
    mac = hmac.new(master_key, words, hashlib.sha256).digest()
    return f"{PREFIX}{_coded(scope)}.{_coded(mac)}"


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
