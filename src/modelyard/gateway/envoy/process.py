"""One Envoy process: how it is started, and what tells it from others."""

from __future__ import annotations

import resource

from modelyard.gateway import process
from modelyard.gateway.envoy.layout import Layout
from modelyard.gateway.process import Running, alive, send

__all__ = ["Running", "alive", "find", "send", "spawn"]


def spawn(layout: Layout, *, binary: str, concurrency: int) -> Running:
    """Start Envoy in a session of its own, so that it outlives us; raises OSError when it cannot start."""
    arguments = [binary, *_identity(layout), "--disable-hot-restart", "--log-level", "warning"]
    arguments += ["--concurrency", str(concurrency), "--drain-strategy", "immediate"]
    running = process.spawn(arguments, log=layout.log, record=layout.record)
    _allow_many_connections(running.pid)
    return running


def find(layout: Layout) -> Running | None:
    """The Envoy that works by this layout, though another process of ours started it; None if none lives."""
    return process.find(layout.record, _identity(layout))


def _identity(layout: Layout) -> list[str]:
    return ["--config-path", str(layout.bootstrap)]


def _allow_many_connections(pid: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
