"""The Open Inference Protocol of one model as an OpenAPI description, for tools that read such."""

from __future__ import annotations

from typing import Any

from modelyard.oip.datatypes import NAMES
from modelyard.oip.model import ServedModel
from modelyard.oip.signature import TensorSpec

Json = dict[str, Any]
_SCALAR: Json = {"type": ["string", "number", "boolean"]}
_PARAMETERS: Json = {"type": "object", "additionalProperties": _SCALAR}


def description(model: ServedModel, name: str) -> Json:
    """OpenAPI 3.1 for the paths of a model and of its server."""
    base = f"/v2/models/{name}"
    version = f"{base}/versions/{model.version}" if model.version else base
    paths: Json = {
        "/v2": _get("What the server is", "ServerMetadata"),
        "/v2/health/live": _get("Whether it lives", "Live"),
        "/v2/health/ready": _get("Whether every model is ready", "Ready", unavailable="Ready"),
        "/v2/repository/index": {"post": _operation("Which models there are", "Index", body="IndexRequest")},
    }
    for path in dict.fromkeys((base, version)):
        paths[path] = _get("What the model takes and gives", "ModelMetadata")
        paths[f"{path}/ready"] = _get("Whether it is ready", "ModelReady", unavailable="ModelReady")
        paths[f"{path}/config"] = _get("Its configuration", "Object")
        paths[f"{path}/stats"] = _get("What it has done", "Statistics")
        paths[f"{path}/infer"] = {"post": _operation("Predict", "InferResponse", body="InferRequest")}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Open Inference Protocol v2: {name}", "version": model.version or "0"},
        "paths": paths,
        "components": {"schemas": _schemas(model)},
    }


def _get(summary: str, schema: str, *, unavailable: str = "Error") -> Json:
    operation = _operation(summary, schema)
    del operation["responses"]["400"]
    operation["responses"]["503"] = _response("not ready", unavailable)
    return {"get": operation}


def _operation(summary: str, schema: str, *, body: str = "") -> Json:
    operation: Json = {
        "summary": summary,
        "responses": {
            "200": _response("the answer", schema),
            "400": _response("a mistake in the request, with its place", "Error"),
            "503": _response("not ready, or too much to do", "Error"),
        },
    }
    if body:
        operation["requestBody"] = {"required": body != "IndexRequest", "content": _content(body)}
        operation["responses"]["413"] = _response("the body is too large", "Error")
        operation["responses"]["504"] = _response("the deadline has passed", "Error")
    return operation


def _response(text: str, schema: str) -> Json:
    return {"description": text, "content": _content(schema)}


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schemas(model: ServedModel) -> Json:
    text, flag = {"type": "string"}, {"type": "boolean"}
    return {
        "Error": _object(
            {"error": text, "code": text, "request_id": text, "path": text, "reason": text}, "error", "code"
        ),
        "Object": {"type": "object"},
        "Live": _object({"live": flag}, "live"),
        "Ready": _object({"live": flag, "ready": flag}, "live", "ready"),
        "ModelReady": _object({"name": text, "ready": flag}, "name", "ready"),
        "ServerMetadata": _object(
            {"name": text, "version": text, "extensions": _list(text)}, "name", "version", "extensions"
        ),
        "ModelMetadata": _object(
            {
                "name": text,
                "versions": _list(text),
                "platform": text,
                "inputs": _list(_described()),
                "outputs": _list(_described()),
            },
            "name",
            "platform",
            "inputs",
            "outputs",
        ),
        "IndexRequest": {"type": "object", "properties": {"ready": flag}},
        "Index": _list(_object({"name": text, "version": text, "state": text, "reason": text}, "name")),
        "Statistics": _object({"model_stats": _list({"type": "object"})}, "model_stats"),
        "InferRequest": _infer_request(model),
        "InferResponse": _object(
            {"model_name": text, "model_version": text, "id": text, "outputs": _list(_tensor(None))},
            "model_name",
            "outputs",
        ),
    }


def _infer_request(model: ServedModel) -> Json:
    inputs = [_tensor(spec) for spec in model.signature.inputs]
    given: Json = {"type": "array"}
    if inputs:
        given |= {"prefixItems": inputs, "items": False, "minItems": len(inputs), "maxItems": len(inputs)}
    else:
        given["items"] = _tensor(None)
    wish = _object({"name": {"type": "string"}, "parameters": _PARAMETERS}, "name")
    properties = {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": given,
        "outputs": _list(wish),
    }
    return _object(properties, "inputs")


def _tensor(spec: TensorSpec | None) -> Json:
    sizes = {"type": "integer", "minimum": 0}
    shape: Json = {"type": "array", "items": sizes}
    name: Json = {"type": "string"}
    datatype: Json = {"enum": list(NAMES)}
    if spec is not None:
        name, datatype = {"const": spec.name}, {"const": spec.datatype}
        dimensions = [sizes if size == -1 else {"const": size} for size in spec.shape]
        shape = {"type": "array", "minItems": len(dimensions), "maxItems": len(dimensions)}
        shape |= {"prefixItems": dimensions} if dimensions else {}
    properties = {
        "name": name,
        "datatype": datatype,
        "shape": shape,
        "parameters": _PARAMETERS,
        "data": {"type": "array"},
    }
    required = ("name", "datatype", "shape") if spec is None else ("name", "datatype", "shape", "data")
    return _object(properties, *required)


def _described() -> Json:
    properties = {
        "name": {"type": "string"},
        "datatype": {"enum": list(NAMES)},
        "shape": _list({"type": "integer", "minimum": -1}),
        "parameters": _PARAMETERS,
    }
    return _object(properties, "name", "datatype", "shape")


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


def _object(properties: Json, *required: str) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}
