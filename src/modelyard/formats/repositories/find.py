"""Find out which models a path holds: one file, one model's directory, or a repository of several."""

from __future__ import annotations

from pathlib import Path

from modelyard.domain.errors import NotFound, Refused
from modelyard.formats.repositories import mlserver, triton
from modelyard.formats.repositories.candidate import Candidate

MAX_MODELS = 1000


def find(path: Path) -> tuple[Candidate, ...]:
    """Every model at `path`, each name's newest version first.

    Raises NotFound when nothing is there, Refused for a directory with more models than can be meant.
    """
    if path.is_file():
        return (
            Candidate(name=path.name.partition(".")[0] or "model", directory=path.parent, entry=path.name),
        )
    if not path.is_dir():
        raise NotFound(f"there is no file or directory at {path}")
    if mlserver.is_model(path):
        return (mlserver.read(path),)
    if (path / triton.CONFIG).is_file():
        return tuple(triton.read(path))
    children = sorted(child for child in path.iterdir() if child.is_dir() and child.name[0] not in "._")
    if len(children) > MAX_MODELS:
        raise Refused(
            f"{path} has {len(children)} directories, more than {MAX_MODELS}: name the one to serve"
        )
    if _is_repository(path, children):
        return tuple(candidate for child in children for candidate in _below(child))
    return (Candidate(name=path.resolve().name, directory=path),)


def _is_repository(path: Path, children: list[Path]) -> bool:
    """Whether the directory is no model itself, but its directories are."""
    if any(triton.is_model(child) or mlserver.is_model(child) for child in children):
        return True
    has_files = any(each.is_file() and each.name[0] not in "._" for each in path.iterdir())
    return bool(children) and not has_files


def _below(directory: Path) -> tuple[Candidate, ...]:
    if mlserver.is_model(directory):
        return (mlserver.read(directory),)
    if triton.is_model(directory):
        return tuple(triton.read(directory))
    return (Candidate(name=directory.name, directory=directory),)
