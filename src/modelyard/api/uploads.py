"""Publishing over HTTP: one multipart request, streamed from the socket to the staging directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from modelyard.api import documents, multipart
from modelyard.api.request import ActorDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import publishing
from modelyard.domain.access import Verb
from modelyard.domain.errors import TooLarge
from modelyard.domain.model import ModelVersion, PublishSpec

router = APIRouter(prefix="/projects/{project}/models", tags=["models"])
_SPEC = TypeAdapter(PublishSpec)
_SPEC_BYTES = 4 * 1024 * 1024
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["spec", "file"],
                    "properties": {
                        "spec": {"$ref": "#/components/schemas/PublishSpec"},
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    },
                }
            }
        },
    }
}


@router.post("", status_code=201, openapi_extra=states(Verb.PUBLISH) | _BODY)
async def publish_version(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    request: Request,
    response: Response,
    dry_run: Annotated[bool, Query()] = False,
) -> ModelVersion:
    """Publish a version: the field `spec` (JSON) first, then the files as parts named `file`.

    200 instead of 201 when the same training run had published it before. With `dry_run` everything is
    checked and nothing published: the answer is a version without a number, with 200.
    """
    parts = multipart.parts(request)
    spec = await _spec(await anext(parts, None))
    limit: int = request.app.state.upload_bytes
    files = _files(parts, limit)
    if dry_run:
        response.status_code = 200
        return await publishing.preview(platform, actor, project, spec, files)
    published = await publishing.publish(platform, actor, project, spec, files)
    response.status_code = 201 if published.created else 200
    return published.version


def schemas() -> dict[str, Any]:
    """What the description of `spec` refers to; the framework does not look into multipart requests."""
    schema = _SPEC.json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), "PublishSpec": schema}


async def _spec(part: multipart.Part | None) -> PublishSpec:
    if part is None or part.name != "spec":
        raise multipart.invalid("spec", "must be the first part: a JSON object with at least `name`")
    try:
        return _SPEC.validate_python(
            documents.read(await multipart.text(part, limit=_SPEC_BYTES), path="spec")
        )
    except ValidationError as error:
        wrong = [{**line, "loc": ("spec", *line["loc"])} for line in error.errors(include_url=False)]
        raise RequestValidationError(wrong) from None


async def _files(parts: AsyncIterator[multipart.Part], limit: int) -> AsyncIterator[publishing.Part]:
    received = 0

    async def counted(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        nonlocal received
        async for chunk in chunks:
            received += len(chunk)
            if received > limit:
                raise TooLarge(
                    f"the upload is larger than {limit} bytes; an administrator can raise `limits.upload`"
                )
            yield chunk

    async for part in parts:
        if part.name != "file" or not part.filename:
            raise multipart.invalid(
                part.name, "after `spec`, send files only: parts named `file` with a filename"
            )
        yield publishing.Part(part.filename, counted(part.chunks))
