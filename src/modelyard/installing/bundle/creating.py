"""Making a bundle: what an installation without the Internet needs, in a directory or in one file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard import __version__
from modelyard.backends.kubernetes.images import IMAGES, reference
from modelyard.domain.errors import Conflict, Invalid
from modelyard.installing import chart, rendering
from modelyard.installing.bundle import checksums, pictures, wheels
from modelyard.installing.bundle.programs import Say
from modelyard.installing.values import Values

ABOUT = "bundle.json"
_ENDINGS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to go into a bundle."""

    values: Values
    lock: Path | None = None
    """Of the Python packages; None is that of this release."""
    wheel: Path | None = None
    """Of Modelyard itself; None builds or fetches it."""
    images: tuple[str, ...] = ()
    """Beside those of Modelyard, such as those of other servers."""
    copies_images: bool = True
    """Whether images are copied, where a program here can; else they are listed."""


def create(wanted: Wanted, target: Path, *, say: Say) -> None:
    """Make the bundle at `target`: a directory, or a file when its name ends with .tar or .tar.gz.

    Raises Conflict when something is there, Invalid for what cannot be used, Unavailable for what fails.
    """
    if target.exists() and (target.is_file() or any(target.iterdir())):
        raise Conflict(f"{target} is there already; choose another name or remove it")
    packed = target.name.endswith(_ENDINGS)
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    # Beside the target first: what failed half-way leaves nothing that looks like a bundle.
    with tempfile.TemporaryDirectory(prefix="my-bundle-", dir=target.absolute().parent) as directory:
        inner = Path(directory) / "modelyard-bundle"
        _fill(wanted, inner, say)
        if not packed:
            inner.rename(target)
            return
        beside = Path(directory) / "packed"
        with tarfile.open(beside, "w" if target.suffix == ".tar" else "w:gz") as archive:
            archive.add(inner, arcname=inner.name)
        beside.rename(target)


def _fill(wanted: Wanted, directory: Path, say: Say) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    lock = wanted.lock or wheels.lock()
    wheels.bring(lock, wanted.wheel, directory / "wheels")
    own = wheels.own_wheel(directory / "wheels")
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    (directory / wheels.LOCK).write_text(wheels.requirements(lock, own, digest))
    say(f"{len(list((directory / 'wheels').iterdir()))} wheels")
    (directory / "manifests.yaml").write_text(rendering.as_yaml(rendering.manifests(wanted.values)))
    for name, text in chart.files().items():
        path = directory / "chart/modelyard" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    brought = pictures.planned(_references(wanted))
    if wanted.copies_images:
        brought = pictures.bring(brought, directory, say=say)
    (directory / pictures.LIST).write_text(pictures.listing(brought))
    (directory / "install.sh").write_text(_SCRIPT)
    (directory / "install.sh").chmod(0o755)
    (directory / ABOUT).write_text(json.dumps(_about(brought), indent=1) + "\n")
    checksums.write(directory)


def _references(wanted: Wanted) -> tuple[str, ...]:
    own = wanted.values.images
    named = tuple(reference(image, registry=own.registry, tag=own.tag) for image in IMAGES)
    for image in wanted.images:
        if not image or any(each.isspace() for each in image):
            raise Invalid(f"--image: {image[:70]!r} names no image")
    return tuple(dict.fromkeys((*named, *wanted.images)))


def _about(brought: Sequence[pictures.Picture]) -> dict[str, object]:
    return {
        "modelyard": __version__,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "machine": platform.machine(),
        "images": [dataclasses.asdict(each) for each in brought],
    }


_SCRIPT = """#!/bin/sh
# Installs Modelyard from this directory, with the network off: ./install.sh [DIRECTORY]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-"$HOME/modelyard"}
cd "$here"
sha256sum --quiet --check SHA256SUMS
python=${PYTHON:-python3}
"$python" -m venv "$target"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps \\
  --find-links wheels --require-hashes --requirement requirements.lock
echo "installed; start it with $target/bin/modelyard up, or put it on a cluster with" >&2
echo "  $target/bin/modelyard bundle install $here --kubernetes" >&2
"""
