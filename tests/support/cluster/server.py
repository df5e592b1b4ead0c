"""The HTTP face of the cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from tests.support.cluster import commands, discovery, logs, measuring, openapi, scaling, verbs, watching
from tests.support.cluster.faults import Cut, Fault, Faults, Hang, Muddled, Stale, Status
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.schemas import Resource
from tests.support.cluster.store import Object, fields_match, matches
from tests.support.cluster.verbs import Cluster, Options

Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """Answers for one cluster; `requests` are all that were made, as `METHOD path`.

    `bare` are the paths of those lists among them that were asked for without contents.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.faults = Faults()
        self.requests: list[str] = []
        self.bare: list[str] = []
        self.execute: Callable[[commands.Asked], Awaitable[commands.Command]] = _played
        """Runs commands in containers."""
        self.measure: measuring.Measure = measuring.requested
        """What containers use."""
        self.keeper: logs.Keeper | None = None
        """A kubelet that has logs."""
        self.app = Starlette(
            routes=[
                Route("/version", self._version),
                Route("/healthz", _ok),
                Route("/livez", _ok),
                Route("/readyz", _ok),
                WebSocketRoute("/api/v1/namespaces/{namespace}/pods/{name}/exec", self._exec),
                Route("/{path:path}", self._any, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
            ]
        )

    async def _exec(self, socket: WebSocket) -> None:
        name = (socket.path_params["namespace"], socket.path_params["name"])
        self.requests.append(f"EXEC {socket.url.path}")
        await commands.serve(socket, lambda: self.cluster.read(self.cluster.kind("Pod"), name), self.execute)

    async def _version(self, _: Request) -> Response:
        return JSONResponse(discovery.version(self.cluster.schemas.version))

    async def _any(self, request: Request) -> Response:
        method = "WATCH" if request.query_params.get("watch") in ("1", "true") else request.method
        path = request.url.path
        self.requests.append(f"{method} {path}")
        fault = self.faults.take(method, path)
        try:
            await _suffer(fault)
            return await self._answer(request, fault)
        except Refusal as refusal:
            headers = {"retry-after": str(refusal.retry_after)} if refusal.retry_after else None
            return JSONResponse(refusal.status, refusal.code, headers=headers)

    async def _answer(self, request: Request, fault: Fault | None) -> Response:
        parts = [part for part in request.url.path.split("/") if part]
        if parts[:2] == ["openapi", "v3"]:
            return self._openapi("/".join(parts[2:]))
        found = self._discovered(parts)
        if found is not None:
            return JSONResponse(found)
        if parts[:3] == ["apis", measuring.GROUP, "v1beta1"]:
            return JSONResponse(measuring.answer(self.cluster, self.measure, parts[3:], request.query_params))
        place = self._place(parts)
        if place is None:
            raise Refusal(404, "the server could not find the requested resource")
        resource, namespace, name, subresource = place
        if not name:
            return await self._collection(request, resource, namespace, fault)
        return await self._single(request, resource, (namespace, name), subresource)

    def _openapi(self, prefix: str) -> Response:
        resources = self.cluster.resources
        if not prefix:
            return JSONResponse(openapi.root(resources))
        text = openapi.document(self.cluster.schemas, resources, prefix)
        return Response(text, media_type="application/json")

    def _discovered(self, parts: list[str]) -> Any:
        resources = self.cluster.resources
        match parts:
            case ["api"]:
                return discovery.core()
            case ["apis"]:
                return discovery.groups(resources)
            case ["api", "v1"]:
                return discovery.kinds(resources, "", "v1")
            case ["apis", group, version]:
                return discovery.kinds(resources, group, version)
        return None

    def _place(self, parts: list[str]) -> tuple[Resource, str, str, str] | None:
        """What a path means: resource, namespace, name, subresource."""
        if parts[:1] == ["api"]:
            group, version, rest = "", parts[1] if len(parts) > 1 else "", parts[2:]
        elif parts[:1] == ["apis"] and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return None
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        for resource in self.cluster.resources:
            if (resource.group, resource.version, resource.plural) == (
                group,
                version,
                rest[0] if rest else "",
            ):
                name, subresource = [*rest[1:3], "", ""][:2]
                return resource, namespace, name, subresource
        return None

    async def _collection(
        self, request: Request, resource: Resource, namespace: str, fault: Fault | None
    ) -> Response:
        query = request.query_params
        if query.get("watch") in ("1", "true"):
            asked = watching.Asked.of(resource, namespace, query)
            events = watching.events(self.cluster.store, resource, asked)
            if _metadata_only(request):
                events = _partial_events(events)
            if isinstance(fault, Muddled):
                events = watching.muddled(events, fault.times)
            return StreamingResponse(_lines(events, fault), media_type="application/json")
        match request.method:
            case "GET":
                found = self._list(request, resource, namespace, fault)
                if not _metadata_only(request):
                    return JSONResponse(found)
                self.bare.append(request.url.path)
                return JSONResponse(_partial_list(found))
            case "POST":
                options = verbs.options(query, agent=request.headers.get("user-agent", ""))
                value = await _body(request)
                return JSONResponse(self.cluster.create(resource, namespace, value, options), 201)
            case "DELETE":
                return await self._delete_all(request, resource, namespace)
        raise Refusal(405, "the server does not allow this method on the requested resource")

    def _list(self, request: Request, resource: Resource, namespace: str, fault: Fault | None) -> Object:
        query, store = request.query_params, self.cluster.store
        found = [
            o
            for o in store.list(resource, namespace)
            if matches(o["metadata"].get("labels") or {}, query.get("labelSelector", ""))
            and fields_match(o, query.get("fieldSelector", ""))
        ]
        if isinstance(fault, Stale):
            found = watching.as_of(store, resource, namespace, store.version - fault.versions)
            return verbs.listed(resource, found, store.version - fault.versions)
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 0)
        page = found[start : start + limit] if limit else found[start:]
        more = str(start + limit) if limit and start + limit < len(found) else ""
        return verbs.listed(resource, page, store.version, more)

    async def _delete_all(self, request: Request, resource: Resource, namespace: str) -> Response:
        options = verbs.options(request.query_params, agent=request.headers.get("user-agent", ""))
        options = verbs.deletion(options, await _body(request))
        found = self._list(request, resource, namespace, None)
        for each in found["items"]:
            name = (each["metadata"].get("namespace", ""), each["metadata"]["name"])
            self.cluster.delete(resource, name, options)
        return JSONResponse(found)

    async def _single(
        self, request: Request, resource: Resource, name: tuple[str, str], subresource: str
    ) -> Response:
        if subresource == "exec" and resource.kind == "Pod":
            commands.asked(self.cluster.read(resource, name), request.query_params)
            raise Refusal(400, "Upgrade request required")
        if subresource == "log" and resource.kind == "Pod":
            return await self._log(request, self.cluster.read(resource, name))
        if subresource not in ("", "status", "scale", "eviction"):
            raise Refusal(404, "the server could not find the requested resource")
        agent = request.headers.get("user-agent", "")
        options = verbs.options(request.query_params, agent=agent, subresource=subresource)
        if subresource == "scale" and resource.scale:
            body = None if request.method == "GET" else await _body(request)
            return JSONResponse(scaling.scale(self.cluster, resource, name, body, options))
        if subresource == "eviction" and request.method == "POST":
            return JSONResponse(scaling.evict(self.cluster, name, options), 201)
        return await self._object(request, resource, name, options)

    async def _log(self, request: Request, pod: Object) -> Response:
        """Begin to read, so that a refusal is still an answer of its own."""
        found = logs.lines(self.keeper, pod, request.query_params)
        first = await anext(found, b"")

        async def all_lines() -> AsyncIterator[bytes]:
            yield first
            async for line in found:
                yield line

        return StreamingResponse(all_lines(), media_type="text/plain")

    async def _object(
        self, request: Request, resource: Resource, name: tuple[str, str], options: Options
    ) -> Response:
        cluster = self.cluster
        match request.method:
            case "GET":
                return JSONResponse(cluster.read(resource, name))
            case "PUT":
                return JSONResponse(cluster.replace(resource, name, await _body(request), options))
            case "PATCH":
                kind = request.headers.get("content-type", "").partition(";")[0]
                existed = cluster.store.get(resource, name) is not None
                value = cluster.patch(resource, name, kind, await _body(request), options)
                return JSONResponse(value, 200 if existed else 201)
            case "DELETE":
                wanted = verbs.deletion(options, await _body(request))
                return JSONResponse(cluster.delete(resource, name, wanted))
        raise Refusal(405, "the server does not allow this method on the requested resource")


