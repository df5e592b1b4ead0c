"""Models, versions, aliases, downloads, validation and tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from modelyard.api import tar
from modelyard.api.answers import Items, page
from modelyard.api.idempotency import Idempotent
from modelyard.api.leaving import while_awaited
from modelyard.api.request import ActorDep, ExpectedDep, PagingDep, PlatformDep
from modelyard.api.verbs import states
from modelyard.control import applying, downloads, models, trials, validation, versions
from modelyard.domain import naming, wire
from modelyard.domain.access import Verb
from modelyard.domain.model import Model, ModelVersion
from modelyard.domain.views import DeploymentView, TestResult

router = APIRouter(prefix="/projects/{project}/models", tags=["models"], route_class=Idempotent)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEdit:
    """What to change of a model."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEdit:
    """What to change of a version's words; files and signature never change."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    description: str | None = None
    label: str | None = None
    metrics: dict[str, Any] | str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasTarget:
    """What an alias should mean."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    version: str
    """Number, label or alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestRequest:
    """One question to a model; without inputs and rows its recorded sample is used."""

    __test__ = False
    __pydantic_config__: ClassVar[Any] = wire.STRICT

    inputs: dict[str, Any] | None = None
    """Input name to nested lists."""
    rows: Any = None
    """Records, lists of values, or `{"columns": …, "data": …}`."""
    runtime: str = ""
    """Empty or `auto` chooses as a deployment would."""
    artifact: str = ""
    timeout_seconds: float | None = None
    memory: str = "0"
    gpu: str = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """The offline service to make of a version."""

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    name: str = ""
    """Empty is the model's name."""


@router.get("", openapi_extra=states(Verb.READ))
async def list_models(
    platform: PlatformDep, actor: ActorDep, project: str, paging: PagingDep
) -> Items[Model]:
    """All models."""
    return page(await models.list(platform, actor, project, limit=paging.limit, after=paging.after))


@router.get("/{model}", openapi_extra=states(Verb.READ))
async def get_model(platform: PlatformDep, actor: ActorDep, project: str, model: str) -> Model:
    """One model."""
    return await models.get(platform, actor, project, model)


@router.patch("/{model}", openapi_extra=states(Verb.PUBLISH))
async def update_model(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, body: ModelEdit, expected: ExpectedDep
) -> Model:
    """Change the words about a model."""
    return await models.describe(
        platform, actor, project, model, description=body.description, expected=expected
    )


@router.delete("/{model}", status_code=204, openapi_extra=states(Verb.PUBLISH))
async def delete_model(platform: PlatformDep, actor: ActorDep, project: str, model: str) -> None:
    """Delete a model with all versions; refused while a deployment uses one."""
    await models.delete(platform, actor, project, model)


@router.put("/{model}/aliases/{alias}", openapi_extra=states(Verb.PUBLISH))
async def set_alias(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, alias: str, body: AliasTarget
) -> Model:
    """Point an alias at a version."""
    return await models.set_alias(platform, actor, project, model, alias, body.version)


@router.delete("/{model}/aliases/{alias}", openapi_extra=states(Verb.PUBLISH))
async def remove_alias(platform: PlatformDep, actor: ActorDep, project: str, model: str, alias: str) -> Model:
    """Remove an alias."""
    return await models.remove_alias(platform, actor, project, model, alias)


@router.get("/{model}/versions", openapi_extra=states(Verb.READ))
async def list_versions(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, paging: PagingDep
) -> Items[ModelVersion]:
    """All versions, newest first."""
    return page(await versions.list(platform, actor, project, model, limit=paging.limit, after=paging.after))


@router.get("/{model}/versions/{version}", openapi_extra=states(Verb.READ))
async def get_version(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, version: str
) -> ModelVersion:
    """One version by number, label, alias or `latest`."""
    return await versions.get(platform, actor, project, model, version)


@router.patch("/{model}/versions/{version}", openapi_extra=states(Verb.PUBLISH))
async def update_version(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    model: str,
    version: str,
    body: VersionEdit,
    expected: ExpectedDep,
) -> ModelVersion:
    """Change description, label or metrics."""
    change = versions.VersionChange(description=body.description, label=body.label, metrics=body.metrics)
    return await versions.update(platform, actor, project, model, version, change, expected=expected)


@router.delete("/{model}/versions/{version}", status_code=204, openapi_extra=states(Verb.PUBLISH))
async def delete_version(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, version: str
) -> None:
    """Delete a version; refused while a deployment uses it."""
    await versions.delete(platform, actor, project, model, version)


@router.get("/{model}/versions/{version}/artifacts/{artifact}", openapi_extra=states(Verb.READ))
async def download_artifact(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, version: str, artifact: str
) -> StreamingResponse:
    """All files of one artifact as a tar archive, each verified while it is read."""
    ref = naming.ModelRef(model, version)
    bundle = await downloads.artifact(platform, actor, project, ref, name=artifact)
    name = f"{bundle.version.model}-{bundle.version.version}-{bundle.artifact.name}.tar"
    members = ((each.file.path, each.file.size, each.chunks) for each in bundle.files)
    return _download(tar.stream(members), name, "application/x-tar")


@router.get(
    "/{model}/versions/{version}/artifacts/{artifact}/files/{path:path}", openapi_extra=states(Verb.READ)
)
async def download_file(
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    model: str,
    version: str,
    artifact: str,
    path: str,
) -> StreamingResponse:
    """One file, verified while it is read."""
    ref = naming.ModelRef(model, version)
    found = await downloads.file(platform, actor, project, ref, artifact_name=artifact, path=path)
    name = path.rpartition("/")[2]
    answer = _download(found.chunks, name, "application/octet-stream")
    answer.headers["content-length"] = str(found.file.size)
    answer.headers["etag"] = f'"{found.file.sha256}"'
    return answer


@router.post("/{model}/versions/{version}/validate", openapi_extra=states(Verb.TEST))
async def validate_version(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, version: str
) -> ModelVersion:
    """Check a version again: checksums, scan, and a load in a process of its own."""
    return await validation.validate(platform, actor, project, naming.ModelRef(model, version))


@router.post("/{model}/versions/{version}/test", openapi_extra=states(Verb.TEST))
async def test_version(
    caller: Request,
    platform: PlatformDep,
    actor: ActorDep,
    project: str,
    model: str,
    version: str,
    body: TestRequest,
) -> TestResult:
    """Answer one request in a process that is gone afterwards, or when the caller hangs up."""
    request = trials.TestRequest(
        inputs=body.inputs,
        rows=body.rows,
        artifact=body.artifact,
        runtime=body.runtime,
        timeout_seconds=body.timeout_seconds,
        memory=body.memory,
        gpu=body.gpu,
    )
    ref = naming.ModelRef(model, version)
    return await while_awaited(caller, trials.test(platform, actor, project, ref, request))


@router.post("/{model}/versions/{version}/service", status_code=201, openapi_extra=states(Verb.DEPLOY))
async def publish_to_service(
    platform: PlatformDep, actor: ActorDep, project: str, model: str, version: str, body: ServiceRequest
) -> DeploymentView:
    """Make an offline service of a version; 409 when it exists."""
    ref = naming.ModelRef(model, version)
    view = await applying.publish_service(platform, actor, project, ref, name=body.name)
    return replace(view, token="")


def _download(chunks: AsyncIterator[bytes], name: str, kind: str) -> StreamingResponse:
    disposition = f"attachment; filename*=UTF-8''{quote(name)}"
    return StreamingResponse(chunks, media_type=kind, headers={"content-disposition": disposition})
