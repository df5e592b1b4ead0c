"""ServedModel: what a dialect must know about the model that it speaks for, and what dialects exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelyard.oip.signature import Signature
from modelyard.oip.tensor import Raw, Tensor

NO_PARAMETERS: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as clients see it."""

    name: str
    """The name its service has."""
    version: str
    platform: str
    signature: Signature
    task: str = ""
    """What it is for, in Hugging Face's words such as text-generation, when its publisher said so."""


class Rendered(NamedTuple):
    """A response body in parts, to be sent one after the other."""

    parts: tuple[Raw, ...]
    content_type: bytes = b"application/json"
    json_length: int | None = None
    """Bytes of JSON in front when binary tensors follow it."""


class Events(NamedTuple):
    """How an answer goes out in parts, as server-sent events; each function gives whole events."""

    part: Callable[[Sequence[Tensor]], bytes]
    """Raises Rejected when a part has no form in what the client asked for."""
    last: Callable[[], bytes]
    error: Callable[[Mapping[str, Any]], bytes]
    """What tells of an error after parts have gone out; it takes the error's document."""


def event(data: bytes) -> bytes:
    """One server-sent event; `data` is on one line."""
    return b"data: %b\n\n" % data


class Query(NamedTuple):
    """A parsed request in any dialect: what to predict, and how to write the answer."""

    inputs: tuple[Tensor, ...]
    render: Callable[[Sequence[Tensor]], Rendered]
    """Raises Rejected when the answer has no form in what the client asked for."""
    outputs: tuple[str, ...] = ()
    """The outputs asked for; empty is all."""
    parameters: Mapping[str, Any] = NO_PARAMETERS
    timeout_seconds: float | None = None
    events: Events | None = None
    """Given when the client wants its answer in parts."""
