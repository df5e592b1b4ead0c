"""Open Inference Protocol v2 over HTTP: metadata, readiness and inference of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from modelyard.oip.infer_events import in_events
from modelyard.oip.metadata import model_metadata
from modelyard.oip.model import Query, ServedModel
from modelyard.serving.application import Application
from modelyard.serving.faces.probes import ready_endpoint
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, json_response
from modelyard.serving.inference import Dialect, Parse, parse_v2
from modelyard.serving.remembering import Remembering
from modelyard.serving.routing import Endpoint, Route


def routes(application: Application) -> Mapping[str, Route]:
    """The paths of every model, by each of its names, with and without its version."""
    found: dict[str, Route] = {}
    for base, name, hosted in model_bases(application):
        found[base] = Route({"GET": _metadata(application, hosted, name)})
        found[f"{base}/ready"] = Route(
            {"GET": ready_endpoint(application, hosted, {"name": name})}, probe=True
        )
        parse = partial(parse_v2, name=name, regions=application.regions)
        infer = application.infer(hosted, Dialect("v2", Remembering(parse)))
        found[f"{base}/infer"] = Route({"POST": infer})
        stream = Dialect("v2", partial(_in_events, parse))
        found[f"{base}/infer_stream"] = Route({"POST": application.infer(hosted, stream)})
    return found


def model_bases(application: Application) -> Iterator[tuple[str, str, HostedModel]]:
    """Where each model's paths begin, with the name in use there."""
    for name in application.catalog.names():
        versions = application.catalog.versions(name)
        yield f"/v2/models/{name}", name, versions[0]
        for hosted in versions:
            if hosted.config.version:
                yield f"/v2/models/{name}/versions/{hosted.config.version}", name, hosted


def _in_events(parse: Parse, exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    return in_events(parse(exchange, body, model))


def _metadata(application: Application, hosted: HostedModel, name: str) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        versions = [each.config.version for each in application.catalog.versions(name)]
        document = model_metadata(hosted.model, name, [version for version in versions if version])
        application.reply(exchange, json_response(document), hosted)

    return endpoint
