"""Removing what dead processes and deleted versions left in an artifact directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from modelyard.artifacts import disk, paths

TREES, STAGING = "trees", "staging"
FILES, MANIFEST, LOCK = "files", "manifest.json", "lock"
GRACE_SECONDS = 3600.0
"""How long a file may be in the store before any version names it."""


def sweep(root: Path, in_use: frozenset[str], now: float) -> int:
    """Remove dead uploads, and unused files and trees older than the grace; returns how many."""
    if not root.is_dir():
        return 0
    with disk.locked(root / LOCK, exclusive=True):
        removed = sum(_sweep_staging(place) for place in _entries(root / STAGING))
        removed += sum(_sweep_tree(home, in_use, now) for home in _entries(root / TREES))
        for folder in _entries(root / paths.BLOBS):
            removed += sum(_sweep_blob(blob, in_use, now) for blob in _entries(folder))
    return removed


def contents(root: Path) -> frozenset[str]:
    """The checksums of all stored files."""
    return frozenset(blob.name for folder in _entries(root / paths.BLOBS) for blob in _entries(folder))


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _sweep_staging(place: Path) -> int:
    if not place.is_dir():
        place.unlink(missing_ok=True)
        return 1
    with disk.locked(place / LOCK, exclusive=True, wait=False) as dead:
        if dead:
            disk.remove_tree(place)
    return int(dead)


def _sweep_tree(home: Path, in_use: frozenset[str], now: float) -> int:
    if not _old(home, now):
        return 0
    try:
        held = frozenset(map(str, json.loads((home / MANIFEST).read_text())))
    except (OSError, ValueError, TypeError):
        held = frozenset({""})
    if held <= in_use:
        return 0
    doomed = home.parent.parent / STAGING / f"old-{home.name}"
    disk.make_directory(doomed.parent)
    os.rename(home, doomed)
    disk.remove_tree(doomed)
    return 1


def _sweep_blob(blob: Path, in_use: frozenset[str], now: float) -> int:
    if blob.name in in_use or not _old(blob, now):
        return 0
    blob.unlink(missing_ok=True)
    return 1


def _old(path: Path, now: float) -> bool:
    return now - path.stat().st_mtime > GRACE_SECONDS
