"""Requests like earlier ones: when only the tensors' bytes differ, only they are looked at.

A message that equals an earlier one to the byte, but for the contents of its raw tensors of the same sizes,
means the same but for those contents. What was checked then holds; numbers of a fixed size need no check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from modelyard.oip.datatypes import BYTES
from modelyard.oip.grpc.infer_request import RAW_CONTENTS, InferRequest
from modelyard.oip.grpc.wire import tagged
from modelyard.oip.model import Query
from modelyard.oip.tensor import Raw, Tensor

MOST = 256
"""Templates, one for each size of a message; more and they begin anew."""
MOST_HEAD_BYTES = 4096
"""Of a message without its tensors; larger ones are not remembered."""
_VIEW_BYTES = 4096
_UNSURE = (BYTES, "BOOL")
"""Datatypes whose contents must be read to be trusted."""


About = TypeVar("About")


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """What messages of one size are but for their tensors' bytes."""

    head: bytes
    places: tuple[tuple[int, bytes, int, int], ...]
    """For each tensor where its tag is, the tag, where its data begins and where it ends."""
    tensors: tuple[Tensor, ...]
    """Without their bytes."""
    query: Query
    """Without its inputs."""
    about: Any


class Templates(Generic[About]):
    """What requests of each size were like; each is remembered with what its reader knew about it."""

    def __init__(self) -> None:
        self._by_size: dict[int, Template] = {}

    def read(self, body: Raw) -> tuple[Query, About] | None:
        """The query of a message that is like an earlier one, and what was known about that."""
        found = self.match(body)
        if found is None:
            return None
        template, inputs = found
        return template.query._replace(inputs=inputs), template.about

    def match(self, body: Raw) -> tuple[Template, tuple[Tensor, ...]] | None:
        """What a message is like, and its tensors."""
        template = self._by_size.get(len(body))
        if template is None or body[: len(template.head)] != template.head:
            return None
        inputs = []
        for (at, tag, start, end), tensor in zip(template.places, template.tensors, strict=True):
            if body[at:start] != tag:
                return None
            data = body[start:end] if end - start < _VIEW_BYTES else memoryview(body)[start:end]
            inputs.append(Tensor(tensor.name, tensor.datatype, tensor.shape, data))
        return template, tuple(inputs)

    def learn(self, body: Raw, request: InferRequest, query: Query, about: About) -> None:
        """Remember a request, if others can be like it."""
        if len(request.raw) != len(query.inputs) or not query.inputs:
            return
        if any(tensor.datatype in _UNSURE for tensor in query.inputs):
            return
        if any(output.parameters for output in request.message.outputs):
            return  # regions of shared memory come and go
        places = _places(body, request.raw)
        if places is None or places[0][0] > MOST_HEAD_BYTES:
            return
        if len(self._by_size) >= MOST:
            self._by_size.clear()
        bare = tuple(tensor._replace(data=b"") for tensor in query.inputs)
        head = bytes(body[: places[0][0]])
        self._by_size[len(body)] = Template(head, places, bare, query._replace(inputs=()), about)


def _places(body: Raw, raw: Sequence[Raw]) -> tuple[tuple[int, bytes, int, int], ...] | None:
    """Where the tensors are, if they are the end of the message, as every protobuf library writes them."""
    found = []
    end = len(body)
    for data in reversed(raw):
        tag = tagged(RAW_CONTENTS, len(data))
        start = end - len(data)
        at = start - len(tag)
        if at < 0 or body[at:start] != tag or body[start:end] != data:
            return None
        found.append((at, tag, start, end))
        end = at
    return tuple(reversed(found))
