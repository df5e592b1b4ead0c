"""Inference responses in parts: each part is one, as the data of an event, as MLServer sends them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from modelyard.oip.errors import Rejected
from modelyard.oip.model import Events, Query, event
from modelyard.oip.tensor import Tensor


def in_events(query: Query) -> Query:
    """The query, with its answer going out in parts."""

    def part(outputs: Sequence[Tensor]) -> bytes:
        rendered = query.render(outputs)
        if rendered.json_length is not None:
            raise Rejected("outputs", "events carry text: ask for no binary output")
        return event(b"".join(rendered.parts))

    def error(document: object) -> bytes:
        return event(orjson.dumps(document))

    return query._replace(events=Events(part, lambda: b"", error))
