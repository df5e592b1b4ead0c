"""The model repository extension: which models there are, and loading and unloading them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import orjson

from modelyard.oip.errors import Rejected, shown
from modelyard.oip.metadata import repository_entry
from modelyard.serving.application import Application
from modelyard.serving.bodies import small_body
from modelyard.serving.errors import Failure, Problem
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, Response, json_response
from modelyard.serving.routing import Endpoint, Route

_STATES = {
    "ready": "READY",
    "starting": "LOADING",
    "unloading": "UNLOADING",
}


def routes(application: Application, *, drain_seconds: float, control: bool) -> Mapping[str, Route]:
    """The index, and `load` and `unload` of every model; an unload waits for requests so long.

    Without `control` nothing can be unloaded.
    """
    found = {"/v2/repository/index": Route({"POST": _index(application)})}
    for name in application.catalog.names():
        base = f"/v2/repository/models/{name}"
        found[f"{base}/load"] = Route({"POST": _endpoint(application, partial(_load, application, name))})
        unload = partial(_unload, application, name, drain_seconds) if control else partial(_refuse, name)
        found[f"{base}/unload"] = Route({"POST": _endpoint(application, unload)})
    return found


async def _load(application: Application, name: str) -> None:
    """Load every version of a model; raises Problem 400 when one cannot be loaded, as Triton does."""
    versions = application.catalog.versions(name)
    for hosted in versions:
        hosted.load()
    for failure in [await hosted.loaded() for hosted in versions]:
        if failure is not None:
            raise Problem(
                400, "load_failed", f"failed to load '{name}': {failure.message}", reason=failure.reason
            )


async def _unload(application: Application, name: str, seconds: float) -> None:
    """Unload every version of a model."""
    await asyncio.gather(*(hosted.unload(seconds) for hosted in application.catalog.versions(name)))


async def _refuse(name: str) -> None:
    """Who may predict may not end the service for everybody."""
    raise Problem(
        403,
        "forbidden",
        f"the platform decides when '{name}' is unloaded: undeploy or scale the service instead",
    )


def _endpoint(application: Application, work: Any) -> Endpoint:
    running: set[asyncio.Task[None]] = set()

    def endpoint(exchange: Exchange) -> None:
        _check_parameters(_document(small_body(exchange)))
        task = asyncio.get_running_loop().create_task(_answered(application, exchange, work()))
        running.add(task)
        task.add_done_callback(running.discard)

    return endpoint


async def _answered(application: Application, exchange: Exchange, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Problem as problem:
        application.reply(exchange, problem)
    else:
        application.reply(exchange, Response(200))


def _index(application: Application) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        only_ready = _document(small_body(exchange)).get("ready") is True
        entries = [
            _entry(application, hosted)
            for hosted in application.catalog.models
            if hosted.is_ready or not only_ready
        ]
        application.reply(exchange, json_response(entries))

    return endpoint


def _entry(application: Application, hosted: HostedModel) -> dict[str, str]:
    obstacle: Failure | None = None if hosted.is_ready else hosted.obstacle
    reason = "" if obstacle is None else f"{obstacle.reason}: {obstacle.message}"
    return repository_entry(hosted.model, state=_STATES.get(hosted.phase, "UNAVAILABLE"), reason=reason)


def _document(body: bytes) -> Mapping[str, Any]:
    """A body that may be empty."""
    if not body:
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Rejected("", f"the body is not JSON: {error}; leave it empty or send {{}}") from None
    return document if isinstance(document, dict) else {}


def _check_parameters(document: Mapping[str, Any]) -> None:
    """Refuse to serve a model in another way, or other files, than its publisher meant."""
    parameters = document.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise Rejected("parameters", f"expected an object, got {shown(parameters)}")
    for name in parameters or {}:
        if name == "config" or name.startswith("file:"):
            message = "a model is loaded as it was published: publish a new version to change it"
            raise Rejected(f"parameters.{name}", message)
        if name != "unload_dependents":
            raise Rejected(f"parameters.{name}", "is not known; leave it out")
