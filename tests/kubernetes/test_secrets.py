"""What a replica may read: the project's secrets that it names, and no Secret of the platform's."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelyard.backends.kubernetes import upkeep
from modelyard.backends.kubernetes.client.cluster import Listing, Selection
from modelyard.backends.kubernetes.render.desired import Images, Settings
from modelyard.domain import mounts
from modelyard.domain.deployment import DeploymentSpec
from modelyard.domain.errors import BackendError
from modelyard.domain.secret import SecretValues
from tests.backends.things import KEY
from tests.kubernetes.test_projects import keep
from tests.kubernetes.worlds import World, world
from tests.support.cluster.verbs import Options as How
from tests.support.patience import PATIENCE

NAMESPACE = "modelyard-default"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    settings = Settings(images=Images(pull_secret="registry"))
    async with world(tmp_path, settings=settings) as made:
        keep(made, "the registry's password")
        yield made


def reading(name: str, **changes: object) -> DeploymentSpec:
    """A deployment that mounts a Secret."""
    return DeploymentSpec(model="churn@3", mounts=mounts.parse(f"{name}(secret):/keys"), **changes)  # type: ignore[arg-type]


def by_hand(here: World, name: str, *, labels: dict[str, str], annotations: dict[str, str]) -> None:
    """A Secret that somebody made in the project's namespace."""
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations}
    data = {"token": base64.b64encode(b"x").decode()}
    value = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    how, place = How(manager="somebody", force=True), (NAMESPACE, name)
    cluster = here.there.cluster
    cluster.patch(cluster.kind("Secret"), place, "application/apply-patch+yaml", value, how)


def deployments(here: World) -> list[str]:
    return [each["metadata"]["name"] for each in here.objects("Deployment")]


async def test_the_registrys_credentials_cannot_be_mounted(here: World) -> None:
    with pytest.raises(BackendError, match=r"spec.mounts\[0\].source: .*registry.*belongs to the platform"):
        await here.backend.start(here.launch("a", spec=reading("registry")))
    assert deployments(here) == []


async def test_what_one_deployment_was_given_cannot_be_mounted_by_another(here: World) -> None:
    with_env = DeploymentSpec(model="churn@3", env={"PASSWORD": "of somebody else"})
    await here.backend.start(here.launch("a", spec=with_env))
    (theirs,) = (e["metadata"]["name"] for e in here.objects("Secret") if "-env-" in e["metadata"]["name"])
    with pytest.raises(BackendError, match=rf"spec.mounts\[0\].source: .*{theirs}") as refused:
        await here.backend.start(here.launch("b", revision=3, spec=reading(theirs)))
    assert (refused.value.retryable, refused.value.reason) == (False, "MountFailed")
    assert deployments(here) == ["churn-r2"]


async def test_what_becomes_the_platforms_later_is_refused_to_the_next_replica(here: World) -> None:
    await here.backend.start(here.launch("a", spec=DeploymentSpec(model="churn@3")))
    by_hand(here, "keys", labels={}, annotations={})
    await here.backend.start(here.launch("b", revision=3, spec=reading("keys")))
    assert deployments(here) == ["churn-r2", "churn-r3"]
    by_hand(here, "keys", labels={"app.kubernetes.io/managed-by": "modelyard"}, annotations={})
    with pytest.raises(BackendError, match="belongs to the platform"):
        await here.backend.start(here.launch("c", revision=3, spec=reading("keys")))


async def test_a_token_for_the_clusters_api_is_no_models(here: World) -> None:
    await here.backend.start(here.launch("a", spec=DeploymentSpec(model="churn@3")))
    by_hand(here, "robot", labels={}, annotations={"kubernetes.io/service-account.name": "robot"})
    with pytest.raises(BackendError, match="a token of the account robot"):
        await here.backend.start(here.launch("b", revision=3, spec=reading("robot")))


async def test_what_is_looked_at_is_not_the_contents(here: World) -> None:
    await here.backend.start(here.launch("a", spec=DeploymentSpec(model="churn@3")))
    by_hand(here, "keys", labels={}, annotations={})
    asked = len(here.there.server.requests)
    await here.backend.start(here.launch("b", revision=3, spec=reading("keys")))
    place = f"/api/v1/namespaces/{NAMESPACE}/secrets"
    read = [each for each in here.there.server.requests[asked:] if each.startswith(f"GET {place}")]
    assert len(read) == 1
    assert f"{place}/" not in read[0]


