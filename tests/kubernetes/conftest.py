"""What several tests of pods that really run need."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest


class _Files(http.server.BaseHTTPRequestHandler):
    """Gives files by their sha256."""

    files: dict[str, bytes]

    def do_GET(self) -> None:
        content = self.files.get(self.path.rpartition("/")[2])
        self.send_response(404 if content is None else 200)
        self.send_header("content-length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def files() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Where pods get files from, and which there are."""
    known: dict[str, bytes] = {}
    handler = type("Files", (_Files,), {"files": known})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/files", known
    server.shutdown()
    server.server_close()
