"""gRPC calls as generic stubs make them, with nothing but grpcio and our own messages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from modelyard.oip.grpc import inference_pb2 as pb
from tests.serving.replicas import Replica

SERVICE = "inference.GRPCInferenceService"
_LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Calls:
    """A channel to a replica, and its methods by name."""

    def __init__(self, address: str, **options: Any) -> None:
        given = [(f"grpc.{name}", value) for name, value in options.items()]
        self.channel = grpc.insecure_channel(address, [*_LARGE, ("grpc.enable_http_proxy", 0), *given])

    def method(self, name: str) -> Any:
        """A method with one message each way."""
        request, response = getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response")
        return self.channel.unary_unary(f"/{SERVICE}/{name}", request.SerializeToString, response.FromString)

    def ask(self, name: str, /, **fields: Any) -> Any:
        """Call a method."""
        return self.method(name)(getattr(pb, f"{name}Request")(**fields), timeout=20)

    def infer(self, request: Any, timeout: float = 20, **more: Any) -> Any:
        """Predict."""
        return self.method("ModelInfer")(request, timeout=timeout, **more)

    def stream(self, requests: Iterator[Any], **more: Any) -> Any:
        """Predict, as a stream."""
        method = self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelStreamInferResponse.FromString,
        )
        return method(requests, timeout=20, **more)

    def raw(self, path: str, message: bytes, **more: Any) -> bytes:
        """Call a method with bytes that need not be a message."""
        answer: bytes = self.channel.unary_unary(path)(message, timeout=20, **more)
        return answer


@contextmanager
def calls(running: Replica, **options: Any) -> Iterator[Calls]:
    """Calls to a replica, over a channel of their own."""
    where = running.listen if running.listen.startswith("unix:") else f"127.0.0.1:{running.port}"
    made = Calls(where, use_local_subchannel_pool=1, **options)
    try:
        yield made
    finally:
        made.channel.close()


def request(*values: float, model: str = "echo", **more: Any) -> Any:
    """One row of FP64 as raw contents."""
    message = pb.ModelInferRequest(model_name=model, **more)
    message.inputs.add(name="input", datatype="FP64", shape=[1, len(values)])
    message.raw_input_contents.append(struct.pack(f"<{len(values)}d", *values))
    return message


def typed(*values: float, model: str = "echo", **more: Any) -> Any:
    """One row of FP64 as typed contents."""
    message = pb.ModelInferRequest(model_name=model, **more)
    message.inputs.add(name="input", datatype="FP64", shape=[1, len(values)])
    message.inputs[0].contents.fp64_contents.extend(values)
    return message


def values(response: Any) -> tuple[float, ...]:
    """The first output's elements, from raw contents."""
    raw = response.raw_output_contents[0]
    return struct.unpack(f"<{len(raw) // 8}d", raw)
