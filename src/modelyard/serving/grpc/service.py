"""inference.GRPCInferenceService: every method, and where its answer comes from."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from modelyard.oip.errors import Rejected
from modelyard.oip.grpc import inference_pb2 as pb
from modelyard.serving.application import Application
from modelyard.serving.errors import Problem
from modelyard.serving.grpc.bridge import Asked, Bridge, bridged, model_path, path_of
from modelyard.serving.grpc.calls import Method, Streaming, Unary
from modelyard.serving.grpc.inference import InferenceTalk, UnaryInference
from modelyard.serving.http.messages import Exchange

SERVICE = "inference.GRPCInferenceService"
_ABSENT = (
    "CudaSharedMemoryStatus",
    "CudaSharedMemoryRegister",
    "CudaSharedMemoryUnregister",
    "TraceSetting",
    "LogSettings",
)
"""Methods that Triton's clients have and no model here needs."""


def methods(application: Application) -> Mapping[str, Method]:
    """Every method by its path."""
    named: dict[str, Method] = {
        "ModelInfer": Unary(UnaryInference(application)),
        "ModelStreamInfer": Streaming(partial(InferenceTalk, application)),
    }
    for name, bridge in _bridges().items():
        named[name] = Unary(bridged(application, bridge))
    for name in _ABSENT:
        named[name] = Unary(partial(_not_offered, name))
    return {f"/{SERVICE}/{name}": method for name, method in named.items()}


def _not_offered(name: str, exchange: Exchange) -> None:
    del exchange
    raise Problem(501, "not_offered", f"{name} is not offered by this server")


def _bridges() -> Mapping[str, Bridge]:
    return {
        "ServerLive": _get(pb.ServerLiveRequest, pb.ServerLiveResponse, "v2/health/live"),
        "ServerReady": _get(pb.ServerReadyRequest, pb.ServerReadyResponse, "v2/health/ready"),
        "ServerMetadata": _get(pb.ServerMetadataRequest, pb.ServerMetadataResponse, "v2"),
        "ModelReady": _of_model(pb.ModelReadyRequest, pb.ModelReadyResponse, "ready"),
        "ModelMetadata": _of_model(pb.ModelMetadataRequest, pb.ModelMetadataResponse),
        "ModelConfig": Bridge(
            pb.ModelConfigRequest,
            pb.ModelConfigResponse,
            lambda message: Asked("GET", model_path(message, "config")),
            lambda message, document: {"config": document},
        ),
        "ModelStatistics": Bridge(
            pb.ModelStatisticsRequest,
            pb.ModelStatisticsResponse,
            lambda message: Asked(
                "GET", model_path(message, "stats") if message.name else "/v2/models/stats"
            ),
            _same,
        ),
        **_repository(),
        **_shared_memory(),
    }


def _get(request: Any, response: Any, path: str) -> Bridge:
    return Bridge(request, response, lambda message: Asked("GET", f"/{path}"), _same)


def _of_model(request: Any, response: Any, *more: str) -> Bridge:
    return Bridge(request, response, lambda message: Asked("GET", model_path(message, *more)), _same)


def _same(message: Any, document: Any) -> Any:
    del message
    return document


# The model repository.


def _repository() -> Mapping[str, Bridge]:
    return {
        "RepositoryIndex": Bridge(
            pb.RepositoryIndexRequest,
            pb.RepositoryIndexResponse,
            lambda message: Asked("POST", "/v2/repository/index", {"ready": message.ready}),
            lambda message, document: {"models": document},
        ),
        "RepositoryModelLoad": Bridge(
            pb.RepositoryModelLoadRequest,
            pb.RepositoryModelLoadResponse,
            partial(_change, "load"),
            lambda message, document: {"model_name": _named(message), "isLoaded": True},
        ),
        "RepositoryModelUnload": Bridge(
            pb.RepositoryModelUnloadRequest,
            pb.RepositoryModelUnloadResponse,
            partial(_change, "unload"),
            lambda message, document: {"model_name": _named(message), "isUnloaded": True},
        ),
    }


def _change(what: str, message: Any) -> Asked:
    path = path_of("v2", "repository", "models", _named(message), what)
    return Asked("POST", path, {"parameters": _repository_parameters(message)})


def _named(message: Any) -> str:
    """The model: KServe's clients have its name where Triton's have the repository's."""
    name: str = message.model_name or message.repository_name
    if not name:
        raise Rejected("model_name", 'expected a model\'s name, got ""')
    return name


def _repository_parameters(message: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, parameter in message.parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        value = getattr(parameter, kind) if kind else None
        values[name] = base64.b64encode(value).decode() if isinstance(value, bytes) else value
    return values


# Shared memory.


def _shared_memory() -> Mapping[str, Bridge]:
    return {
        "SystemSharedMemoryStatus": Bridge(
            pb.SystemSharedMemoryStatusRequest,
            pb.SystemSharedMemoryStatusResponse,
            lambda message: Asked("GET", _region(message, "status")),
            lambda message, document: {"regions": {region["name"]: region for region in document}},
        ),
        "SystemSharedMemoryRegister": Bridge(
            pb.SystemSharedMemoryRegisterRequest,
            pb.SystemSharedMemoryRegisterResponse,
            _register,
            _nothing,
        ),
        "SystemSharedMemoryUnregister": Bridge(
            pb.SystemSharedMemoryUnregisterRequest,
            pb.SystemSharedMemoryUnregisterResponse,
            lambda message: Asked("POST", _region(message, "unregister")),
            _nothing,
        ),
    }


def _register(message: Any) -> Asked:
    if not message.name:
        raise Rejected("name", 'expected a region\'s name, got ""')
    document = {"key": message.key, "offset": message.offset, "byte_size": message.byte_size}
    return Asked("POST", _region(message, "register"), document)


def _region(message: Any, what: str) -> str:
    """The path of a region, or of all when none is named."""
    region = ("region", message.name) if message.name else ()
    return path_of("v2", "systemsharedmemory", *region, what)


def _nothing(message: Any, document: Any) -> Any:
    del message, document
    return {}
