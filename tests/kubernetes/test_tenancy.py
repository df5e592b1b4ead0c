"""Rights in projects' namespaces that somebody takes away come back, and lack in one stops no other."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from modelyard.backends.kubernetes import kinds, names, projects
from modelyard.backends.kubernetes.client import config
from modelyard.backends.kubernetes.client.cluster import Cluster, Selection
from modelyard.backends.kubernetes.render.desired import Settings
from modelyard.backends.kubernetes.render.revision import account_of, namespace_of
from modelyard.composing.tenancy import Tenancy
from modelyard.domain.errors import Forbidden
from tests.support.cluster import rights
from tests.support.cluster.faults import Status
from tests.support.cluster.refusals import Refusal
from tests.support.cluster.running import Running, running

SYSTEM = "modelyard-system"
TEXT, VISION = "modelyard-text", "modelyard-vision"
SECRETS = Selection(kind=kinds.SECRET, labels=f"{names.MANAGED_BY}={names.MANAGER}")


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running() as found:
        yield found


@pytest.fixture
async def somebody(server: Running, tmp_path: Path) -> AsyncIterator[Cluster]:
    """An administrator of the cluster."""
    made = Cluster(config.load({}, kubeconfig=str(server.kubeconfig(tmp_path))), clock=time.time)
    yield made
    await made.close()


@pytest.fixture
async def platform(server: Running, tmp_path: Path) -> AsyncIterator[Tenancy]:
    """The platform with two projects, each with a Secret; it may work where a RoleBinding lets it in."""
    access = config.load({}, kubeconfig=str(server.kubeconfig(tmp_path)))
    made = Tenancy(access, clock=time.time)
    made.account, made.home = (SYSTEM, "modelyard"), Settings().namespace
    for project in ("text", "vision"):
        await made.apply(namespace_of(project, f"modelyard-{project}"))
        await made.apply(secret(project, f"modelyard-{project}"))
    close(server)
    yield made
    await made.close()


def secret(project: str, namespace: str) -> kinds.Manifest:
    labels = {names.MANAGED_BY: names.MANAGER, names.PROJECT: project}
    metadata = {"name": f"of-{project}", "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}


def close(here: Running) -> None:
    """From now on nobody works in a namespace without a RoleBinding, but to make one."""
    server: Any = here.server
    answer, cluster = server._answer, here.cluster

    async def checked(request: Request, fault: Any) -> Any:
        wanted = rights.asked(request.method, request.url.path, request.query_params)
        free = ("rolebindings", "namespaces")
        closed = wanted is not None and wanted.namespace and wanted.resource not in free
        if closed and not cluster.store.list(cluster.kind("RoleBinding"), wanted.namespace):
            raise Refusal(403, f"{wanted} is forbidden")
        return await answer(request, fault)

    server._answer = checked


async def shut_out(somebody: Cluster, namespace: str = TEXT) -> None:
    await somebody.delete(kinds.ROLE_BINDING, "modelyard-platform", namespace=namespace)


async def listed(platform: Tenancy) -> set[str]:
    return {each["metadata"]["name"] for each in (await platform.listing(SECRETS)).items}


async def let_in(somebody: Cluster) -> set[str]:
    return {each["metadata"]["namespace"] for each in (await somebody.list(kinds.ROLE_BINDING)).items}


async def test_a_look_at_all_projects_puts_rights_back_that_somebody_took(
    platform: Tenancy, somebody: Cluster
) -> None:
    await shut_out(somebody)
    assert await listed(platform) == {"of-text", "of-vision"}
    assert await let_in(somebody) == {TEXT, VISION}


async def test_a_namespace_that_stays_closed_is_left_out_and_named(
    platform: Tenancy, somebody: Cluster, server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    await shut_out(somebody)
    server.server.faults.add(Status(403), where=lambda how, path: how == "PATCH" and "rolebindings" in path)
    with caplog.at_level(logging.WARNING):
        assert await listed(platform) == {"of-vision"}
    (told,) = [each.getMessage() for each in caplog.records]
    assert TEXT in told
    assert "modelyard-tenant-manager" in told
    assert await listed(platform) == {"of-text", "of-vision"}, "as soon as it can"


async def test_a_namespace_of_a_project_that_appears_later_is_entered(
    platform: Tenancy, somebody: Cluster
) -> None:
    await somebody.apply(namespace_of("later", "modelyard-later"))
    assert await listed(platform) == {"of-text", "of-vision"}
    assert await let_in(somebody) == {TEXT, VISION, "modelyard-later"}


async def test_namespaces_of_another_installation_are_not_entered(
    platform: Tenancy, somebody: Cluster
) -> None:
    await somebody.apply(namespace_of("text", "ml-text"))
    await platform.enter_all()
    assert await listed(platform) == {"of-text", "of-vision"}
    assert await let_in(somebody) == {TEXT, VISION}


async def test_at_the_start_one_closed_namespace_keeps_nobody_from_the_others(
    platform: Tenancy, somebody: Cluster, server: Running
) -> None:
    for namespace in (TEXT, VISION):
        await shut_out(somebody, namespace)
    server.server.faults.add(Status(403), where=lambda how, path: how == "PATCH" and TEXT in path)
    await platform.enter_all()
    assert await let_in(somebody) == {VISION}


async def test_what_a_project_needs_is_made_after_somebody_took_the_rights(
    platform: Tenancy, somebody: Cluster
) -> None:
    await projects.prepare(platform, Settings(), "text")
    await shut_out(somebody)
    await projects.prepare(platform, Settings(), "text")
    assert await let_in(somebody) == {TEXT, VISION}


async def test_what_is_refused_for_another_reason_is_refused_at_once(
    platform: Tenancy, server: Running
) -> None:
    server.server.faults.add(Status(403), where=lambda how, path: "serviceaccounts" in path)
    server.server.requests.clear()
    with pytest.raises(Forbidden):
        await platform.apply(account_of("text", TEXT))
    assert not any("PATCH" in each and "rolebindings" in each for each in server.server.requests)
