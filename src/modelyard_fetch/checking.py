"""Compares files that somebody else brought, on a volume that may not be written to, with a manifest."""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

from modelyard_fetch import manifest, outcome, places
from modelyard_fetch.manifest import Entry
from modelyard_fetch.outcome import Failed

_READERS = 4
_MOUNT = "MountFailed"


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    manifest: str
    within: str

    @classmethod
    def of(cls, options: argparse.Namespace) -> Wanted:
        """From parsed options."""
        return cls(manifest=options.manifest, within=options.within)


def check(wanted: Wanted) -> None:
    """Nothing when every file of the manifest is there and right, whatever lies beside; raises Failed."""
    listed = manifest.read(wanted.manifest, located=False)
    root = os.path.realpath(wanted.within)
    # Sizes of all first: what is not the model at all should not be read for an hour before that is said.
    sized = [(entry, _found(root, entry)) for entry in listed.entries]
    with ThreadPoolExecutor(_READERS) as pool:
        wrong = [found for found in pool.map(lambda pair: _wrong(*pair), sized) if found is not None]
    if wrong:
        raise wrong[0]
    print("modelyard-fetch: %d files in %s are right" % (len(sized), root), file=sys.stderr, flush=True)


def _found(root: str, entry: Entry) -> str:
    """Where a file really is; raises Failed when it is not there, leads elsewhere, or has another size."""
    path = os.path.realpath(os.path.join(root, *entry.path.split("/")))
    if not path.startswith(root.rstrip("/") + "/"):
        raise Failed(outcome.NOT_FOUND, "`%s` is a link that leads out of the volume" % entry.path, _MOUNT)
    try:
        size = os.stat(path).st_size if os.path.isfile(path) else -1
    except OSError as error:
        raise _unreadable(entry, error) from None
    if size < 0:
        raise Failed(outcome.NOT_FOUND, _absent(root, entry), _MOUNT)
    if size != entry.size:
        raise Failed(
            outcome.DIFFERS, "`%s` has %d bytes and was published with %d" % (entry.path, size, entry.size)
        )
    return path


def _absent(root: str, entry: Entry) -> str:
    try:
        there = sorted(os.listdir(root))
    except OSError as error:
        return "the volume cannot be read: %s" % error.strerror
    few = ", ".join(there[:10]) or "nothing"
    return "`%s` is not in the folder of the volume, which holds %s" % (entry.path, few)


def _wrong(entry: Entry, path: str) -> Optional[Failed]:
    try:
        found = places.digest(path)
    except OSError as error:
        return _unreadable(entry, error)
    if found == entry.sha256:
        return None
    said = "`%s` has sha256 %s and was published with %s" % (entry.path, found, entry.sha256)
    return Failed(outcome.DIFFERS, said)


def _unreadable(entry: Entry, error: OSError) -> Failed:
    said = "`%s` cannot be read by user %d: %s" % (entry.path, os.getuid(), error.strerror)
    return Failed(outcome.NOT_FOUND, said, _MOUNT)
