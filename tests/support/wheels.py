"""Wheels made here, so that no test needs a network: by hand, and from what is installed."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path


def wheel(directory: Path, name: str, version: str, files: Mapping[str, str]) -> tuple[Path, str]:
    """Write a wheel of these modules; answers its path and its line of a lock."""
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_hash(text)},{len(text.encode())}\n" for path, text in content.items())
    content[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    path = directory / f"{name}-{version}-py3-none-any.whl"
    return _written(path, {member: text.encode() for member, text in content.items()}, name, version)


def installed(directory: Path, name: str) -> tuple[Path, str]:
    """A wheel of a package as it is installed here."""
    found = metadata.distribution(name)
    tag = next(
        line.partition(": ")[2]
        for line in (found.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag")
    )
    kept = [each for each in found.files or () if ".." not in each.parts and "__pycache__" not in each.parts]
    content = {str(each): Path(each.locate()).read_bytes() for each in kept if each.name != "RECORD"}
    info = next(str(each.parent) for each in kept if each.name == "METADATA")
    lines = [f"{path},sha256={_coded(data)},{len(data)}" for path, data in content.items()]
    content[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    path = directory / f"{name}-{found.version}-{tag}.whl"
    return _written(path, content, name, found.version)


@contextmanager
def index(directory: Path) -> Iterator[str]:
    """A package index on loopback: each package's directory, listed."""
    handler = partial(_Quiet, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _written(path: Path, content: Mapping[str, bytes], name: str, version: str) -> tuple[Path, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in content.items():
            archive.writestr(zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)), data)
    return path, f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _hash(text: str) -> str:
    return f"sha256={_coded(text.encode())}"


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
