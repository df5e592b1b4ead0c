"""What a volume holds, told by a program in a pod that has it mounted: its files, and what model they are.

`python -m modelyard.formats.survey survey --config FILE --request FILE --out FILE`: the configuration names
the directory, the request how it is to be read. It needs nothing but the standard library and PyYAML.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.domain.errors import Invalid, ModelyardError, Refused
from modelyard.domain.model import Format
from modelyard.domain.project import Trust
from modelyard.formats.detection import detect
from modelyard.formats.pipeline import document as pipeline
from modelyard.formats.scanning import scan

MOST_FILES = 10_000
_BLOCK = 1 << 20
_READERS = 4
_ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
_OF_THE_FILE_SYSTEM = "lost+found"


class _File(NamedTuple):
    """A file of the volume."""

    path: str
    size: int
    changed: tuple[int, int]
    """When its content and its entry were changed last, in nanoseconds; nobody can set the second."""


def survey(root: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Files with their checksums, and what was detected and scanned; nothing of the model is run.

    Raises Invalid or Refused for what is no model, or none that may be served from there.
    """
    if not root.is_dir():
        raise Invalid(f"source: the volume has no folder `{root.name}`{_holds(root.parent)}")
    there = list(_files(root))
    if not there:
        raise Invalid(f"source: there is no file in `{root.name}` of the volume")
    if len(there) == 1 and there[0].path.lower().endswith(_ARCHIVES):
        raise Invalid(f"source: `{there[0].path}` is an archive; unpack it on the volume, where it stays")
    if pipeline(root) is not None:
        raise Invalid("source: the files of a pipeline are uploaded; publish the directory")
    hint = Format(asked["format"]) if asked.get("format") else None
    try:
        detected = detect(root, hint=hint)
        notes = scan(root, detected, trust=Trust(asked["trust"]))
        with ThreadPoolExecutor(_READERS) as pool:
            sums = list(pool.map(lambda each: _digest(root / each.path), there))
    except FileNotFoundError as error:
        raise _changed(os.path.relpath(error.filename, root) if error.filename else root.name) from error
    # What was scanned must be what was summed: others may write to the volume meanwhile.
    if others := sorted({each.path for each in {*there} ^ {*_files(root)}}):
        raise _changed(others[0])
    files = [
        {"path": each.path, "size": each.size, "sha256": digest}
        for each, digest in zip(there, sums, strict=True)
    ]
    return {"files": files, "detected": asdict(detected), "notes": list(notes)}


def _changed(path: str) -> Refused:
    return Refused(f"source: `{path}` was changed while it was read; publish again when nobody writes")


def _files(root: Path) -> Iterator[_File]:
    """Every file, in the order of paths. Raises Refused for what could not be served from there.

    Links are none of it: scanning passes them over, and what they name may be elsewhere tomorrow.
    """
    count = 0
    for directory, folders, names in os.walk(root, onerror=_unreadable):
        folders[:] = sorted(each for each in folders if each != _OF_THE_FILE_SYSTEM)
        for name in sorted((*folders, *names)):
            path = os.path.join(directory, name)
            inside = os.path.relpath(path, root).replace(os.sep, "/")
            if os.path.islink(path):
                raise Refused(f"source: `{inside}` is a link; put what it names in its place")
            if os.path.isdir(path):
                continue
            if not os.path.isfile(path):
                raise Refused(f"source: `{inside}` is no file; take it away")
            count += 1
            if count > MOST_FILES:
                raise Refused(f"source: the folder has more than {MOST_FILES} files; name the model's own")
            about = os.stat(path)
            yield _File(inside, about.st_size, (about.st_mtime_ns, about.st_ctime_ns))


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _unreadable(error: OSError) -> None:
    raise error


def _holds(folder: Path) -> str:
    """What is there instead, as far as it can be read."""
    found = sorted(os.listdir(folder))[:10] if folder.is_dir() else []
    return f"; beside it are {', '.join(found)}" if found else ""


def answered(root: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a task answers: the survey, or why there is none, in the words of an upload."""
    try:
        return {"result": survey(root, asked)}
    except ModelyardError as error:
        told = [{"path": each.path, "message": each.message} for each in error.errors]
        return {"result": {"refused": {"code": error.code, "message": error.message, "errors": told}}}
    except OSError as error:
        path = os.path.relpath(error.filename, root) if error.filename else "the folder"
        said = f"`{path}` cannot be read by user {os.getuid()}: {error.strerror}"
        return {"failure": {"reason": "MountFailed", "message": said}}


def main(argv: list[str]) -> int:
    """Answer into the file that is named; the exit code."""
    parser = argparse.ArgumentParser(prog="modelyard.formats.survey", description=__doc__)
    parser.add_argument("kind", choices=("survey",))
    for name in ("--config", "--request", "--out"):
        parser.add_argument(name, required=True, type=Path)
    options = parser.parse_args(argv)
    root = Path(json.loads(options.config.read_text())["path"])
    options.out.write_text(json.dumps(answered(root, json.loads(options.request.read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
