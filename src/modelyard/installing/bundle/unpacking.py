"""Installing a bundle: checked as a whole first, then wheels, images and the platform on a cluster."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.domain.errors import Invalid, NotFound, Refused
from modelyard.installing.bundle import checksums, pictures, wheels
from modelyard.installing.bundle.creating import ABOUT
from modelyard.installing.bundle.pictures import Picture
from modelyard.installing.bundle.programs import Say


@contextlib.contextmanager
def opened(path: Path, *, say: Say) -> Iterator[Path]:
    """The bundle's directory, every file of it checked; of a packed one, for as long as it is used.

    Raises NotFound, Refused for what was damaged or changed.
    """
    if not path.exists():
        raise NotFound(f"{path} is not there")
    with contextlib.ExitStack() as stack:
        directory = path
        if path.is_file():
            directory = _unpacked(path, Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="my-"))))
        say(f"{checksums.require(directory)} files are as they were created")
        yield directory


def install_wheels(directory: Path, into: Path) -> Path:
    """Make an environment of the wheels. Raises Invalid when they are of another Python or machine."""
    about = _about(directory)
    mine = f"{sys.version_info.major}.{sys.version_info.minor}", platform.machine()
    theirs = str(about.get("python")), str(about.get("machine"))
    if mine != theirs:
        raise Invalid(
            f"the bundle's wheels are for Python {theirs[0]} on {theirs[1]}, and this is Python {mine[0]} on "
            f"{mine[1]}; create it with such a Python, or run install.sh with PYTHON set to one"
        )
    return wheels.install(directory, into)


def load_images(directory: Path, *, say: Say) -> None:
    """Give the images to this machine's containers, or say with which command."""
    try:
        known = [Picture(**each) for each in _about(directory).get("images") or ()]
    except TypeError:
        raise Refused(f"{directory} is no bundle of this release: its {ABOUT} lists no images") from None
    pictures.load(known, directory, say=say)


def _about(directory: Path) -> dict[str, Any]:
    try:
        found = json.loads((directory / ABOUT).read_text())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(f"{directory} is no bundle: it has no {ABOUT} that can be read")
    return found


def _unpacked(path: Path, into: Path) -> Path:
    try:
        with tarfile.open(path) as archive:
            archive.extractall(into, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Refused(f"{path} cannot be unpacked: {error}; copy it again") from None
    found = [each for each in into.iterdir() if each.is_dir()]
    if len(found) != 1:
        raise Refused(f"{path} is no bundle")
    return found[0]
