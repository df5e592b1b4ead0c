"""Reads requests through templates of earlier ones, and the long way where there is none."""

from __future__ import annotations

from modelyard.oip.model import Query, ServedModel
from modelyard.oip.templates import Templates
from modelyard.serving.http.messages import Exchange
from modelyard.serving.inference import Parse


class Remembering:
    """A parser of JSON requests that is quick where one is like one before; what comes out is the same."""

    def __init__(self, parse: Parse) -> None:
        self._parse = parse
        self._templates = Templates()
        self._model: ServedModel | None = None

    def __call__(self, exchange: Exchange, body: bytes, model: ServedModel) -> Query:
        """Read a request; raises Rejected as the parser behind does."""
        if exchange.headers.get(b"inference-header-content-length") is not None:
            return self._parse(exchange, body, model)
        templates = self.templates(model)
        query = templates.read(body)
        if query is None:
            query = self._parse(exchange, body, model)
            templates.learn(body, query)
        return query

    def templates(self, model: ServedModel) -> Templates:
        """What requests to this model were like; those to another one are forgotten."""
        if model is not self._model:
            self._model = model
            self._templates.forget()
        return self._templates
