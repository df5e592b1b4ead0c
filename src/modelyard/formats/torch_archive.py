"""PyTorch's zip archives: which kind one is, and everything in it that loading would import or run."""

from __future__ import annotations

import io
import re
import tokenize
import zipfile
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path, PurePosixPath

from modelyard.formats import limits, torch_graph, torch_names, zips
from modelyard.formats.bytesview import Damaged
from modelyard.formats.pickles import reading
from modelyard.formats.pickles.reading import Reading
from modelyard.formats.pickles.values import Malformed

FILES = re.compile(r"\b(torch|ops \. aten) \. (save|from_file|load) \(")
"""Calls by which TorchScript, which has no other way out, reads and writes files."""
_WORDS = (tokenize.NAME, tokenize.OP)
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_]+")
NATIVE = (".so", ".dll", ".dylib", ".cubin", ".o")


class Kind(StrEnum):
    """What a PyTorch archive holds."""

    SCRIPT = "TorchScript"
    EXPORT = "an exported program"
    OBJECT = "pickled objects"


def kind_of(archive: zipfile.ZipFile) -> tuple[Kind, str]:
    """Say what an archive holds, and the folder that all its members lie in. Raises Damaged."""
    names = archive.namelist()
    roots = {PurePosixPath(name).parts[0] for name in names}
    if len(roots) != 1:
        raise Damaged("it is a zip file, but not one that PyTorch wrote")
    root = roots.pop()
    if f"{root}/archive_format" in names or any(name.startswith(f"{root}/models/") for name in names):
        return Kind.EXPORT, root
    if f"{root}/constants.pkl" in names and any(name.startswith(f"{root}/code/") for name in names):
        return Kind.SCRIPT, root
    if f"{root}/data.pkl" in names:
        return Kind.OBJECT, root
    if any(name.startswith("serialized_") for name in names) or "serialized_exported_program.json" in names:
        raise Damaged(
            "it was exported by a PyTorch before 2.7; load it there, export it again and publish that"
        )
    raise Damaged("it has neither data.pkl nor an exported program, so PyTorch did not write it whole")


def pickle(archive: zipfile.ZipFile, name: str) -> Reading:
    """Follow one pickle inside an archive inertly. Raises Damaged."""
    size = archive.getinfo(name).file_size
    try:
        with archive.open(name) as file:
            return reading.read_tensors(io.BufferedReader(file), size)  # type: ignore[type-var]
    except Malformed as error:
        raise Damaged(f"{name}: {error}") from None


def unsafe(path: Path) -> tuple[str, ...]:
    """Name everything that loading the archive would import or run and that is not known to be safe.

    Raises Damaged.
    """
    with zips.opened(path) as archive:
        return tuple(dict.fromkeys(_unsafe(archive, depth=0)))


def _unsafe(archive: zipfile.ZipFile, *, depth: int) -> Iterator[str]:
    kind, root = kind_of(archive)
    for name in archive.namelist():
        inner = name.removeprefix(f"{root}/")
        if inner.endswith(NATIVE):
            yield f"native code in {inner}"
        elif inner.endswith((".pkl", "_pkl")):
            found = pickle(archive, name)
            yield from torch_names.refused(found.imports, script=kind is Kind.SCRIPT)
            yield from found.findings
        elif kind is Kind.SCRIPT and inner.startswith("code/"):
            yield from _script(zips.text(archive, name, limits.MAX_SOURCE), inner)
        elif kind is Kind.EXPORT:
            yield from _exported(archive, name, inner, depth=depth)


def _script(source: bytes, name: str) -> Iterator[str]:
    """Calls in TorchScript that reach files, found among its tokens: however they are laid out."""
    try:
        lines = io.StringIO(source.decode("utf-8"))
        tokens = [each for each in tokenize.generate_tokens(lines.readline) if each.string.strip()]
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        yield f"{name}, which cannot be read as code"
        return
    if any(each.type == tokenize.ERRORTOKEN for each in tokens):
        yield f"{name}, which cannot be read as code"
    words = " ".join(each.string for each in tokens if each.type in _WORDS)
    for owner, call in FILES.findall(words):
        yield f"{owner.replace(' ', '')}.{call} in {name}, which reads or writes files"


def _exported(archive: zipfile.ZipFile, name: str, inner: str, *, depth: int) -> Iterator[str]:
    if inner.startswith("models/"):
        yield from torch_graph.unsafe(zips.document(archive, name, limits.MAX_GRAPH))
    elif inner.endswith("_config.json"):
        _check_payloads(archive, name)
    elif inner.startswith(("data/constants/custom_obj", "data/constants/opaque_obj")):
        yield f"a custom object in {inner}"
    elif _is_nested(archive, name, inner):
        if depth:
            raise Damaged(f"{inner} is an archive inside an archive inside an archive")
        size = archive.getinfo(name).file_size
        if size > limits.MAX_NESTED:
            raise Damaged(f"{inner} is pickled and larger than {limits.MAX_NESTED} bytes, too large to check")
        with zipfile.ZipFile(io.BytesIO(archive.read(name))) as nested:
            zips.check(nested, size)
            yield from _unsafe(nested, depth=depth + 1)


def _check_payloads(archive: zipfile.ZipFile, name: str) -> None:
    """Require that what a table of weights or constants has unpickled is an archive, as those are scanned."""
    listed = zips.document(archive, name, limits.MAX_GRAPH).get("config")
    folder = PurePosixPath(name).parent
    for each in listed.values() if isinstance(listed, dict) else ():
        if not isinstance(each, dict) or each.get("use_pickle") is False:
            continue
        path = each.get("path_name")
        if not isinstance(path, str) or not _PLAIN_PATH.fullmatch(path):
            raise Damaged(f"{name} names a part that is not beside it")
        if not zipfile.is_zipfile(io.BytesIO(zips.text(archive, str(folder / path), limits.MAX_NESTED))):
            raise Damaged(
                f"{folder.name}/{path} would be unpickled, and is not an archive that PyTorch wrote"
            )


def _is_nested(archive: zipfile.ZipFile, name: str, inner: str) -> bool:
    """Whether a member is an archive that loading unpickles; what only looks like one is refused."""
    with archive.open(name) as file:
        head = file.read(4)
    if head == b"PK\x03\x04":
        return True
    if inner.endswith(".pt") and head:
        raise Damaged(f"{inner} is not an archive that PyTorch wrote")
    return False
