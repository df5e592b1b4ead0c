"""`python -m modelyard.gateway.activator --requests SOCKET --reports SOCKET` holds requests until it ends."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from pathlib import Path

from modelyard.gateway.activator.reporting import Reports
from modelyard.gateway.activator.visit import Visit

_BACKLOG = 4096
_LONGEST_LINE = 1 << 24


def main() -> int:
    """Serve until a signal; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=Path, required=True, help="where the gateway sends requests")
    parser.add_argument("--reports", type=Path, required=True, help="where control planes listen")
    chosen = parser.parse_args()
    asyncio.run(_serve(chosen.requests, chosen.reports))
    return 0


async def _serve(requests: Path, reports: Path) -> None:
    loop, over, told = asyncio.get_running_loop(), asyncio.Event(), Reports()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    listening = await asyncio.start_unix_server(
        told.converse, sock=_listen(reports), limit=_LONGEST_LINE, backlog=_BACKLOG
    )
    serving = await loop.create_unix_server(
        lambda: Visit(told.hall, told.awake), sock=_listen(requests), backlog=_BACKLOG
    )
    await over.wait()
    serving.close()
    listening.close()


def _listen(path: Path) -> socket.socket:
    """A socket at this path, also where one that was killed has left its own."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    path.chmod(0o600)
    return listening


if __name__ == "__main__":
    raise SystemExit(main())
