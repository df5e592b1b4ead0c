"""Makes a runtime's environment where it is used: from a lock with hashes, out of wheels or an index."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Dict, List, Mapping, Tuple

from modelyard_fetch import fetching, outcome, places
from modelyard_fetch.outcome import Failed

STAMP = "modelyard-environment.json"
"""Says which lock an environment was made from; written last."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*==\s*([^\s;\\]+)")
_HASH = re.compile(
    r"hash mismatch|mismatched hash|do not match|no hashes|hash was (?:expected|required)", re.I
)
_UNREACHABLE = re.compile(
    r"network was disabled|network connectivity is disabled|failed to fetch|error sending request"
    r"|connection (?:refused|reset)|dns error|timed out|tcp connect|connection broken|name resolution"
    r"|cannot connect to proxy|failed to establish a new connection",
    re.I,
)
_SECONDS = 3600
_WHEELS = ".wheels"
_FAILED = outcome.REASONS[outcome.PACKAGES]


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for."""

    requirements: str
    into: str
    python: str = ""
    wheels: Tuple[str, ...] = ()
    wheels_from: str = ""
    """Manifest of wheels to fetch first; nothing is asked but what it names."""
    index_url: str = ""
    offline: bool = False
    cache: str = ""
    uv: str = ""

    @classmethod
    def of(cls, options: argparse.Namespace) -> Wanted:
        """From parsed options."""
        given = {name: getattr(options, name) for name in cls.__dataclass_fields__}
        return cls(**{**given, "wheels": tuple(options.wheels)})


def make(wanted: Wanted) -> None:
    """Make the environment unless it stands already; raises Failed with what is missing."""
    text = _read(wanted.requirements)
    into = os.path.abspath(wanted.into)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if _stamp(into) == digest:
        _say("the environment stands already in " + into)
        return
    beside = os.path.join(os.path.dirname(into), _WHEELS)
    try:
        with places.explained("making the environment"):
            shutil.rmtree(into, ignore_errors=True)
            os.makedirs(os.path.dirname(into), exist_ok=True)
            _make(_lent(wanted, beside), into, text)
            with open(os.path.join(into, STAMP), "w", encoding="utf-8") as stamp:
                json.dump({"lock": digest}, stamp)
    except Failed:
        shutil.rmtree(into, ignore_errors=True)
        raise
    shutil.rmtree(beside, ignore_errors=True)
    _say("the environment is ready in " + into)


def _lent(wanted: Wanted, into: str) -> Wanted:
    """With the wheels that somebody lends in a directory, which outlive a killed container, and no index."""
    if not wanted.wheels_from:
        return wanted
    fetching.fetch(fetching.Wanted(manifest=wanted.wheels_from, into=into))
    return replace(wanted, wheels=(*wanted.wheels, into), offline=True)


def _make(wanted: Wanted, into: str, text: str) -> None:
    python, uv = wanted.python or sys.executable, wanted.uv or _uv()
    create, install = _by_uv(wanted, uv, python, into) if uv else _by_pip(wanted, python, into)
    _run(wanted, create, text)
    if pins(text):
        _say("installing %d packages" % len(pins(text)))
        _run(wanted, install, text)


def pins(text: str) -> Dict[str, str]:
    """Packages of a lock, by normalised name."""
    found = (_PIN.match(line.strip()) for line in text.splitlines())
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[2] for pin in found if pin}


def lacking(text: str, files: List[str]) -> List[str]:
    """Pinned packages for which no file of that version is there."""
    there = set()
    for name in files:
        parts = name.split("-")
        if name.endswith(".whl") and len(parts) >= 5:
            there.add((re.sub(r"[-_.]+", "-", parts[0]).lower(), parts[1]))
    return sorted("%s==%s" % pin for pin in pins(text).items() if pin not in there)


def _by_uv(wanted: Wanted, uv: str, python: str, into: str) -> List[List[str]]:
    """The commands that make the environment with uv."""
    options = ["--compile-bytecode", "--link-mode", "copy", "--python", os.path.join(into, "bin", "python")]
    if wanted.offline:
        options += ["--offline", *(["--no-index"] if wanted.wheels else [])]
    return [
        [uv, "venv", "--no-project", "--python", python, into],
        [uv, "pip", "install", *options, *_packages(wanted)],
    ]


def _by_pip(wanted: Wanted, python: str, into: str) -> List[List[str]]:
    """The commands that make it with what Python itself brings, for images without uv."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    options += ["--cache-dir", wanted.cache] if wanted.cache else ["--no-cache-dir"]
    if wanted.offline:
        options += ["--no-index"]
    own = os.path.join(into, "bin", "python")
    return [[python, "-m", "venv", into], [own, "-m", "pip", "install", *options, *_packages(wanted)]]


