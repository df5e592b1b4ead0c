"""Single files for pods, each opened by a token of its own; and a place for what tasks made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse

from modelyard.api import problems
from modelyard.api.request import PlatformDep, secret_of
from modelyard.api.verbs import states
from modelyard.control import deliveries
from modelyard.domain import ranges, wire
from modelyard.domain.access import Verb
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.ranges import Beyond, Span

router = APIRouter(prefix="/artifacts", tags=["artifacts"])

Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="Of the file, in 64 hex digits")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What was stored."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    sha256: str
    size: int
    """In bytes."""


@router.get("/{sha256}", openapi_extra=states(Verb.ANYONE))
async def fetch_file(
    platform: PlatformDep,
    request: Request,
    sha256: Sha256,
    range_: Annotated[str | None, Header(alias="range")] = None,
    if_range: Annotated[str | None, Header()] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A file, or a range of it, for a pod that has its token; a whole file is verified while it is read."""
    secret, _ = secret_of(request)
    lent = await deliveries.lent(platform, secret, sha256)
    file = lent.file
    etag = f'"{sha256}"'
    headers = {"etag": etag, "accept-ranges": "bytes", "cache-control": "private, immutable"}
    if ranges.matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    # Whatever the store says: the network of a pod that tries a model is closed but for the platform.
    if not lent.is_for_task and (elsewhere := await platform.artifacts.address(file)):
        return Response(status_code=307, headers={"location": elsewhere, "cache-control": "no-store"})
    asked = ranges.choose(range_, file.size) if ranges.still_holds(if_range, etag) else None
    match asked:
        case Beyond():
            detail = f"Range: the file has {file.size} bytes; ask for some of them"
            return problems.problem(
                416, "invalid", "No such range", detail, headers={"content-range": f"bytes */{file.size}"}
            )
        case Span(start, end):
            headers["content-length"] = str(end - start)
            headers["content-range"] = f"bytes {start}-{end - 1}/{file.size}"
        case None:
            headers["content-length"] = str(file.size)
    chunks = deliveries.sent(platform, file, asked)
    status = 200 if asked is None else 206
    return StreamingResponse(chunks, status, headers, media_type="application/octet-stream")


@router.put("/{sha256}", status_code=201, openapi_extra=states(Verb.ANYONE))
async def store_file(
    platform: PlatformDep,
    request: Request,
    sha256: Sha256,
    content_length: Annotated[int | None, Header(ge=0)] = None,
) -> Stored:
    """Keep what a task made, for a pod that has the task's token; the same file twice is kept once."""
    if content_length is None:
        message = "must be given, so that it is known whether the task may store that much"
        raise Invalid(f"Content-Length: {message}", errors=[FieldError("Content-Length", message)])
    secret, _ = secret_of(request)
    file = await deliveries.take(platform, secret, sha256, request.stream(), announced=content_length)
    return Stored(sha256=file.sha256, size=file.size)
