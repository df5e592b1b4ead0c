"""Brings the files of a manifest into a directory: in parallel, taken up again, checked, and once only."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Dict, Iterator, List, Tuple

from modelyard_fetch import cache, manifest, outcome, places
from modelyard_fetch.manifest import Entry
from modelyard_fetch.outcome import Failed
from modelyard_fetch.places import Part
from modelyard_fetch.remote import S3, Again, NoRanges, Remote, environ, token_of

_SAY_SECONDS = 10.0
_ROUNDS = 2
"""How often a content is fetched whose checksum is wrong: what was taken up may have been damaged."""


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    manifest: str
    into: str
    cache: str = ""
    cache_bytes: int = 0
    token_file: str = ""
    ca_file: str = ""
    parallel: int = 4
    attempts: int = 8

    @classmethod
    def of(cls, options: argparse.Namespace) -> Wanted:
        """From parsed options."""
        return cls(**{name: getattr(options, name) for name in cls.__dataclass_fields__})


def fetch(wanted: Wanted) -> None:
    """Make every file of the manifest stand in its place; raises Failed."""
    listed = manifest.read(wanted.manifest)
    remote = Remote(
        base=listed.base,
        token=token_of(wanted.token_file, environ()),
        s3=S3.of(environ()),
        attempts=max(1, wanted.attempts),
        ca_file=wanted.ca_file,
    )
    into = os.path.abspath(wanted.into)
    with places.explained("preparing %s" % into):
        os.makedirs(into, exist_ok=True)
        missing = _missing(listed.entries, into)
    if missing and not (wanted.cache and _by_cache(wanted, remote, into, missing)):
        _fetch_all(replace(wanted, cache=""), remote, into, missing)
    shutil.rmtree(os.path.join(into, places.PARTS), ignore_errors=True)
    _say("%d files are in %s" % (len(listed.entries), into))


def _missing(entries: Tuple[Entry, ...], into: str) -> Dict[str, List[Entry]]:
    """What has to come, by content; the same content may be wanted in several places."""
    missing: Dict[str, List[Entry]] = {}
    for entry in entries:
        target = places.inside(into, entry.path)
        if not places.stands(target, entry.size, entry.sha256):
            missing.setdefault(entry.sha256, []).append(entry)
    return missing


def _by_cache(wanted: Wanted, remote: Remote, into: str, missing: Dict[str, List[Entry]]) -> bool:
    """Fetch what the cache lacks, and copy from it; False when it cannot be used, which stops nobody."""
    needed = sum(group[0].size for group in missing.values())
    if wanted.cache_bytes and needed > wanted.cache_bytes:
        _say("%d bytes are more than the cache may hold; fetching without it" % needed)
        return False
    try:
        _fetch_all(wanted, remote, into, missing)
    except Failed as failed:
        if failed.code != outcome.NO_SPACE:
            raise
        _say("the cache in %s cannot be used: %s; fetching without it" % (wanted.cache, failed.message))
        return False
    return True


def _fetch_all(wanted: Wanted, remote: Remote, into: str, missing: Dict[str, List[Entry]]) -> None:
    contents = [group[0] for group in missing.values()]
    with ExitStack() as stack, places.explained("fetching into %s" % into):
        home = os.path.abspath(wanted.cache) if wanted.cache else into
        if wanted.cache:  # in one order, so that two pods cannot wait for one another
            for sha256 in sorted(missing):
                stack.enter_context(cache.locked(home, sha256))
            cached = [each for each in contents if _in_cache(home, each)]
            contents = [each for each in contents if each not in cached]
            cache.make_room(home, wanted.cache_bytes, sum(each.size for each in contents))
        _check_space(home, contents)
        _Transfer(remote, os.path.join(home, places.PARTS), contents).run(max(1, wanted.parallel))
        for sha256, group in missing.items():
            _place(wanted, home, into, sha256, group)


def _in_cache(home: str, entry: Entry) -> bool:
    path = cache.path(home, entry.sha256)
    if not places.stands(path, entry.size, entry.sha256):
        return False
    os.utime(path)
    return True


def _check_space(home: str, contents: List[Entry]) -> None:
    """Say at once what cannot fit; bytes of parts that are there already count as free."""
    os.makedirs(home, exist_ok=True)
    needed = sum(entry.size for entry in contents)
    parts = os.path.join(home, places.PARTS)
    held = 0
    for entry in contents:
        part = os.path.join(parts, entry.sha256 + ".part")
        held += os.stat(part).st_blocks * 512 if os.path.exists(part) else 0
    free = shutil.disk_usage(home).free + held
    if needed > free:
        raise Failed(
            outcome.NO_SPACE,
            "%d bytes are needed in %s and %d are free; raise the volume's size limit" % (needed, home, free),
        )


def _place(wanted: Wanted, home: str, into: str, sha256: str, group: List[Entry]) -> None:
    part = os.path.join(home, places.PARTS, sha256 + ".part")
    if wanted.cache:
        source = cache.path(home, sha256)
        if os.path.exists(part):
            places.place(part, source, move=True)
    else:
        source = places.inside(into, group[0].path)
        places.place(part, source, move=True)
        group = group[1:]
    for entry in group:
        places.place(source, places.inside(into, entry.path), move=False)
    ledger = os.path.join(home, places.PARTS, sha256 + ".done")
    if os.path.exists(ledger):
        os.unlink(ledger)


class _Transfer:
    """All contents on their way, piece by piece over a few threads."""

    def __init__(self, remote: Remote, directory: str, entries: List[Entry]) -> None:
        self._remote = remote
        self._parts = {e.sha256: Part(directory, e.sha256, e.size) for e in entries}
        self._entries = {entry.sha256: entry for entry in entries}
        self._total = sum(entry.size for entry in entries)
        self._stop = threading.Event()
        self._bytes = 0
        self._said = time.monotonic()

    def run(self, threads: int) -> None:
        """Fetch everything; the first failure stops the others. Raises Failed."""
        for part in self._parts.values():
            part.open()
        for _ in range(_ROUNDS):
            wrong = self._round(threads)
            if not wrong:
                return
            for part in wrong:
                part.discard()
                part.open()
        shas = ", ".join("%s (%s)" % (self._entries[part.sha256].path, part.sha256) for part in wrong)
        for part in wrong:
            part.discard()
        raise Failed(outcome.DIFFERS, "what came differs from what was published, twice: %s" % shas)

    def _round(self, threads: int) -> List[Part]:
        """Fetch what is missing; answers the contents whose checksum is wrong."""
        todo = [(part, piece) for part in self._parts.values() for piece in part.missing()]
        pool = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        try:
            self._finish([pool.submit(self._piece, part, *piece) for part, piece in todo])
            alone = [part for part in self._parts.values() if part.whole and part.missing()]
            self._finish([pool.submit(self._whole, part) for part in alone])
            parts = list(self._parts.values())
            return [part for part, right in zip(parts, pool.map(Part.right, parts)) if not right]
        except BaseException:
            self._stop.set()  # the others write into parts only, so nobody has to wait for them
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            pool.shutdown(wait=not self._stop.is_set())

    def _finish(self, futures: List[Future[None]]) -> None:
        wait(futures, return_when=FIRST_EXCEPTION)
        failed = next((f for f in futures if f.done() and not f.cancelled() and f.exception()), None)
        if failed is not None:
            self._stop.set()
            failed.result()

    def _piece(self, part: Part, number: int, start: int, end: int) -> None:
        if part.whole or self._stop.is_set():
            return
        try:
            part.write(start, self._counted(part, start, end))
        except NoRanges:
            part.whole = True
            return
        if not self._stop.is_set():
            part.arrived(number)

    def _whole(self, part: Part) -> None:
        """Fetch in one go, from the beginning after every break."""
        failures = 0
        while not self._stop.is_set():
            try:
                part.write(0, self._counted(part, 0, part.size))
                break
            except NoRanges:
                failures += 1
                again = Again("the connection broke, and the server cannot go on in the middle")
                self._remote.pause(failures, again, self._entries[part.sha256].url)
        if not self._stop.is_set():
            part.arrived(*(number for number, _, _ in part.pieces()))

    def _counted(self, part: Part, start: int, end: int) -> Iterator[bytes]:
        for data in self._remote.read(self._entries[part.sha256], start, end):
            if self._stop.is_set():
                return
            self._bytes += len(data)
            now = time.monotonic()
            if now - self._said > _SAY_SECONDS:
                self._said = now
                _say("%d of %d MB" % (self._bytes // 1_000_000, self._total // 1_000_000))
            yield data


def _say(text: str) -> None:
    print("modelyard-fetch: " + text, file=sys.stderr, flush=True)