def given(password: str, mark: str) -> dict[str, SecretValues]:
    """What a launch carries of the project's secrets."""
    values = {"PASSWORD": password.encode()}
    return {"db": SecretValues(mark=mark, values=values), "keys": SecretValues(mark=mark, values=values)}


def of_project(here: World) -> list[str]:
    """The Secrets with values of the project's secrets."""
    found = (str(each["metadata"]["name"]) for each in here.objects("Secret"))
    return sorted(name for name in found if "-secret-" in name)


NAMING = reading("keys", env={"PASSWORD": "{{secret.db.PASSWORD}}", "URL": "x:{{secret.db.PASSWORD}}@y"})


async def test_values_of_the_projects_secrets_stand_in_secrets_of_the_revision_alone(here: World) -> None:
    await here.backend.start(here.launch("a", spec=NAMING, secrets=given("hunter2", "m1")))
    await here.until_ready("a")
    coded = base64.b64encode(b"hunter2").decode()
    hold = [each for each in here.objects("Secret") if coded in json.dumps(each)]
    assert sorted(each["metadata"]["name"] for each in hold) == [
        "churn-r2-secret-db-m1", "churn-r2-secret-keys-m1",
    ]  # fmt: skip
    assert all(each["immutable"] and each["metadata"]["ownerReferences"] for each in hold)
    for kind in ("Deployment", "ReplicaSet", "Pod", "ConfigMap", "Service", "Event"):
        text = json.dumps(here.objects(kind))
        assert "hunter2" not in text
        assert coded not in text
    (deployment,) = here.objects("Deployment")
    remembered = upkeep.applied(deployment).manifests
    assert {each["metadata"]["name"] for each in remembered} >= {each["metadata"]["name"] for each in hold}
    assert coded not in json.dumps(remembered)


async def test_a_revision_keeps_the_values_that_it_began_with(here: World) -> None:
    await here.backend.start(here.launch("a", spec=NAMING, secrets=given("old", "m1")))
    (before,) = here.objects("Deployment")
    await here.backend.start(here.launch("b", spec=NAMING, secrets=given("new", "m2")))
    await here.until_ready("a", "b")
    (after,) = here.objects("Deployment")
    assert after["spec"]["template"] == before["spec"]["template"]
    await here.backend.start(here.launch("c", revision=3, spec=NAMING, secrets=given("new", "m2")))
    assert of_project(here) == [
        "churn-r2-secret-db-m1", "churn-r2-secret-keys-m1",
        "churn-r3-secret-db-m2", "churn-r3-secret-keys-m2",
    ]  # fmt: skip


async def test_a_secret_of_the_project_goes_before_one_of_the_cluster(here: World) -> None:
    """Also where the names are those of what nobody may mount from the cluster."""
    keys = {"registry": SecretValues(mark="m1", values={"K": b"v"})}
    await here.backend.start(here.launch("a", spec=reading("registry"), secrets=keys))
    (deployment,) = here.objects("Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    read = [each["secret"]["secretName"] for each in volumes if "secret" in each]
    assert "churn-r2-secret-registry-m1" in read
    assert "registry" not in read


async def test_what_is_left_of_a_revision_goes_with_its_secrets(here: World) -> None:
    await here.backend.start(here.launch("a", spec=NAMING, secrets=given("x", "m1")))
    await here.until_ready("a")
    assert of_project(here)
    await here.backend.kill(KEY, "a")
    async with asyncio.timeout(PATIENCE):
        while of_project(here):
            await here.seen()
            await asyncio.sleep(0.02)


async def test_a_look_at_everything_asks_for_no_contents(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.backend.start(here.launch("a", spec=NAMING, secrets=given("x", "m1")))
    await here.until_ready("a")
    cluster, read = here.backend._cluster, []
    listing = cluster.listing

    async def listened(wanted: Selection) -> Listing:
        found = await listing(wanted)
        read.append((wanted.kind.name, [each for each in found.items if "data" in each]))
        return found

    monkeypatch.setattr(cluster, "listing", listened)
    await here.backend._upkeep.sweep()
    assert {"Secret", "ConfigMap", "Deployment"} <= {kind for kind, _ in read}
    assert not [kind for kind, found in read if found]
    assert len(of_project(here)) == 2
