"""Stands in for `kube-apiserver`: the cluster of the tests behind TLS, certificates and roles."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from tests.support.apiserver import papers
from tests.support.apiserver.standin import APISERVER_FLAGS, BadFlags, checked, parsed
from tests.support.cluster import customs, rights, schemas
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.resources import DEFINITION
from tests.support.cluster.running import NEWEST
from tests.support.cluster.server import Server
from tests.support.cluster.verbs import Cluster

_ACCOUNT = "system:serviceaccount:"
_ROLES = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_OPEN = ("/version", "/healthz", "/livez", "/readyz")
"""What also those see who show no certificate."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str = "system:anonymous"
    groups: tuple[str, ...] = ()


class Guard:
    """Lets through what whoever asks may do."""

    def __init__(self, app: ASGIApp, cluster: Cluster) -> None:
        self._app, self._cluster = app, cluster

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        customs.serve(self._cluster)
        try:
            user = _acting(scope["user"], Headers(scope=scope))
            if scope["path"] == _REVIEW and scope["method"] == "POST":
                return await JSONResponse(self._review(user, await Request(scope, receive).json()), 201)(
                    scope, receive, send
                )
            self._require(user, scope)
        except Refusal as refusal:
            return await JSONResponse(refusal.status, refusal.code)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _require(self, user: User, scope: Scope) -> None:
        """Nothing when the user may do this; else raises Refusal."""
        if papers.MASTERS in user.groups or scope["path"] in _OPEN:
            return
        if user == User():
            raise Refusal(401, "Unauthorized")
        wanted = rights.asked(scope["method"], scope["path"], QueryParams(scope["query_string"]))
        if wanted is not None and not self._allows(user, wanted):
            said = f'{wanted.resource} is forbidden: User "{user.name}" cannot {wanted.verb} resource'
            raise Refusal(403, said)

    def _review(self, user: User, asked: dict[str, Any]) -> dict[str, Any]:
        """Whether the user might do something."""
        said = asked["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (said["resource"], said.get("subresource"))))
        wanted = rights.Asked(
            said["verb"], said.get("group", ""), resource, said.get("namespace", ""), said.get("name", "")
        )
        return {**asked, "status": {"allowed": self._allows(user, wanted)}}

    def _allows(self, user: User, wanted: rights.Asked) -> bool:
        if papers.MASTERS in user.groups:
            return True
        roles = [each for kind in _ROLES for each in self._cluster.store.list(self._cluster.kind(kind))]
        account = user.name.rpartition(":")[2]
        return user.name.startswith(_ACCOUNT) and rights.allows(roles, wanted, account)


def _acting(user: User, headers: Headers) -> User:
    """Whose rights count."""
    if "impersonate-user" not in headers:
        return user
    if papers.MASTERS not in user.groups:
        raise Refusal(403, f'User "{user.name}" cannot impersonate')
    return User(headers["impersonate-user"], tuple(headers.getlist("impersonate-group")))


class Known(H11Protocol):
    """A connection that knows whose certificate it was opened with."""

    def connection_made(self, transport: Any) -> None:
        """Tell the application who asks on it."""
        super().connection_made(transport)
        user, app = _owner(transport.get_extra_info("peercert") or {}), self.app

        async def told(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "user": user}, receive, send)  # type: ignore[arg-type]

        self.app = told  # type: ignore[assignment]


def _owner(certificate: Mapping[str, Any]) -> User:
    parts = [pair for part in certificate.get("subject", ()) for pair in part]
    names = [value for key, value in parts if key == "commonName"]
    groups = tuple(value for key, value in parts if key == "organizationName")
    return User(names[0], groups) if names else User()


async def serve(flags: Mapping[str, str]) -> None:
    """Answer until a signal comes."""
    cluster = Cluster(schemas.load(NEWEST), clock=time.time, extra=[DEFINITION])
    config = uvicorn.Config(
        Guard(Server(cluster).app, cluster), host=flags.get("bind-address", "127.0.0.1"),
        port=int(flags.get("secure-port", "6443")), lifespan="off", log_level="warning", http=Known,
        ssl_certfile=flags["tls-cert-file"], ssl_keyfile=flags["tls-private-key-file"],
        ssl_ca_certs=flags["client-ca-file"], ssl_cert_reqs=ssl.CERT_OPTIONAL, timeout_graceful_shutdown=1,
    )  # fmt: skip
    await uvicorn.Server(config).serve()


def main() -> int:
    """Check the flags and the store as the real one does, and serve."""
    try:
        flags = parsed(sys.argv[1:], APISERVER_FLAGS)
        checked(flags)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{flags['etcd-servers']}/health", timeout=5) as answer:
            if json.load(answer) != {"health": "true"}:
                raise BadFlags(f"--etcd-servers: {flags['etcd-servers']} is not well")
    except (BadFlags, OSError) as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    asyncio.run(serve(flags))
    return 0


if __name__ == "__main__":
    sys.exit(main())
