"""The hosts by which a service is called, and more where certificates or gRPC need them: pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from modelyard.domain.endpoint import Route

_LONGEST_LABEL = 63
_STAGES = ("test", "debug")


def flat(host: str) -> str:
    """`test.churn.service.D` as `test-churn.service.D`, which a wildcard certificate names; or empty.

    A wildcard of TLS stands for one label, while that of a listener stands for any number.
    """
    stage, _, rest = host.partition(".")
    label, _, domain = rest.partition(".")
    if stage not in _STAGES or not domain.startswith("service."):
        return ""
    joined = f"{stage}-{label}"
    return f"{joined}.{domain}" if len(joined) <= _LONGEST_LABEL else ""


def grpc(host: str) -> str:
    """`churn-grpc.service.D` of `churn.service.D`, since a host has one kind of route; or empty."""
    called = flat(host) or host
    label, _, domain = called.partition(".")
    named = f"{label}-grpc"
    return f"{named}.{domain}" if domain and len(named) <= _LONGEST_LABEL else ""


def with_aliases(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The routes with the hosts beside their own, as far as these are no service's own."""
    present = tuple(routes)
    taken = {route.addresses.host.lower() for route in present if route.hosted}
    found = []
    for route in present:
        host = route.addresses.host.lower()
        wanted = [alias for alias in (flat(host), grpc(host)) if alias and alias not in taken]
        taken.update(wanted if route.hosted else ())
        found.append(replace(route, aliases=tuple(wanted)) if route.hosted else route)
    return tuple(found)
