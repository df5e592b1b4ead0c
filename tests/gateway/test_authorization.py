"""Who may pass is judged inside Envoy."""

from __future__ import annotations

import dataclasses
import random
import string
import time

import httpx2
import pytest

from modelyard.gateway.envoy.gateway import EnvoyGateway
from tests.gateway.conftest import StartUpstream
from tests.gateway.support import TOKEN, access, route

_PATH = "/v2/models/churn/infer"


@pytest.fixture
async def guarded(gateway: EnvoyGateway, upstream: StartUpstream) -> EnvoyGateway:
    replica = await upstream("r1")
    now = int(time.time())
    keys = (
        access(),
        access("old", expires_at=now - 5),
        access("young", subject="bob|the builder", expires_at=now + 600),
    )
    churn = dataclasses.replace(route("default/churn", replica, public=False), keys=keys)
    other = dataclasses.replace(
        route("default/other", replica, public=False), keys=(access("for-the-other"),)
    )
    closed = dataclasses.replace(route("default/closed", replica, public=False), keys=())
    await gateway.publish([churn, other, closed, route("default/open", replica)])
    return gateway


@pytest.mark.parametrize(
    ("headers", "subject"),
    [
        ({"authorization": f"Bearer {TOKEN}"}, "ann"),
        ({"authorization": f"bearer   {TOKEN}"}, "ann"),
        ({"x-api-key": TOKEN}, "ann"),
        ({"authorization": "Basic abc", "x-api-key": TOKEN}, "ann"),
        ({"x-api-key": "young"}, "bob|the builder"),
        ({"x-api-key": TOKEN, "x-modelyard-subject": "root"}, "ann"),
    ],
)
@pytest.mark.usefixtures("guarded")
async def test_a_token_of_the_service_opens_it_and_stays_at_the_gateway(
    client: httpx2.AsyncClient, headers: dict[str, str], subject: str
) -> None:
    answer = await client.post(_PATH, json={}, headers={**headers, "cookie": "a=b"})
    assert answer.status_code == 200, answer.text
    seen = answer.json()["headers"]
    assert seen["x-modelyard-subject"] == subject
    assert not {"authorization", "x-api-key", "cookie"} & set(seen)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}, Bearer {TOKEN}"},
        {"authorization": "Bearer " + "x" * 5000},
        {"authorization": "Bearer wrong", "x-api-key": TOKEN},
        {"x-api-key": ""},
        {"x-api-key": TOKEN.upper()},
        {"x-api-key": "old"},
        {"x-api-key": "for-the-other"},
        {"x-api-key": access().sha256},
        {"x-modelyard-subject": "ann"},
    ],
)
@pytest.mark.usefixtures("guarded")
async def test_without_a_valid_token_of_this_very_service_nobody_passes(
    client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    for path in (_PATH, "/services/default/churn/", "/services/default/churn"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["code"] == "unauthenticated"


@pytest.mark.usefixtures("guarded")
async def test_a_token_for_another_service_is_told_nothing_more_than_a_wrong_one(
    client: httpx2.AsyncClient,
) -> None:
    answers = [
        await client.get(_PATH, headers={"x-api-key": token}) for token in ("for-the-other", "old", "wrong")
    ]
    assert len({answer.content for answer in answers}) == 1
    assert (await client.get("/v2/models/other", headers={"x-api-key": "for-the-other"})).status_code == 200
    assert (await client.get("/v2/models/closed", headers={"x-api-key": TOKEN})).status_code == 401


@pytest.mark.usefixtures("guarded")
async def test_a_public_service_needs_no_token_and_claims_no_subject(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v2/models/open", headers={"x-modelyard-subject": "root"})
    assert answer.status_code == 200
    assert "x-modelyard-subject" not in answer.json()["headers"]


async def test_a_withdrawn_token_closes_at_once_though_it_was_used_before(
    guarded: EnvoyGateway, client: httpx2.AsyncClient
) -> None:
    headers = {"x-api-key": TOKEN}
    for _ in range(8):
        assert (await client.get(_PATH, headers=headers)).status_code == 200
    await guarded.publish([dataclasses.replace(route("default/churn", public=False), keys=())])
    for _ in range(8):
        assert (await client.get(_PATH, headers=headers)).status_code == 401


async def test_a_token_expires_by_the_clock_without_anybodys_help(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    key = access(expires_at=int(time.time()) + 2)
    churn = dataclasses.replace(route("default/churn", await upstream("r1"), public=False), keys=(key,))
    await gateway.publish([churn])
    headers = {"x-api-key": TOKEN}
    assert (await client.get(_PATH, headers=headers)).status_code == 200
    # The gateway reads the kernel's coarse clock, which is up to a tick behind.
    while time.time() < key.expires_at + 0.05:
        time.sleep(0.05)
    assert (await client.get(_PATH, headers=headers)).status_code == 401


async def test_tokens_of_every_length_are_hashed_as_everybody_hashes(
    gateway: EnvoyGateway, upstream: StartUpstream, client: httpx2.AsyncClient
) -> None:
    generator = random.Random(7)
    alphabet = string.ascii_letters + string.digits + string.punctuation.replace(",", "")
    tokens = ["".join(generator.choices(alphabet, k=size)) for size in (*range(1, 140), 511, 512)]
    keys = tuple(access(token, subject=f"s{i}") for i, token in enumerate(tokens))
    churn = dataclasses.replace(route("default/churn", await upstream("r1"), public=False), keys=keys)
    await gateway.publish([churn])
    for i, token in enumerate(tokens):
        answer = await client.get(_PATH, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200, token
        assert answer.json()["headers"]["x-modelyard-subject"] == f"s{i}"
