"""Looks through HDF5 files for parts that lie in other files, which would be read as if they were weights."""

from __future__ import annotations

import importlib
import zipfile
from typing import Any, List

from modelyard_worker.failures import Failure

DEEPEST = 64
"""Groups inside groups."""


def require_whole(path: str) -> None:
    """Nothing for an HDF5 file, or a zip of such, that holds all its data itself.

    Raises Failure(UnsafeContent) that names the first part that lies elsewhere.
    """
    if not zipfile.is_zipfile(path):
        _check(path)
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".h5"):
                with archive.open(name) as member:
                    _check(member)


def _check(source: Any) -> None:
    library = importlib.import_module("h5py")
    with library.File(source, "r") as file:
        waiting: List[Any] = [(file, 0)]
        while waiting:
            group, depth = waiting.pop()
            for name in group:
                _require_inside(library, group, name)
                item = group.get(name)
                if isinstance(item, library.Group):
                    _require_shallow(depth)
                    waiting.append((item, depth + 1))


def _require_shallow(depth: int) -> None:
    if depth >= DEEPEST:
        raise Failure(
            "UnsafeContent", f"groups lie in one another more than {DEEPEST} deep: save the model again"
        )


def _require_inside(library: Any, group: Any, name: str) -> None:
    place = f"{group.name.rstrip('/')}/{name}"
    outside = isinstance(group.get(name, getlink=True), library.ExternalLink)
    item = None if outside else group.get(name)
    if outside or (isinstance(item, library.Dataset) and (item.external or item.is_virtual)):
        raise Failure(
            "UnsafeContent", f"{place} lies in another file of the machine: save the model again whole"
        )
