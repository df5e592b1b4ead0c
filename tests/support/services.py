"""Services of a memory platform: they speak the protocol with the platform's own reader and writer."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelyard.control import models, secrets
from modelyard.control.platform import Platform
from modelyard.domain import naming
from modelyard.domain.deployment import Key
from modelyard.oip import metadata
from modelyard.oip.errors import Rejected
from modelyard.oip.infer_request import parse_infer
from modelyard.oip.model import ServedModel
from modelyard.oip.rows import parse_rows
from modelyard.oip.signature import compile_signature
from modelyard.oip.tensor import from_array, to_array
from modelyard.store import deployments


class Services:
    """Answers below `/services/` with the sum of each row's numbers; everything else is the API's."""

    def __init__(self, app: ASGIApp, platform: Platform) -> None:
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/services/"):
            return await self._app(scope, receive, send)
        response = await self._answer(Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        _, _, project, service, *rest = request.url.path.split("/")
        key = Key.parse(service, project=project)
        async with self._platform.database.read() as tx:
            deployment = await deployments.get(tx, key)
            if deployment is None:
                return _json({"error": f"no service {service}"}, 404)
            version = await models.resolve(tx, project, naming.parse_model_ref(deployment.spec.model))
        token = secrets.service_token(self._platform.master_key, deployment)
        if request.headers.get("authorization") != f"Bearer {token}":
            return _json({"error": "no valid token came with the request", "code": "unauthenticated"}, 401)
        document = TypeAdapter(type(version.artifacts[0].signature)).dump_python(
            version.artifacts[0].signature, mode="json"
        )
        model = ServedModel(key.name, version.version, "memory", compile_signature(document))
        if request.method == "GET":
            return _json(metadata.model_metadata(model, key.name, [model.version]))
        return _predicted(await request.body(), model, rows=rest == ["predict"])


def _predicted(body: bytes, model: ServedModel, *, rows: bool) -> Response:
    try:
        query = parse_rows(body, model) if rows else parse_infer(body, None, model)
    except Rejected as error:
        return _json({"error": str(error), "code": "invalid", "path": error.path}, 400)
    sums: Any = 0.0
    texts = []
    for tensor in query.inputs:
        array = to_array(tensor)
        if array.dtype == object:
            texts.append(array)
            continue
        sums = sums + array.reshape(len(array), -1).sum(axis=1).astype(float)
    outputs = [from_array("prediction", np.asarray(sums, dtype=float))]
    outputs += [from_array("text", array) for array in texts[:1]]
    return Response(
        b"".join(bytes(part) for part in query.render(outputs).parts), media_type="application/json"
    )


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
