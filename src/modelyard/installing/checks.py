"""What makes no sense in values although each for itself does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from modelyard import settings
from modelyard.composing import doors, requiring
from modelyard.domain.errors import FieldError, Invalid
from modelyard.installing import cluster_checks, control_plane
from modelyard.installing import values as documents
from modelyard.installing.values import Bind, Database, Values

_NOWHERE = Path("/dev/null/modelyard")
"""A data directory with no file of settings in it."""
_FOREIGN = ("", "default", "kube-system", "kube-public", "kube-node-lease")

_MOST_ROUTERS = 100
_MOST_PLANES = 9
_KEYS = {"AWS_ACCESS_KEY_ID", "MODELYARD_ARTIFACTS__CREDENTIALS_FILE"}

Wrong = Iterator[tuple[str, str]]
"""The value's name, and what is wrong with it."""


def require(values: Values, taken: frozenset[str] = frozenset()) -> None:
    """Raise Invalid for values that contradict one another; `taken` are settings that are written already."""
    wrong = [
        *_ports(values.bind),
        *_door(values.bind),
        *_database(values.database),
        *_platform(values, taken),
        *_several(values),
        *_settings(values),
        *_index(values),
        *_wheels(values),
        *_bucket(values),
        *cluster_checks.wrong(values),
    ]
    if wrong:
        errors = [FieldError(path, message) for path, message in wrong]
        raise Invalid("; ".join(f"{each.path}: {each.message}" for each in errors), errors=errors)


def _ports(bind: Bind) -> Wrong:
    try:
        known = doors.node_ports(settings.Kubernetes(node_ports=bind.node_ports))
    except Invalid:
        return  # the platform's own words are among those of its settings
    asked = (
        ("http_port", bind.http_port, 1), ("https_port", bind.https_port, 0),
        ("second_http_port", bind.second_http_port, 0),
    )  # fmt: skip
    for name, port, least in asked:
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
    if bind.second_http_port and bind.second_http_port in (bind.http_port, bind.https_port):
        yield "bind.second_http_port", "must differ from bind.http_port and bind.https_port"
    if bind.ip and bind.kind in ("NodePort", "ClusterIP"):
        yield "bind.ip", f"a {bind.kind} has no address to choose; use bind.kind=HostPort or LoadBalancer"
    if bind.redirect and not bind.https_port:
        yield "bind.redirect", "there is no HTTPS to redirect to; set bind.https_port"


def _database(database: Database) -> Wrong:
    if database.url and database.secret:
        yield "database.secret", "give database.url or database.secret, not both"
    if database.url and not database.url.startswith("postgresql://"):
        yield "database.url", "must be postgresql://USER:PASSWORD@HOST/NAME"


def _several(values: Values) -> Wrong:
    """More than one control plane share records, files and the gateway, or they are not one platform."""
    path, count = "control_plane.replicas", values.control_plane.replicas
    if not 1 <= count <= _MOST_PLANES:
        yield path, f"must be from 1 to {_MOST_PLANES}, got {count}"
    if count <= 1:
        return
    if not (values.database.url or values.database.secret):
        yield path, f"{count} control planes cannot share SQLite; set database.url or database.secret"
    if values.storage.access_mode != "ReadWriteMany":
        yield (
            path,
            f"{count} control planes share files: set storage.access_mode=ReadWriteMany, and a "
            "storage.class_name that offers it, such as one of NFS or CephFS",
        )
    if not values.routers.count:
        yield path, f"{count} control planes need routers in front of them; set routers.count"


def _settings(values: Values) -> Wrong:
    """What the platform itself would say of its settings when it starts, by the names of values."""
    environ = control_plane.told(documents.plain(values))
    try:
        requiring.require(settings.load(_NOWHERE, environ, {}).settings)
    except Invalid as error:
        names = control_plane.values_of_settings()
        for each in error.errors:
            message = each.message
            for setting, name in names.items():
                message = message.replace(setting, name)
            yield names.get(each.path, each.path), message


def _index(values: Values) -> Wrong:
    """Whoever reads Deployments would read its password."""
    path, url = "runtimes.index_url", values.runtimes.index_url
    try:
        host = urlsplit(url).netloc and urlsplit(url).hostname
    except ValueError:
        host = None
    if "@" in url:
        yield (
            path,
            "must hold no name or password; give it as MODELYARD_RUNTIMES__INDEX_URL with valueFrom "
            "and a secretKeyRef in control_plane.env",
        )
    elif url and not url.startswith(("http://", "https://")):
        yield path, f"must begin with http:// or https://, got {url[:70]!r}"
    elif url and not host:
        yield path, f"names no host, got {url[:70]!r}"


def _wheels(values: Values) -> Wrong:
    """Nothing but the volume can be written in the platform's pod, or stays when another takes over."""
    path, said = "runtimes.wheels", values.runtimes.wheels
    if not said:
        return
    parts = PurePosixPath(said).parts
    if parts[:2] != ("/", "data") or len(parts) < 3 or ".." in parts:
        yield path, f"must be a directory below /data, such as /data/wheels, got {said[:70]!r}"
    elif values.control_plane.replicas > 1 and parts[2] not in control_plane.SHARED:
        yield path, f"several control planes share /data/wheels, and not {said[:70]}"


def _bucket(values: Values) -> Wrong:
    """Keys for a bucket, and a bucket for keys."""
    store, path = values.artifacts, "artifacts.secret"
    named = {str(entry.get("name")) for entry in values.control_plane.env}
    wants = bool(store.url or store.sources)
    if store.secret and not wants:
        yield path, "nothing needs its keys; set artifacts.url or artifacts.sources"
    if wants and not store.secret and not named & _KEYS:
        yield (
            path,
            "must name a Secret with the keys access_key_id and secret_access_key; or give both as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in control_plane.env",
        )


def _platform(values: Values, taken: frozenset[str]) -> Wrong:
    if values.namespace in _FOREIGN:
        yield "namespace", "must be one of the platform's own, such as modelyard-system"
    if not 0 <= values.routers.count <= _MOST_ROUTERS:
        yield "routers.count", f"must be from 0 to {_MOST_ROUTERS}, got {values.routers.count}"
    if values.routing == "gateway" and not values.gateway_class:
        yield "gateway_class", "must name the GatewayClass that routing=gateway is to use"
    for entry in values.control_plane.env:
        name = str(entry.get("name") or "")
        if name in taken:
            yield "control_plane.env", f"{name} follows from other values, and cannot be set beside them"
