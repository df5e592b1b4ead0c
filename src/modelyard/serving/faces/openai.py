"""OpenAI's paths, at `/v1` and at `/openai/v1`; a request's body says which model it means."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from modelyard.oip.chat import generates_text, parse_completion
from modelyard.oip.embeddings import gives_embeddings, parse_embeddings
from modelyard.oip.errors import Rejected, shown
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.v1 import object_in
from modelyard.serving.application import Application
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, json_response
from modelyard.serving.inference import Dialect
from modelyard.serving.routing import Endpoint, Route

BASES = ("/v1", "/openai/v1")


def routes(application: Application) -> Mapping[str, Route]:
    """Models, embeddings and completions. `/v1/models/NAME` belongs to all dialects and is elsewhere."""
    chosen = partial(_chosen, application)
    found: dict[str, Route] = {}
    for base in BASES:
        found[f"{base}/models"] = Route({"GET": _models(application)})
        for path, parse in (
            ("embeddings", _embeddings),
            ("chat/completions", partial(_completion, chat=True)),
            ("completions", partial(_completion, chat=False)),
        ):
            found[f"{base}/{path}"] = Route(
                {"POST": application.infer_chosen(chosen, Dialect("openai", parse))}
            )
    for name in application.catalog.names():
        found[f"/openai/v1/models/{name}"] = Route({"GET": _model(application, name)})
    return found


def openai_model(hosted: HostedModel, name: str) -> dict[str, Any]:
    """A model as OpenAI's clients read it, with what it can be asked for."""
    capabilities = [
        word
        for word, able in (
            ("embeddings", gives_embeddings(hosted.model)),
            ("completions", generates_text(hosted.model)),
        )
        if able
    ]
    return {
        "id": name,
        "object": "model",
        "created": hosted.created,
        "owned_by": hosted.config.project or "modelyard",
        "capabilities": capabilities,
    }


def _embeddings(exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    del exchange
    return parse_embeddings(body, model)


def _completion(exchange: Exchange, body: bytes, model: ServedModel, *, chat: bool) -> Query:
    prefix = "chatcmpl" if chat else "cmpl"
    identity = f"{prefix}-{exchange.identity}"
    return parse_completion(body, model, chat=chat, identity=identity, created=int(time.time()))


def _chosen(application: Application, body: bytes) -> HostedModel:
    """The model that a body names; raises Rejected, and Problem 404."""
    name = object_in(body, "an object with model").get("model")
    if not isinstance(name, str) or not name:
        raise Rejected("model", f"expected a model's name, got {shown(name)}")
    return application.catalog.find(name)


def _models(application: Application) -> Endpoint:
    """OpenAI's list of objects, and beside it the list of names that KServe V1's clients read."""

    def endpoint(exchange: Exchange) -> None:
        listed = list(dict.fromkeys(hosted.config.name for hosted in application.catalog.models))
        data = [openai_model(application.catalog.find(name), name) for name in listed]
        application.reply(exchange, json_response({"object": "list", "data": data, "models": listed}))

    return endpoint


def _model(application: Application, name: str) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        hosted = application.catalog.find(name)
        application.reply(exchange, json_response(openai_model(hosted, name)), hosted)

    return endpoint
