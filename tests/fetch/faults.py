"""A real HTTP server with files, which does what it is told wrong."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    """What the server has, how it misbehaves, and what it was asked."""

    content: dict[str, bytes] = field(default_factory=dict)
    token: str = ""
    ranges: bool = True
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Answers that are given first, one each."""
    cuts: list[int] = field(default_factory=list)
    """After how many bytes the next answers break off."""
    pace: float = 0.0
    """Seconds between pieces of 64 KiB."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, Range and Authorization of every request."""
    sent: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    files: Files


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        files = self.server.files
        asked = self.headers.get("Range", "")
        with files.lock:
            files.asked.append((self.path, asked, self.headers.get("Authorization", "")))
            scripted = files.statuses.pop(0) if files.statuses else None
            cut = files.cuts.pop(0) if files.cuts and scripted is None else None
        if scripted:
            return self._answer(scripted[0], scripted[1])
        if files.token and self.headers.get("Authorization") != f"Bearer {files.token}":
            return self._answer(403, {})
        data = files.content.get(self.path)
        if data is None:
            return self._answer(404, {})
        self._send(data, asked, cut)

    def _send(self, data: bytes, asked: str, cut: int | None) -> None:
        files, total = self.server.files, len(data)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked) if files.ranges else None
        if found:
            start, end = int(found[1]), min(int(found[2]) + 1, total)
            if start >= total:
                return self._answer(416, {"Content-Range": f"bytes */{total}"})
            data = data[start:end]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{total}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self._write(data, cut)

    def _write(self, data: bytes, cut: int | None) -> None:
        files = self.server.files
        for at in range(0, len(data), 65536):
            if files.pace:
                time.sleep(files.pace)
            piece = data[at : at + 65536]
            if cut is not None and at + len(piece) > cut:
                self.wfile.write(piece[: cut - at])
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
                )  # a reset
                self.close_connection = True
                self.connection.close()
                return
            try:
                self.wfile.write(piece)
            except OSError:
                return
            with files.lock:
                files.sent += len(piece)

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serving(content: dict[str, bytes]) -> Iterator[Files]:
    """A server on a free port, until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.files = Files(content=content, url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.files
    finally:
        server.shutdown()
        server.server_close()