def _metadata_only(request: Request) -> bool:
    """Whether the client wants to know only which objects there are."""
    return "as=PartialObjectMetadata" in request.headers.get("accept", "")


def _partial(value: Object) -> Object:
    said = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {**said, "metadata": value["metadata"]}


def _partial_list(found: Object) -> Object:
    said = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
    return {**said, "metadata": found["metadata"], "items": [_partial(each) for each in found["items"]]}


async def _partial_events(events: AsyncIterator[Object]) -> AsyncIterator[Object]:
    async for event in events:
        yield event if event["type"] == "ERROR" else {**event, "object": _partial(event["object"])}


async def _played(_: commands.Asked) -> commands.Command:
    return commands.Played()


async def _suffer(fault: Fault | None) -> None:
    match fault:
        case Status(code, retry_after, reason):
            raise Refusal(code, f"made to fail with {code}", retry_after=retry_after, reason=reason)
        case Hang(seconds):
            await asyncio.sleep(seconds)
            raise ConnectionResetError
        case Cut(0):
            raise ConnectionResetError


async def _lines(events: AsyncIterator[Object], fault: Fault | None) -> AsyncIterator[bytes]:
    left = fault.after_events if isinstance(fault, Cut) else -1
    async for event in events:
        yield json.dumps(event, separators=(",", ":")).encode() + b"\n"
        left -= 1
        if left == 0:
            raise ConnectionResetError


async def _body(request: Request) -> Any:
    text = await request.body()
    if "protobuf" in request.headers.get("content-type", ""):
        raise Refusal(415, "this server reads JSON and YAML")
    if not text:
        return None
    try:
        return json.loads(text) if text[:1] in b"{[" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise Refusal(400, f"the object provided is unrecognized: {error}") from None


async def _ok(_: Request) -> Response:
    return PlainTextResponse("ok")
