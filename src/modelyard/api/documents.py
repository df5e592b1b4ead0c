"""JSON as requests bring it: bounded, and strict where Python's own reader is not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from modelyard.domain.errors import TooLarge

MOST_BYTES = 64 * 1024 * 1024
"""Of one JSON body; what is larger belongs into an upload."""


def read(content: bytes, *, path: str = "body") -> Any:
    """A document. NaN, text that is not Unicode, NUL and nesting beyond any use are no JSON here.

    Raises RequestValidationError with what is wrong and where.
    """
    if b"\\u0000" in content:
        raise _invalid(path, "holds the character U+0000, which cannot be stored; leave it out")
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        hint = "; NaN and Infinity have no JSON form, send null" if _is_not_a_number(content, error) else ""
        raise _invalid(path, f"not JSON: {error.msg} at character {error.pos}{hint}") from None
    try:
        orjson.dumps(document)
    except TypeError:
        raise _invalid(path, "is nested too deeply; at most 250 levels are read") from None
    return document


class JsonRequest(Request):
    """A request whose JSON is read here."""

    async def body(self) -> bytes:
        """The whole body, once. Raises TooLarge."""
        if not hasattr(self, "_content"):
            content = bytearray()
            async for chunk in self.stream():
                content += chunk
                if len(content) > MOST_BYTES:
                    raise TooLarge(
                        f"the request has more than {MOST_BYTES} bytes; publish large data as files"
                    )
            self._content = bytes(content)
        return self._content

    async def json(self) -> Any:
        """The body as a document, read once."""
        if not hasattr(self, "_document"):
            self._document = read(await self.body())
        return self._document

    @property
    def is_json(self) -> bool:
        """Whether the sender says so."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")


class JsonRoute(APIRoute):
    """A route whose body is read as above, before anything else is done with it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own answer."""
        answer = super().get_route_handler()

        async def reading(request: Request) -> Response:
            strict = as_json(request)
            if self.body_field is not None:
                content = await strict.body()
                if content and strict.is_json:
                    await strict.json()
            return await answer(strict)

        return reading


def as_json(request: Request) -> JsonRequest:
    """The same request, whose body can still be read."""
    return request if isinstance(request, JsonRequest) else JsonRequest(request.scope, request.receive)


def _is_not_a_number(content: bytes, error: orjson.JSONDecodeError) -> bool:
    after = content.decode(errors="replace")[error.pos :].lstrip("-")
    return after.startswith(("NaN", "Infinity"))


def _invalid(path: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "json_invalid", "loc": (path,), "msg": message}])
