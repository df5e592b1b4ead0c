"""SHA256SUMS of a directory: written last, and checked before anything of it is used."""

from __future__ import annotations

import hashlib
from pathlib import Path

from modelyard.domain.errors import Refused

FILE = "SHA256SUMS"
_CHUNK = 1 << 20
_SHOWN = 5


def write(directory: Path) -> None:
    """Record every file; the format is that of `sha256sum`, so that it can check them too."""
    names = sorted(_names(directory))
    lines = [f"{_digest(directory / name)}  {name}\n" for name in names]
    (directory / FILE).write_text("".join(lines))


def require(directory: Path) -> int:
    """How many files there are, all as recorded. Raises Refused that names each one that is not."""
    recorded = _recorded(directory / FILE)
    present = _names(directory)
    wrong = [f"{name} is missing" for name in sorted(recorded.keys() - present)]
    wrong += [f"{name} is not of this bundle" for name in sorted(present - recorded.keys())]
    wrong += [
        f"{name} was changed or damaged"
        for name in sorted(present & recorded.keys())
        if _digest(directory / name) != recorded[name]
    ]
    if wrong:
        more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise Refused(
            f"{directory} is not what was created: {'; '.join(wrong[:_SHOWN])}{more}; copy it again"
        )
    return len(present)


def _recorded(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError):
        raise Refused(f"{path.parent} is no bundle: it has no {FILE} that can be read") from None
    pairs = (line.split("  ", 1) for line in lines)
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _names(directory: Path) -> set[str]:
    """Every file and link, as a path below the directory."""
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(directory).as_posix() for path in found} - {FILE}


def _digest(path: Path) -> str:
    if path.is_symlink():
        return "a link"
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
