"""Server reflection: what services and messages there are, so that tools need no .proto files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError

from modelyard.oip.grpc import health_pb2, inference_pb2, reflection_v1_pb2, reflection_v1alpha_pb2
from modelyard.oip.tensor import Raw
from modelyard.serving.errors import Problem
from modelyard.serving.grpc.calls import Method, Streaming
from modelyard.serving.grpc.conversation import Conversation
from modelyard.serving.grpc.status import Code

FILES: tuple[FileDescriptor, ...] = (
    inference_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_v1_pb2.DESCRIPTOR,
    reflection_v1alpha_pb2.DESCRIPTOR,
)
"""Each stands alone: none imports another."""


def methods() -> Mapping[str, Method]:
    """The method, in both versions that clients speak; their messages are the same."""
    return {
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": Streaming(
            partial(Reflection, module)
        )
        for version, module in (("v1", reflection_v1_pb2), ("v1alpha", reflection_v1alpha_pb2))
    }


class Reflection:
    """One call; each question is answered at once."""

    def __init__(self, messages: Any, conversation: Conversation) -> None:
        self._messages = messages
        self._conversation = conversation

    @property
    def is_full(self) -> bool:
        """Whether the client is slow to take answers."""
        return self._conversation.is_behind

    def message(self, message: Raw) -> None:
        """Answer a question."""
        try:
            request = self._messages.ServerReflectionRequest.FromString(bytes(message))
        except DecodeError:
            raise Problem(400, "invalid", "the message is not a ServerReflectionRequest") from None
        response = self._messages.ServerReflectionResponse(valid_host=request.host, original_request=request)
        self._answer(request, response)
        self._conversation.say((response.SerializeToString(),))

    def complete(self) -> None:
        """No more questions."""
        self._conversation.finish()

    def leaving(self) -> None:
        """The server ends."""
        self._conversation.leave()

    def gone(self) -> None:
        """Nobody listens any more."""

    def _answer(self, request: Any, response: Any) -> None:
        match request.WhichOneof("message_request"):
            case "list_services":
                for name in sorted(name for file in FILES for name in _services(file)):
                    response.list_services_response.service.add(name=name)
            case "file_by_filename":
                _give(response, [file for file in FILES if file.name == request.file_by_filename])
            case "file_containing_symbol":
                _give(response, [file for file in FILES if _has(file, request.file_containing_symbol)])
            case "file_containing_extension":
                _give(response, [])
            case "all_extension_numbers_of_type":
                name = request.all_extension_numbers_of_type
                if any(_has(file, name) for file in FILES):
                    response.all_extension_numbers_response.base_type_name = name
                else:
                    _give(response, [])
            case _:
                response.error_response.error_code = Code.INVALID_ARGUMENT
                response.error_response.error_message = "the request asks for nothing"


def _services(file: FileDescriptor) -> list[str]:
    return [service.full_name for service in file.services_by_name.values()]


def _has(file: FileDescriptor, symbol: str) -> bool:
    """Whether a message, an enumeration, a service or anything within one has this name."""
    name = symbol.removeprefix(f"{file.package}.")
    if name == symbol:
        return False
    first, _, rest = name.partition(".")
    service = file.services_by_name.get(first)
    if service is not None:
        return not rest or rest in service.methods_by_name
    return first in file.message_types_by_name or first in file.enum_types_by_name


def _give(response: Any, files: list[FileDescriptor]) -> None:
    if files:
        response.file_descriptor_response.file_descriptor_proto.append(files[0].serialized_pb)
    else:
        response.error_response.error_code = Code.NOT_FOUND
        response.error_response.error_message = "there is nothing of this name"
