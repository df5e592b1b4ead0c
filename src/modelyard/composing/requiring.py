"""What makes no sense in settings although its type is right: said at the start, and when installing."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import NoReturn

from modelyard.artifacts import bucket
from modelyard.composing import doors
from modelyard.control import hours
from modelyard.domain import hosts, naming, quantity
from modelyard.domain.address import require_external
from modelyard.domain.errors import FieldError, Invalid
from modelyard.settings import Settings

_PAUSE_SECONDS = (0.0, 600.0)
_TEST_SECONDS = (0.1, 86_400.0)
_QUEUE_SECONDS = (0.0, 3600.0)
_MOST_TASKS = 10_000
_LONGEST_DRAIN_WAIT_SECONDS = 300
_WEB = ("http://", "https://")


def require(chosen: Settings) -> None:
    """Raise Invalid that names every setting which nothing could work with."""
    wrong = [error for check in _checks(chosen) for error in _said(check)]
    if wrong:
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in wrong), errors=wrong)


def _checks(chosen: Settings) -> Iterator[Callable[[], object]]:
    """Each raises Invalid."""
    limits, cluster, store = chosen.limits, chosen.kubernetes, chosen.artifacts
    yield lambda: hosts.require_domain(chosen.server.domain, "server.domain")
    yield lambda: require_external(chosen.gateway.external_ip, "gateway.external_ip")
    yield lambda: doors.public_url(chosen.server)
    yield lambda: doors.port_range(chosen)
    yield lambda: quantity.parse_memory(limits.upload, "limits.upload")
    yield lambda: quantity.parse_memory(limits.request, "limits.request")
    yield lambda: _seconds(limits.test_timeout_seconds, "limits.test_timeout_seconds", _TEST_SECONDS)
    yield lambda: _amount(limits.tasks, "limits.tasks", _MOST_TASKS)
    yield lambda: _seconds(limits.queue_seconds, "limits.queue_seconds", _QUEUE_SECONDS)
    yield lambda: hours.require_zone(chosen.scaling.time_zone, "scaling.time_zone")
    yield lambda: quantity.parse_memory(cluster.cache_size, "kubernetes.cache_size")
    yield lambda: _web(cluster.prometheus_url, "kubernetes.prometheus_url")
    yield lambda: _seconds(cluster.gateway_pause_seconds, "kubernetes.gateway_pause_seconds", _PAUSE_SECONDS)
    yield lambda: _seconds(
        cluster.drain_wait_seconds, "kubernetes.drain_wait_seconds", (0.0, _LONGEST_DRAIN_WAIT_SECONDS)
    )
    yield lambda: _queue(cluster.cluster_queue)
    yield lambda: cidrs(cluster.platform_cidrs)
    if store.url:
        yield lambda: bucket.place(store.url)
    yield lambda: _web(store.endpoint, "artifacts.endpoint")
    yield lambda: [bucket.place(url, "artifacts.sources") for url in store.sources.split()]


def cidrs(text: str) -> tuple[str, ...]:
    """The addresses of `kubernetes.platform_cidrs`. Raises Invalid for what is none."""
    try:
        return tuple(str(ipaddress.ip_network(word.strip())) for word in text.split(",") if word.strip())
    except ValueError as error:
        _refuse(
            "kubernetes.platform_cidrs",
            f"{error}; write such as `10.0.0.5/32`, with commas between several",
        )


def _queue(name: str) -> None:
    if name and not naming.is_subdomain(name):
        message = f"{name[:60]!r} is no name of a ClusterQueue; `kubectl get clusterqueues` has them"
        _refuse("kubernetes.cluster_queue", message)


def _said(check: Callable[[], object]) -> Iterator[FieldError]:
    try:
        check()
    except Invalid as error:
        yield from error.errors


def _seconds(seconds: float, path: str, allowed: tuple[float, float]) -> None:
    least, most = allowed
    if not least <= seconds <= most:  # what is not a number is neither
        _refuse(path, f"must be seconds from {least:g} to {most:g}, got {seconds:g}")


def _amount(number: int, path: str, most: int) -> None:
    if not 0 <= number <= most:
        _refuse(path, f"must be from 0 to {most}, got {number}")


def _web(url: str, path: str) -> None:
    if url and not url.startswith(_WEB):
        _refuse(path, f"must begin with http:// or https://, got {url[:70]!r}")


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
