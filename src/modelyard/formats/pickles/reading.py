"""Read one pickle or joblib file without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelyard.formats.pickles import arrays, source
from modelyard.formats.pickles.machine import Machine, Record
from modelyard.formats.pickles.values import Global


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a pickle holds and what it would do."""

    root: object
    """The object it makes, as inert values."""
    imports: tuple[Global, ...]
    """Every name it would import, in order."""
    findings: tuple[str, ...]
    """What is unsafe besides names."""
    joblib: bool
    """Only joblib can load it: it is compressed or has arrays in joblib's layout."""


def read(path: Path) -> Reading:
    """Follow the pickle in `path` to its end.

    Raises Malformed when the bytes end too early, are no pickle, hold more than may be checked, or go on
    after its end.
    """
    opened, compression = source.open_source(path)
    record = Record()
    with opened:
        root = Machine(opened, record, after_build=arrays.read_joblib_array).run()
        _require_end(opened, record)
    return Reading(
        root=root,
        imports=tuple(record.imports),
        findings=tuple(record.findings),
        joblib=bool(compression) or record.arrays > 0,
    )


def read_tensors(file: BinaryIO, size: int) -> Reading:
    """Follow a pickle of `size` bytes inside a PyTorch archive, whose tensors lie beside it; closes `file`.

    Raises Malformed.
    """
    record = Record()
    with source.Source(file, size) as opened:
        root = Machine(opened, record, storages=True).run()
        _require_end(opened, record)
    return Reading(root=root, imports=tuple(record.imports), findings=tuple(record.findings), joblib=False)


def _require_end(opened: source.Source, record: Record) -> None:
    if not opened.at_end():
        record.findings["more bytes follow its end; another pickle may hide there"] = None
