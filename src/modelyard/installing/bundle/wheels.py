"""Wheels of a lock: brought into a directory, and installed from there with no index at all."""

from __future__ import annotations

import importlib.util
import re
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import modelyard
from modelyard import __version__
from modelyard.domain.errors import Invalid
from modelyard.installing.bundle import programs

LOCK = "requirements.lock"
_PACKAGE = Path(modelyard.__file__).parent
_CHECKOUT = _PACKAGE.parent.parent


def lock() -> Path:
    """The lock of this release: in the package, or in the checkout that it runs from."""
    for path in (_PACKAGE / "installing" / LOCK, _CHECKOUT / "locks/run.lock"):
        if path.exists():
            return path
    raise Invalid("this installation brings no lock of its packages; name one with --lock")


def bring(wanted: Path, own: Path | None, into: Path) -> None:
    """Fetch every wheel of the lock for this platform and this Python, and that of Modelyard itself."""
    if not wanted.is_file():
        raise Invalid(f"--lock: {wanted} is not a file")
    into.mkdir(parents=True, exist_ok=True)
    with _pip() as pip:
        programs.run(
            [
                *pip, "download", "--require-hashes", "--no-deps", "--only-binary", ":all:",
                "--requirement", str(wanted), "--dest", str(into),
            ],
            "the wheels of the lock",
        )  # fmt: skip
        _bring_own(pip, own, into)


def install(bundle: Path, into: Path) -> Path:
    """Make a virtual environment of the bundle's wheels, asking no index; its `modelyard`."""
    if not (into / "bin/python").exists():
        venv.create(into, with_pip=False)
    with _pip() as pip:
        programs.run(
            [
                *pip, "--python", str(into / "bin/python"), "install", "--no-index", "--no-deps",
                "--find-links", str(bundle / "wheels"), "--require-hashes",
                "--requirement", str(bundle / LOCK),
            ],
            "installing the wheels",
        )  # fmt: skip
    return into / "bin/modelyard"


def requirements(wanted: Path, wheel: Path, digest: str) -> str:
    """The lock, and Modelyard itself by its checksum."""
    name, version = wheel.name.split("-")[:2]
    return f"{wanted.read_text().rstrip()}\n{name}=={version} \\\n    --hash=sha256:{digest}\n"


def own_wheel(directory: Path) -> Path:
    """Modelyard's wheel among those that were brought."""
    found = sorted(directory.glob("modelyard-*.whl"))
    if len(found) != 1:
        raise Invalid(f"{directory} must hold one wheel of Modelyard, and holds {len(found)}")
    return found[0]


def _bring_own(pip: list[str], own: Path | None, into: Path) -> None:
    if own is not None:
        if not re.fullmatch(r"modelyard-[^-]+-.+\.whl", own.name) or not own.is_file():
            raise Invalid(f"--wheel: {own} is not a wheel of Modelyard")
        (into / own.name).write_bytes(own.read_bytes())
        return
    if (_CHECKOUT / "pyproject.toml").exists():
        isolated = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
        command = ["wheel", "--no-deps", *isolated, "--wheel-dir", str(into), str(_CHECKOUT)]
        programs.run([*_with_hatchling(pip), *command], "the wheel of this checkout")
        return
    programs.run(
        [*pip, "download", "--no-deps", "--dest", str(into), f"modelyard=={__version__}"],
        "the wheel of Modelyard",
    )


def _with_hatchling(pip: list[str]) -> list[str]:
    """A pip that works for the interpreter whose packages build ours."""
    return [*pip, "--python", sys.executable]


@contextmanager
def _pip() -> Iterator[list[str]]:
    """A pip to call: this interpreter's, or that which every Python brings for new environments."""
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        return
    with tempfile.TemporaryDirectory(prefix="my-pip-") as directory:
        venv.create(directory, with_pip=True)
        yield [f"{directory}/bin/python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