def _packages(wanted: Wanted) -> List[str]:
    """What is installed, and from which wheels: the same words for both programs."""
    places = [word for place in wanted.wheels for word in ("--find-links", place)]
    return ["--require-hashes", "--no-deps", "--only-binary", ":all:", *places, "-r", wanted.requirements]


def _run(wanted: Wanted, command: List[str], text: str) -> None:
    """Run a command and pass on what it says, without secrets; raises Failed with what that means."""
    try:
        done = subprocess.run(
            command,
            env=_environment(wanted, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
    except OSError as error:
        raise Failed(outcome.PACKAGES, "%s cannot be started: %s" % (command[0], error.strerror)) from None
    except subprocess.TimeoutExpired:
        raise Failed(outcome.PACKAGES, "the packages were not there after an hour") from None
    said = done.stdout.decode("utf-8", "replace")
    for line in said.splitlines():
        print("  " + outcome.plain(line), file=sys.stderr, flush=True)
    if done.returncode:
        raise _judged(wanted, said, text)


def _judged(wanted: Wanted, said: str, text: str) -> Failed:
    causes = [line.strip(" ×╰─▶├│") for line in said.splitlines() if line.strip(" ×╰─▶├│")]
    essence = " ".join(causes)[-600:]
    if "No space left" in said or "os error 28" in said:
        return Failed(outcome.NO_SPACE, "no space left for the packages; raise the volume's size limit")
    if _HASH.search(said):
        return Failed(outcome.DIFFERS, "a package is not what was locked: " + essence, _FAILED)
    if wanted.offline:
        missing = lacking(text, _files(wanted.wheels))
        names = ", ".join(missing[:20]) or "one for this interpreter and machine"
        return Failed(outcome.PACKAGES, "offline, and not every package is here; missing: " + names)
    if _UNREACHABLE.search(said):
        said_so = "the package index cannot be reached: " + essence
        return Failed(outcome.UNREACHABLE, said_so, "IndexUnreachable")
    return Failed(outcome.PACKAGES, essence or "no reason was given")


def _files(wheels: Tuple[str, ...]) -> List[str]:
    found: List[str] = []
    for place in wheels:
        if os.path.isdir(place):
            found += os.listdir(place)
    return found


def _environment(wanted: Wanted, inherited: Mapping[str, str]) -> Dict[str, str]:
    """What uv may know; the index's address is not an argument, because it can hold a password."""
    ours = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_CONFIG": "1"}
    if wanted.index_url:
        ours["UV_DEFAULT_INDEX"] = ours["PIP_INDEX_URL"] = wanted.index_url
    if wanted.cache:
        ours["UV_CACHE_DIR"] = wanted.cache
    else:
        ours["UV_NO_CACHE"] = "1"
    kept = {name: value for name, value in inherited.items() if name != "VIRTUAL_ENV"}
    return {**kept, **ours}


def _uv() -> str:
    found = shutil.which("uv")
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    return found or (beside if os.access(beside, os.X_OK) else "")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise Failed(outcome.USAGE, "the lock %s cannot be read: %s" % (path, error)) from None


def _stamp(into: str) -> str:
    try:
        with open(os.path.join(into, STAMP), encoding="utf-8") as file:
            return str(json.load(file)["lock"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _say(text: str) -> None:
    print("modelyard-fetch: " + text, file=sys.stderr, flush=True)
