"""Answers over gRPC to many requests at once: what describes the tensors is remembered, their bytes are cut.

What comes out is to the byte what `render_response` writes for each request; what that would write otherwise
than as raw contents is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

from modelyard.oip.datatypes import BYTES
from modelyard.oip.grpc.infer_response import RAW_CONTENTS, Answering, render_response
from modelyard.oip.grpc.wire import tagged
from modelyard.oip.model import Rendered
from modelyard.oip.regions import Regions
from modelyard.oip.tensor import Raw, Tensor

MOST = 64
"""Kinds of answers that are remembered for one kind of request."""

Described = tuple[tuple[str, str, tuple[int, ...]], ...]


class Rows:
    """The outputs of one call, and where the rows of its requests are."""

    __slots__ = ("columns", "described", "rows", "starts")

    def __init__(self, outputs: Sequence[Tensor], rows: Sequence[int]) -> None:
        """Raises ValueError for outputs that are not tables of numbers with those rows."""
        total = sum(rows)
        if not outputs or not total or any([t.shape[:1] != (total,) or t.datatype == BYTES for t in outputs]):
            raise ValueError("not rows of numbers, which are cut here")
        self.rows = rows
        self.starts = list(accumulate(rows, initial=0))
        self.described: Described = tuple([(t.name, t.datatype, t.shape[1:]) for t in outputs])
        self.columns = {tensor.name: (tensor.data, len(tensor.data) // total) for tensor in outputs}
        """The bytes of each output, and how many belong to a row."""
        if len(self.columns) != len(outputs):
            raise ValueError("two outputs have one name")


class GrpcAnswer:
    """Writes the answers to requests that want the same."""

    __slots__ = ("_answering", "_known", "_regions", "plain")

    def __init__(self, answering: Answering, regions: Regions | None = None) -> None:
        self._answering = answering
        self._regions = regions
        self._known: dict[tuple[Described, int], tuple[bytes, ...]] = {}
        self.plain = not answering.typed and not any(
            wish.classes or wish.part is not None for wish in answering.outputs
        )
        """Whether each output goes as it is, as raw contents."""

    def __call__(self, outputs: Sequence[Tensor]) -> Rendered:
        """One answer; raises Rejected when it has no form in what the client asked for."""
        return render_response(outputs, answering=self._answering, regions=self._regions)

    def bodies(self, cut: Rows, places: Iterable[int], prefix: Callable[[int], bytes]) -> list[bytes]:
        """The messages to the requests at these places; raises ValueError for an output not there.

        `prefix` is what stands before a message of a size.
        """
        wishes = self._answering.outputs
        names = tuple([wish.name for wish in wishes]) if wishes else tuple(cut.columns)
        if any([name not in cut.columns for name in names]):
            raise ValueError("an output is not there")
        columns = [cut.columns[name] for name in names]
        found = []
        for place in places:
            rows, start = cut.rows[place], cut.starts[place]
            before = self._known.get((cut.described, rows)) or self._described(cut, names, rows, prefix)
            if len(columns) == 1:
                data, size = columns[0]
                found.append(b"".join((before[0], data[start * size : (start + rows) * size])))
                continue
            parts: list[Raw] = []
            for (data, size), text in zip(columns, before, strict=True):
                parts += (text, data[start * size : (start + rows) * size])
            found.append(b"".join(parts))
        return found

    def _described(
        self, cut: Rows, names: Sequence[str], rows: int, prefix: Callable[[int], bytes]
    ) -> tuple[bytes, ...]:
        """What stands before the bytes of each output of an answer with so many rows."""
        kinds = {name: (datatype, rest) for name, datatype, rest in cut.described}
        bare = [Tensor(name, kinds[name][0], (rows, *kinds[name][1]), b"") for name in names]
        head = render_response(bare, answering=self._answering._replace(outputs=())).parts[0]
        sizes = [rows * cut.columns[name][1] for name in names]
        tags = [tagged(RAW_CONTENTS, size) for size in sizes]
        size = len(head) + sum(map(len, tags)) + sum(sizes)
        before = (prefix(size) + bytes(head) + tags[0], *tags[1:])
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[cut.described, rows] = before
        return before
