"""Runs uv: what it inherits, where it finds interpreters, and what its complaints mean."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard.domain.deployment import Failure

_STEP_SECONDS = 3600.0
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NETRC", "PYENV_ROOT")
_PASSED_ON_PREFIXES = ("UV_", "PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NEVER = ("UV_PUBLISH_", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON_PREFERENCE")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s`'\")]+")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.+@~-]+/)+[\w.+@~-]*")
_UNREACHABLE = re.compile(
    r"network was disabled|failed to fetch|error sending request|connection (?:refused|reset)|tcp connect"
    r"|dns error|timed out|timeout|certificate|network connectivity is disabled|status server error",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """How to call uv for one build."""

    program: str
    env: Mapping[str, str]
    log: Path
    """What it says is kept here."""
    cwd: Path

    def __call__(self, *arguments: str) -> str:
        """Its stdout. Raises UvFailed with what it said, OSError when it cannot be run."""
        command = [self.program, *arguments]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_STEP_SECONDS,
            check=False,
            env=dict(self.env),
            cwd=self.cwd,
        )
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ uv {' '.join(arguments)}\n{done.stderr}")
        if done.returncode:
            raise UvFailed(done.stderr or f"error: uv ended with code {done.returncode}")
        return done.stdout


class UvFailed(Exception):
    """uv said no; its text is the argument."""


def environment(inherited: Mapping[str, str], *, downloads: bool) -> dict[str, str]:
    """What uv needs to reach an index and its cache, and nothing else of ours."""
    kept = {
        name: value
        for name, value in inherited.items()
        if (name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES) or name.lower().endswith("_proxy"))
        and not name.startswith(_NEVER)
    }
    return {
        **kept,
        "PATH": _search_path(inherited),
        "NO_COLOR": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PYTHON_DOWNLOADS": "automatic" if downloads else "never",
    }


def interpreters(uv: Uv) -> dict[str, str]:
    """Version to path of every CPython that is installed, newest first."""
    found = json.loads(uv("python", "list", "--only-installed", "--output-format", "json"))
    return {
        each["version"]: each["path"]
        for each in found
        if each.get("implementation") == "cpython" and each.get("variant", "default") == "default"
    }


def judge(text: str, *, offline: bool) -> Failure:
    """The failure that uv's complaint means, without addresses and paths of this machine."""
    essence = _essence(text)
    if "No space left" in text:
        return Failure(reason="DiskFull", message="no space is left to build the runtime; free disk space")
    if offline and _UNREACHABLE.search(text):
        return Failure(
            reason="IndexUnreachable",
            message=f"offline, and not everything is cached: {essence}; build once with the index allowed, "
            "or switch `runtimes.offline` off",
        )
    if _UNREACHABLE.search(text):
        return Failure(
            reason="IndexUnreachable",
            message=f"the package index cannot be reached: {essence}; "
            "check the network and `runtimes.index_url`",
        )
    return Failure(reason="RuntimeBuildFailed", message=essence)


def _essence(text: str) -> str:
    """The sentence that says what is wrong, and uv's hint."""
    paragraphs = [line.strip() for line in text.splitlines()]
    causes = [line.removeprefix("cause:").strip() for line in paragraphs if line.startswith("cause:")]
    errors = [line.removeprefix("error:").strip() for line in paragraphs if line.startswith("error:")]
    hints = [line for line in paragraphs if line.startswith("hint:")]
    said = (causes[:1] or errors[:1] or [line for line in paragraphs if line][-1:]) + hints[:1]
    plain = _PATH.sub("a local file", _URL.sub("the index", " ".join(said)))
    return plain.rstrip(" .:")[:1000] or "uv gave no reason; see the build log"


def _search_path(inherited: Mapping[str, str]) -> str:
    """PATH without pyenv's shims, which only pretend to be interpreters, but with what they stand for."""
    entries = [entry for entry in inherited.get("PATH", os.defpath).split(":") if entry]
    root = Path(inherited.get("PYENV_ROOT") or Path(inherited.get("HOME", "/")) / ".pyenv")
    shims = str(root / "shims")
    versions = sorted((root / "versions").glob("*/bin"))
    return ":".join([*(entry for entry in entries if entry.rstrip("/") != shims), *map(str, versions)])
