"""What makes no sense in values although each for itself does."""

from __future__ import annotations

from collections.abc import Iterator

from modelyard.domain.errors import FieldError, Invalid
from modelyard.installing.values import Bind, Database, Values

_FOREIGN = ("", "default", "kube-system", "kube-public", "kube-node-lease")

_MOST_ROUTERS = 100

Wrong = Iterator[tuple[str, str]]
"""The value's name, and what is wrong with it."""


def require(values: Values, taken: frozenset[str] = frozenset()) -> None:
    """Raise Invalid for values that contradict one another; `taken` are settings that are written already."""
    wrong = [
        *_ports(values.bind),
        *_door(values.bind),
        *_database(values.database),
        *_platform(values, taken),
    ]
    if wrong:
        errors = [FieldError(path, message) for path, message in wrong]
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in errors), errors=errors)


def _ports(bind: Bind) -> Wrong:
    known = _range(bind.node_ports)
    if known is None:
        yield "bind.node_ports", f"must be FIRST-LAST, such as 30000-32767, got {bind.node_ports[:40]!r}"
        return
    for name, port, least in (("http_port", bind.http_port, 1), ("https_port", bind.https_port, 0)):
        if not least <= port <= 65_535:
            yield f"bind.{name}", f"a port is from 1 to 65535, got {port}"
        elif bind.kind == "NodePort" and port and port not in known:
            yield (
                f"bind.{name}",
                f"{port} is not in the cluster's range of node ports, {bind.node_ports}: choose one of it, "
                "use bind.kind=HostPort or LoadBalancer, or say the cluster's own range in bind.node_ports",
            )


def _door(bind: Bind) -> Wrong:
    if bind.http_port == bind.https_port:
        yield "bind.https_port", "must differ from bind.http_port"
    if bind.ip and bind.kind in ("NodePort", "ClusterIP"):
        yield "bind.ip", f"a {bind.kind} has no address to choose; use bind.kind=HostPort or LoadBalancer"
    if bind.redirect and not bind.https_port:
        yield "bind.redirect", "there is no HTTPS to redirect to; set bind.https_port"


def _database(database: Database) -> Wrong:
    if database.url and database.secret:
        yield "database.secret", "give database.url or database.secret, not both"
    if database.url and not database.url.startswith("postgresql://"):
        yield "database.url", "must be postgresql://USER:PASSWORD@HOST/NAME"


def _platform(values: Values, taken: frozenset[str]) -> Wrong:
    if values.namespace in _FOREIGN:
        yield "namespace", "must be one of the platform's own, such as modelyard-system"
    if not 0 <= values.routers.count <= _MOST_ROUTERS:
        yield "routers.count", f"must be from 0 to {_MOST_ROUTERS}, got {values.routers.count}"
    if values.routing == "gateway" and not values.gateway_class:
        yield "gateway_class", "must name the GatewayClass that routing=gateway is to use"
    for entry in values.control_plane.env:
        name = str(entry.get("name") or "")
        if not name:
            yield "control_plane.env", "every entry needs a `name`, and a `value` or `valueFrom`"
        elif name in taken:
            yield "control_plane.env", f"{name} follows from other values, and cannot be set beside them"


def _range(text: str) -> range | None:
    first, _, last = text.partition("-")
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        return None
    return range(int(first), int(last) + 1)
