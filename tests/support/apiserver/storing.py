"""Stands in for `etcd`: takes its flags and says that it is well; the API server keeps its things itself."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.apiserver.standin import ETCD_FLAGS, BadFlags, parsed


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = {"/health": {"health": "true"}, "/version": {"etcdserver": "3.6.0"}}.get(self.path)
        body = json.dumps(said or {}).encode()
        self.send_response(200 if said else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> int:
    """Answer until a signal comes."""
    try:
        flags = parsed(sys.argv[1:], ETCD_FLAGS)
        where = urlsplit(flags["listen-client-urls"])
        Path(flags["data-dir"]).mkdir(parents=True, exist_ok=True)
    except (BadFlags, KeyError, OSError) as error:
        sys.stderr.write(f"error verifying flags, {error}. See 'etcd --help'.\n")
        return 1
    ThreadingHTTPServer((where.hostname or "", where.port or 0), _Answer).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
