"""Who may call what: tokens of others, expired, revoked, rotated, malformed; judged at the front door."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import modelyard
from modelyard import Client
from modelyard.domain.access import Role
from modelyard.domain.project import ProjectSpec
from tests.support.command import until
from tests.support.platform import Running

CODE = "def predict(inputs):\n    return {'y': inputs['x'] * 2}\n"
BODY = {"rows": [{"x": 2.0}]}
ANSWER = {"rows": [{"y": 4.0}]}


@pytest.fixture(scope="module")
def client(platform: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    code: Path = tmp_path_factory.mktemp("code") / "model.py"
    code.write_text(CODE)
    with platform.client() as client:
        client.publish(code, "double", sample={"x": [1.0]})
        for name in ("one", "two"):
            client.deploy("double@1", name=name)
        yield client


def is_unknown(client: Client) -> bool:
    try:
        client.accounts.whoami()
    except modelyard.Unauthenticated:
        return True
    return False


def status(client: Client, token: str, *, service: str = "one", header: str = "authorization") -> int:
    value = f"Bearer {token}" if header == "authorization" else token
    url = f"{client.connection.url}/services/default/{service}/predict"
    answer = httpx2.post(url, json=BODY, headers={header: value}, timeout=20)
    assert answer.status_code != 200 or answer.json() == ANSWER
    assert len(token) < 5 or token not in answer.text
    return answer.status_code


def test_a_services_token_opens_that_service_and_nothing_else(client: Client) -> None:
    one, two = client.deployments.token("one"), client.deployments.token("two")
    assert status(client, one) == 200
    assert status(client, one, header="x-api-key") == 200
    assert status(client, two) in (401, 403)
    assert status(client, one, service="two") in (401, 403)
    answer = httpx2.get(
        f"{client.connection.url}/api/v1/projects", headers={"authorization": f"Bearer {one}"}, timeout=20
    )
    assert answer.status_code == 401


@pytest.mark.parametrize("token", ["x", "mys_", "myu_" + "a" * 43, "a b", "'; --", "A" * 5000])
def test_a_malformed_token_is_not_authenticated(client: Client, token: str) -> None:
    assert status(client, token) == 401
    answer = httpx2.get(
        f"{client.connection.url}/api/v1/whoami", headers={"authorization": f"Bearer {token}"}, timeout=20
    )
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_rotated_token_stops_within_a_second_and_the_new_one_works(client: Client) -> None:
    before = client.deployments.token("two")
    assert status(client, before, service="two") == 200
    after = client.deployments.rotate_token("two")
    rotated = time.monotonic()
    until(lambda: status(client, before, service="two") == 401, "the old one stops", seconds=5)
    took = time.monotonic() - rotated
    print(f"the old token stopped after {took:.2f} s")
    assert took < 1.5
    until(lambda: status(client, after, service="two") == 200, "the new one works", seconds=5)


def test_a_revoked_token_stops_at_once_at_the_api_and_soon_at_services(client: Client) -> None:
    token, secret = client.accounts.create_token(description="short")
    until(lambda: status(client, secret) == 200, "it opens services", seconds=5)
    client.accounts.revoke_token(token.id)
    with pytest.raises(modelyard.Unauthenticated), Client(client.connection.url, secret) as other:
        other.accounts.whoami()
    until(lambda: status(client, secret) == 401, "services refuse it", seconds=5)


def test_an_expired_token_is_refused_by_api_and_service(client: Client) -> None:
    _, secret = client.accounts.create_token(days=4 / 86400)
    until(lambda: status(client, secret) == 200, "it works while it lives", seconds=4)
    until(lambda: status(client, secret) == 401, "services refuse it", seconds=10)
    with Client(client.connection.url, secret) as other:
        until(lambda: is_unknown(other), "the API refuses it", seconds=5)


def test_a_user_reaches_only_what_their_role_opens(client: Client) -> None:
    client.projects.apply("lab", ProjectSpec(description="another project"))
    client.accounts.create_user("vera")
    client.projects.set_member("lab", "vera", Role.DEVELOPER)
    _, secret = client.accounts.create_token(user="vera")
    with Client(client.connection.url, secret) as vera:
        assert [p.name for p in vera.projects.list()] == ["lab"]
        for attempt in (
            lambda: vera.deployments.get("one"),
            lambda: vera.deployments.token("one"),
            lambda: vera.models.list(),
            lambda: vera.undeploy("one"),
            lambda: vera.accounts.create_user("eve"),
            lambda: vera.projects.apply("mine", ProjectSpec()),
        ):
            with pytest.raises((modelyard.Forbidden, modelyard.NotFound)):
                attempt()
    assert status(client, secret) in (401, 403)
    client.projects.set_member("default", "vera", Role.OPERATOR)
    until(lambda: status(client, secret) == 200, "a member may call", seconds=5)
    client.projects.remove_member("default", "vera")
    until(lambda: status(client, secret) in (401, 403), "no longer", seconds=5)
