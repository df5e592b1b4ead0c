"""Resources to store, with something in every field that matters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from modelyard.domain.access import Role, Token, User, Verb
from modelyard.domain.deployment import Deployment, DeploymentSpec, Key, Resources, Revision, Stage
from modelyard.domain.event import Event
from modelyard.domain.model import (
    Artifact,
    Datatype,
    File,
    Format,
    Model,
    ModelVersion,
    Serialization,
    Signature,
    TensorSpec,
)
from modelyard.domain.project import Project, ProjectSpec, Trust
from modelyard.domain.runtime import Runtime, RuntimeSpec
from modelyard.store import Database, models, projects, users

AT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
ROLE = Role.DEVELOPER


def project(name: str = "default") -> Project:
    return Project(name=name, spec=ProjectSpec(description="π ✓", trust=Trust.FULL), created_at=AT)


def user(name: str = "ada", **fields: Any) -> User:
    return User(name=name, created_at=AT, **fields)


def token(id: str = "t1", **fields: Any) -> Token:
    return Token(
        id=id, user="ada", description="laptop", scope=(Verb.READ, Verb.INFER), created_at=AT, **fields
    )


def model(name: str = "churn", project: str = "default") -> Model:
    return Model(project=project, name=name, aliases={"champion": "3"}, latest="3", created_at=AT)


def version(number: int = 1, *, files: tuple[str, ...] = ("aa",), **fields: Any) -> ModelVersion:
    artifact = Artifact(
        name="model",
        format=Format.SKLEARN,
        serialization=Serialization.SKOPS,
        entry="model.skops",
        files=tuple(File(path=f"f{i}", size=3, sha256=digest) for i, digest in enumerate(files)),
        signature=Signature(
            inputs=(TensorSpec(name="input", datatype=Datatype.FP64, shape=(-1, 2), columns=("a", "b")),),
            sample={"input": [[1.5, float("inf")]]},
        ),
    )
    given = {"metrics": {"auc": 0.91, "nested": {"by": [1, None, True]}}} | fields
    return ModelVersion(
        project="default",
        model="churn",
        version=str(number),
        artifacts=(artifact,),
        created_at=AT,
        created_by="ada",
        **given,
    )


def runtime(name: str = "py311", project: str = "default") -> Runtime:
    return Runtime(
        project=project, name=name, spec=RuntimeSpec(python="3.11", formats=(Format.ONNX,)), created_at=AT
    )


def spec(model: str = "churn@1", **fields: Any) -> DeploymentSpec:
    return DeploymentSpec(model=model, resources=Resources(cpu="500m", memory="1Gi"), **fields)


def deployment(name: str = "churn", stage: Stage = Stage.PRODUCTION, **fields: Any) -> Deployment:
    given = {"project": "default", "spec": spec()} | fields
    return Deployment(name=name, stage=stage, created_at=AT, created_by="ada", **given)


def revision(key: Key, number: int = 1, **fields: Any) -> Revision:
    return Revision(
        project=key.project,
        name=key.name,
        stage=key.stage,
        number=number,
        spec=spec(**fields),
        reason="deploy",
        created_at=AT,
        created_by="ada",
    )


def event(name: str = "churn", **fields: Any) -> Event:
    given = {"project": "default", "kind": "deployment", "reason": "Deployed"} | fields
    return Event(at=AT, name=name, **given)


async def plant(database: Database) -> None:
    """A project, a user and a model, for what belongs to them."""
    async with database.begin() as tx:
        await projects.insert(tx, project())
        await users.insert(tx, user(), password_hash=None)
        await models.insert(tx, model())
