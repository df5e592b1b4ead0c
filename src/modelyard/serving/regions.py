"""System shared memory: POSIX regions that clients on this machine register, read and written in place.

A region is used through its file, never mapped: a client may shrink its region at any time, and touching
mapped memory that is gone would end the process.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.oip.errors import Rejected, shown
from modelyard.oip.regions import Part
from modelyard.serving.errors import Problem

DIRECTORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
MOST_REGIONS = 1024
_KEY = re.compile(r"/?[A-Za-z0-9_.\-]{1,254}")


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a POSIX shared memory object, under the name that its client gave it."""

    name: str
    key: str
    offset: int
    byte_size: int
    fd: int

    def document(self) -> dict[str, str | int]:
        """As the protocol writes it."""
        return {"name": self.name, "key": self.key, "offset": self.offset, "byte_size": self.byte_size}


class SharedRegions:
    """The regions of one front, for all its models; raises Rejected for every mistake of a client."""

    def __init__(self, directory: Path = DIRECTORY, *, offered: bool = True) -> None:
        self._directory = directory
        self.offered = offered
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, *, offset: int, byte_size: int) -> None:
        """Make a part of a shared memory object known by a name; raises Problem 403 where none is offered."""
        if not self.offered:
            raise Problem(
                403,
                "forbidden",
                "shared memory is not offered here: send tensors in the request, or let an administrator set "
                "limits.shared_memory",
            )
        if name in self._regions:
            raise Rejected(
                "name", f"shared memory region '{name}' is registered already: unregister it first"
            )
        if len(self._regions) >= MOST_REGIONS:
            raise Rejected("name", f"{MOST_REGIONS} regions are registered already: unregister some")
        fd = self._opened(key)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or offset + byte_size > status.st_size:
            os.close(fd)
            raise Rejected(
                "byte_size",
                f"offset {offset} and {byte_size} bytes are beyond '{key}', which has {status.st_size}",
            )
        self._regions[name] = Region(name, key, offset, byte_size, fd)

    def status(self, name: str = "") -> Mapping[str, Region]:
        """The region of a name, or all."""
        if not name:
            return dict(self._regions)
        return {name: self._known(name, "name")}

    def unregister(self, name: str = "") -> None:
        """Forget a region, or all; one that is not there is forgotten already."""
        for each in [name] if name else list(self._regions):
            region = self._regions.pop(each, None)
            if region is not None:
                os.close(region.fd)

    # What inference requests need.

    def read(self, part: Part) -> bytes:
        """A copy of the bytes."""
        region = self._checked(part)
        data = os.pread(region.fd, part.size, region.offset + part.offset)
        if len(data) != part.size:
            raise Rejected(
                part.path, f"region '{part.region}' has become smaller than when it was registered"
            )
        return data

    def check(self, part: Part) -> None:
        """Whether the region is there and has these bytes."""
        self._checked(part)

    def write(self, part: Part, data: bytes | bytearray | memoryview) -> None:
        """Put data at the beginning of the part."""
        region = self._checked(part)
        if len(data) > part.size:
            message = f"the output has {len(data)} bytes, its part of region '{part.region}' only {part.size}"
            raise Rejected(part.path, message)
        at = region.offset + part.offset
        if at + len(data) > os.fstat(region.fd).st_size:
            raise Rejected(
                part.path, f"region '{part.region}' has become smaller than when it was registered"
            )
        rest = memoryview(data)
        while rest:
            written = os.pwrite(region.fd, rest, at)
            at, rest = at + written, rest[written:]

    def _checked(self, part: Part) -> Region:
        region = self._known(part.region, part.path)
        if part.offset + part.size > region.byte_size:
            message = f"offset {part.offset} and {part.size} bytes are beyond region '{part.region}'"
            raise Rejected(part.path, f"{message} of {region.byte_size} bytes")
        return region

    def _known(self, name: str, path: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise Rejected(path, f"unable to find shared memory region {shown(name)}: register it first")
        return region

    def _opened(self, key: str) -> int:
        """The file of a key, which is one name within the directory and no link."""
        name = key.removeprefix("/")
        if not _KEY.fullmatch(key) or name in (".", "..") or name.startswith("sem."):
            raise Rejected("key", f"expected the key of a POSIX shared memory object, got {shown(key)}")
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with contextlib.suppress(OSError):
            return os.open(self._directory / name, flags)
        raise Rejected(
            "key", f"unable to open shared memory {shown(key)}: is it there, and may we write to it?"
        )
