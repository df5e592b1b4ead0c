"""The system shared memory extension: registering regions, and what is registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelyard.oip.document import load_json
from modelyard.oip.errors import Rejected, shown
from modelyard.serving.application import Application
from modelyard.serving.bodies import small_body
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response, json_response
from modelyard.serving.regions import SharedRegions
from modelyard.serving.routing import Named, Route

BASE = "/v2/systemsharedmemory"
CUDA = "/v2/cudasharedmemory"
_BODY = 'an object such as {"key":"/my_region","offset":0,"byte_size":1024}'


def routes(application: Application) -> Mapping[str, Route]:
    """Paths without a region's name."""
    regions = application.regions
    status = Route({"GET": _endpoint(application, partial(_status, regions, ""))})
    unregister = Route({"POST": _endpoint(application, partial(_unregister, regions, ""))})
    none = Route({"GET": _endpoint(application, lambda exchange: json_response([]))})
    return {
        f"{BASE}/status": status,
        f"{BASE}/unregister": unregister,
        # Clients ask for both kinds to clean up; there is no CUDA memory to share, so none is registered.
        f"{CUDA}/status": none,
        f"{CUDA}/unregister": Route({"POST": _endpoint(application, lambda exchange: Response(200))}),
    }


def named(application: Application) -> Mapping[str, Named]:
    """Paths with a region's name between a beginning and an end."""
    regions = application.regions

    def route(name: str) -> Route | None:
        region, _, verb = name.rpartition("/")
        work: Callable[[Exchange], Response] | None = {
            "status": partial(_status, regions, region),
            "register": partial(_register, regions, region),
            "unregister": partial(_unregister, regions, region),
        }.get(verb)
        if not region or work is None:
            return None
        return Route({"GET" if verb == "status" else "POST": _endpoint(application, work)})

    def cuda(name: str) -> Route:
        del name
        return Route({"POST": _endpoint(application, _no_cuda), "GET": _endpoint(application, _no_cuda)})

    return {f"{BASE}/region/": route, f"{CUDA}/region/": cuda}


def _endpoint(application: Application, work: Callable[[Exchange], Response]) -> Callable[[Exchange], None]:
    def endpoint(exchange: Exchange) -> None:
        application.reply(exchange, work(exchange))

    return endpoint


def _status(regions: SharedRegions, name: str, exchange: Exchange) -> Response:
    del exchange
    return json_response([region.document() for region in regions.status(name).values()])


def _register(regions: SharedRegions, name: str, exchange: Exchange) -> Response:
    document = load_json(small_body(exchange), expected=_BODY)
    if not isinstance(document, dict):
        raise Rejected("", f"expected {_BODY}, got {shown(document)}")
    key = document.get("key")
    if not isinstance(key, str):
        raise Rejected("key", f"expected text, got {shown(key)}")
    offset = _bytes(document.get("offset", 0), "offset")
    regions.register(name, key, offset=offset, byte_size=_bytes(document.get("byte_size"), "byte_size"))
    return Response(200)


def _unregister(regions: SharedRegions, name: str, exchange: Exchange) -> Response:
    del exchange
    regions.unregister(name)
    return Response(200)


def _bytes(value: Any, path: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise Rejected(path, f"expected a number of bytes, got {shown(value)}")
    return value


def _no_cuda(exchange: Exchange) -> Response:
    del exchange
    raise Problem(501, "unsupported", "CUDA shared memory is not offered: use system shared memory")
