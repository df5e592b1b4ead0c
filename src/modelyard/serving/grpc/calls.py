"""Which method a call is for, and what is not a call at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelyard.oip.errors import Rejected
from modelyard.serving.application import Application
from modelyard.serving.errors import Problem
from modelyard.serving.grpc.conversation import Conversation, Talker
from modelyard.serving.grpc.head import CallHead, read_head
from modelyard.serving.grpc.inference import UnaryInference
from modelyard.serving.grpc.quick import CallPlan
from modelyard.serving.grpc.status import GRPC
from modelyard.serving.grpc.unary import UnaryCall
from modelyard.serving.http2.headers import Head, fields_of, status_field
from modelyard.serving.http2.stream import Receiver, Stream
from modelyard.serving.routing import Endpoint


@dataclass(frozen=True, slots=True)
class Unary:
    """A method with one message each way; the exchange's body is the message, and so is the answer's."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Streaming:
    """A method with streams of messages."""

    begin: Callable[[Conversation], Talker]


Method = Unary | Streaming
MOST_PLANS = 128
_NO_HEAD = CallHead(None, 0, None)


def is_call(head: Head) -> bool:
    """Whether a request is a gRPC call."""
    return head.headers.get(b"content-type", b"").startswith(GRPC)


class Calls:
    """Takes calls for the methods there are."""

    def __init__(self, application: Application, methods: Mapping[str, Method]) -> None:
        self._application = application
        self._methods = {path.encode(): method for path, method in methods.items()}
        self._plans: dict[tuple[bytes, tuple[bytes, ...]], CallPlan] = {}

    def open(self, head: Head, stream: Stream) -> Receiver | None:
        """Take a call; None when it is answered already."""
        kind = head.headers[b"content-type"]
        if kind != GRPC and not kind.startswith((b"application/grpc+proto", b"application/grpc;")):
            stream.answer_head(status_field(415))
            return None
        try:
            method = self._find(head)
            read = read_head(head)
        except (Problem, Rejected) as error:
            UnaryCall(self._application, _nothing, _NO_HEAD, stream).refuse(error)
            return None
        if isinstance(method, Unary):
            return UnaryCall(self._application, method.endpoint, read, stream)
        fields = fields_of(self._application.identified(read.identity))
        conversation = Conversation(read, stream, limit_bytes=self._application.limit_bytes, fields=fields)
        conversation.attach(method.begin(conversation))
        return conversation

    def plan(self, head: Head) -> CallPlan | None:
        """The quick way for calls with this head; None when there is none."""
        method = self._methods.get(head.path)
        plain = head.method == "POST" and head.headers.get(b"content-type") == GRPC
        if not plain or not isinstance(method, Unary) or not isinstance(method.endpoint, UnaryInference):
            return None
        if b"content-length" in head.headers:
            return None
        # Nothing else in a head makes a difference, and connections share what is known.
        said = tuple(head.headers.get(name, b"") for name in (b"grpc-timeout", b"x-request-id"))
        plan = self._plans.get((head.path, said))
        if plan is None:
            try:
                read = read_head(head)
            except (Problem, Rejected):
                return None
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = self._plans[head.path, said] = CallPlan(self._application, method.endpoint, read)
        return plan

    def _find(self, head: Head) -> Method:
        method = self._methods.get(head.path)
        if head.method != "POST":
            raise Problem(501, "not_offered", f"calls are made with POST, not {head.method[:20]}")
        if method is None:
            shown = head.path[:120].decode("utf-8", "replace")
            raise Problem(
                501, "not_offered", f"there is no method {shown}; server reflection lists those there are"
            )
        return method


def _nothing(exchange: object) -> None:
    """The endpoint of calls that are refused before one is looked for."""
