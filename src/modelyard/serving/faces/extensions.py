"""Triton's extensions that tell about models: their configuration and their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from modelyard.oip.generate import parse_generate
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.model_config import model_configuration
from modelyard.oip.openapi import description
from modelyard.serving.application import Application
from modelyard.serving.faces.v2 import model_bases
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, json_response
from modelyard.serving.inference import Dialect
from modelyard.serving.routing import Endpoint, Route


def routes(application: Application) -> Mapping[str, Route]:
    """`config`, `stats`, `generate` and the description of every model, and the statistics of all.

    A model that is called `stats` keeps its path: then only each model's own statistics are offered.
    """
    everything = _statistics(application, application.catalog.models)
    found = {"/v2/models/stats": Route({"GET": everything})}
    for base, name, hosted in model_bases(application):
        versions = [hosted] if "/versions/" in base else application.catalog.versions(name)
        found[f"{base}/stats"] = Route({"GET": _statistics(application, versions, name)})
        found[f"{base}/config"] = Route({"GET": _configuration(application, hosted, name)})
        found[f"{base}/openapi.json"] = Route({"GET": _description(application, hosted, name)})
        for path, stream in (("generate", False), ("generate_stream", True)):
            dialect = Dialect("generate", partial(_parse, name=name, stream=stream))
            found[f"{base}/{path}"] = Route({"POST": application.infer(hosted, dialect)})
    return found


def _parse(exchange: Exchange, body: bytes, model: ServedModel, *, name: str, stream: bool) -> Query:
    del exchange
    return parse_generate(body, model, name=name, stream=stream)


def _configuration(application: Application, hosted: HostedModel, name: str) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        application.reply(exchange, json_response(model_configuration(hosted.model, name)), hosted)

    return endpoint


def _description(application: Application, hosted: HostedModel, name: str) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        application.reply(exchange, json_response(description(hosted.model, name)), hosted)

    return endpoint


def _statistics(application: Application, models: Iterable[HostedModel], name: str = "") -> Endpoint:
    models = tuple(models)

    def endpoint(exchange: Exchange) -> None:
        entries = [
            hosted.statistics.document(
                name or hosted.config.name,
                hosted.config.version,
                resident_bytes=hosted.resident,
                threads=hosted.threads,
            )
            for hosted in models
        ]
        application.reply(exchange, json_response({"model_stats": entries}))

    return endpoint
