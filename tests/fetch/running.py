"""Starts the fetcher as an init container does: a process of its own, by path, without our packages."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import modelyard_fetch

PROGRAM = str(Path(modelyard_fetch.__file__).parent)


def entry(path: str, data: bytes, **more: object) -> dict[str, object]:
    return {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **more}


def manifest(directory: Path, files: list[dict[str, object]], **more: object) -> Path:
    path = directory / "artifact.json"
    path.write_text(json.dumps({"files": files, **more}))
    return path


def command(manifest: Path, into: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-I", PROGRAM, "--manifest", str(manifest), "--into", str(into),
        "--last-words", str(manifest.with_name("termination")), *more,
    ]  # fmt: skip


def start(manifest: Path, into: Path, *more: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    return subprocess.Popen(
        command(manifest, into, *more), env={**clean, **(env or {})}, stderr=subprocess.PIPE, text=True
    )


def run(manifest: Path, into: Path, *more: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    process = start(manifest, into, *more, env=env)
    _, said = process.communicate(timeout=100)
    return process.returncode, said


def tree(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
