"""Reading and replacing the files that Envoy watches."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.domain.errors import Unavailable

Json = dict[str, Any]

_VERSION = re.compile(rb'\{"version_info":"([0-9a-f]+)"')


def prepare(directory: Path) -> None:
    """Make the directory, open to its owner only."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise _unwritable(directory, error) from error


def read(path: Path) -> Json | None:
    """The document at `path`; None when there is none or it is not JSON."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def version(path: Path) -> str:
    """The version of the document at `path` without reading it all; empty when it has none."""
    try:
        with path.open("rb") as file:
            found = _VERSION.match(file.read(100))
    except OSError:
        return ""
    return found[1].decode() if found else ""


def replace(path: Path, document: Json) -> None:
    """Write beside and rename, which is what wakes Envoy; raises Unavailable when the disk refuses."""
    beside = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, separators=(",", ":"))
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _unwritable(path, error) from error


def named(document: Json | None) -> dict[str, Json]:
    """Name to resource of a discovery response, without its version."""
    resources = (document or {}).get("resources", [])
    return {resource["name"]: resource for resource in resources}


def replicas(clusters: Json | None) -> Iterator[str]:
    """Names of the replicas in a document of clusters."""
    for cluster in named(clusters).values():
        for locality in cluster["load_assignment"]["endpoints"]:
            for entry in locality["lb_endpoints"]:
                if entry["endpoint"]["hostname"]:
                    yield entry["endpoint"]["hostname"]


def has_replicas(cluster: Json) -> bool:
    """Whether a cluster has anyone to send requests to."""
    return any(locality["lb_endpoints"] for locality in cluster["load_assignment"]["endpoints"])


def _unwritable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"the gateway's configuration {path.name} cannot be written: {error.strerror}")
