"""A door with TLS in front of a plain server: bytes pass as they are."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from modelyard.gateway import authority


@contextmanager
def door(url: str, directory: Path) -> Iterator[tuple[str, Path]]:
    """Its address, and the certificate of the authority that signed its own."""
    now = time.time()
    root = authority.make_authority("tests", now=now)
    mine = authority.issue(root, ("127.0.0.1",), now=now)
    directory.mkdir(parents=True, exist_ok=True)
    trusted, chain, key = directory / "ca.crt", directory / "tls.crt", directory / "tls.key"
    trusted.write_text(root.chain)
    chain.write_text(mine.chain)
    key.write_text(mine.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    listener = socket.create_server(("127.0.0.1", 0))
    behind = urlsplit(url)
    assert behind.hostname
    there = (behind.hostname, behind.port or 80)
    threading.Thread(target=_accept, args=(listener, context, there), daemon=True).start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", trusted
    finally:
        listener.close()


def _accept(listener: socket.socket, context: ssl.SSLContext, there: tuple[str, int]) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(plain, context, there), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, there: tuple[str, int]) -> None:
    try:
        front = context.wrap_socket(plain, server_side=True)
    except OSError:
        return  # a client that does not trust us
    back = socket.create_connection(there)
    threading.Thread(target=_pump, args=(back, front), daemon=True).start()
    _pump(front, back)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
