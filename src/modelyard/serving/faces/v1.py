"""Paths under `/v1/models`, which KServe V1, TensorFlow Serving, ai-serving and OpenAI's clients share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from modelyard.oip import tfs
from modelyard.oip.model import Query, ServedModel
from modelyard.oip.v1 import parse_filtered, parse_predict
from modelyard.serving.application import Application
from modelyard.serving.errors import Problem
from modelyard.serving.faces.openai import openai_model
from modelyard.serving.hosted import HostedModel
from modelyard.serving.http.messages import Exchange, json_response
from modelyard.serving.inference import Dialect
from modelyard.serving.routing import Endpoint, Route

LATEST = "latest"
"""A label that every model has; the name of its stage is another."""
_STATES = {"ready": "AVAILABLE", "starting": "LOADING", "unloading": "UNLOADING", "unloaded": "END"}


def _predict(exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    del exchange
    return parse_predict(body, model)


def _filtered(exchange: Exchange, body: bytes, model: ServedModel) -> Query:
    del exchange
    return parse_filtered(body, model)


def _examples(exchange: Exchange, body: bytes, model: ServedModel, *, classify: bool) -> Query:
    del exchange
    return tfs.parse_examples(body, model, classify=classify)


PREDICT = Dialect("v1", _predict)
FILTERED = Dialect("ai-serving", _filtered)


def routes(application: Application) -> Mapping[str, Route]:
    """The paths of every model, by each of its names, versions and labels."""
    found: dict[str, Route] = {}
    for base, name, versions in _bases(application):
        hosted = versions[0]
        status = _status(application, name, versions)
        found[base] = Route(
            {"GET": status, "POST": application.infer(hosted, FILTERED)},
        )
        found[f"{base}/metadata"] = Route({"GET": _metadata(application, hosted, name)})
        found[f"{base}:predict"] = Route({"POST": application.infer(hosted, PREDICT)})
        for verb, classify in ((":classify", True), (":regress", False)):
            dialect = Dialect("v1", partial(_examples, classify=classify))
            found[f"{base}{verb}"] = Route({"POST": application.infer(hosted, dialect)})
        found[f"{base}:explain"] = Route({"POST": _explain})
    return found


def _bases(application: Application) -> Iterator[tuple[str, str, list[HostedModel]]]:
    """Where paths begin, with the models they may mean, the one that answers first."""
    for name in application.catalog.names():
        versions = list(application.catalog.versions(name))
        base = f"/v1/models/{name}"
        yield base, name, versions
        for label in {LATEST, versions[0].config.stage}:
            yield f"{base}/labels/{label}", name, versions[:1]
        for hosted in versions:
            if hosted.config.version:
                yield f"{base}/versions/{hosted.config.version}", name, [hosted]


def _status(application: Application, name: str, versions: list[HostedModel]) -> Endpoint:
    """What each family of clients looks for, in one object; 503 when the model is not ready."""

    def endpoint(exchange: Exchange) -> None:
        hosted = versions[0]
        document: dict[str, Any] = {
            **openai_model(hosted, name),
            "name": name,
            "ready": hosted.is_ready,
            "model_version_status": [_version(each) for each in versions],
            "latestVersion": hosted.config.version,
            "versions": [_described(each) for each in versions],
        }
        application.reply(exchange, json_response(document, 200 if hosted.is_ready else 503), hosted)

    return endpoint


def _version(hosted: HostedModel) -> dict[str, Any]:
    obstacle = None if hosted.is_ready else hosted.obstacle
    state = _STATES.get(hosted.phase, "LOADING" if hosted.is_wanted else "END")
    return tfs.version_status(hosted.config.version, state=state, error=obstacle.message if obstacle else "")


def _described(hosted: HostedModel) -> dict[str, Any]:
    signature = hosted.model.signature
    return {
        "version": hosted.config.version,
        "type": hosted.config.platform,
        "inputs": [_field(spec.name, spec.datatype, spec.shape) for spec in signature.inputs],
        "outputs": [_field(spec.name, spec.datatype, spec.shape) for spec in signature.outputs],
    }


def _field(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "type": datatype, "shape": list(shape)}


def _metadata(application: Application, hosted: HostedModel, name: str) -> Endpoint:
    def endpoint(exchange: Exchange) -> None:
        application.reply(exchange, json_response(tfs.metadata(hosted.model, name)), hosted)

    return endpoint


def _explain(exchange: Exchange) -> None:
    del exchange
    raise Problem(501, "unsupported", "explanations are not offered: ask :predict for the prediction alone")
