"""What fails between us and the API server, and what is tried again."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.backends.kubernetes import kinds
from modelyard.backends.kubernetes.client import calls, refusals, transport
from modelyard.backends.kubernetes.client.calls import Again, Call
from modelyard.backends.kubernetes.client.refusals import (
    Exists,
    Gone,
    PodSecurityViolated,
    QuotaExceeded,
    Terminating,
)
from modelyard.backends.kubernetes.client.transport import Answer, NoAnswer
from modelyard.domain.errors import (
    BackendError,
    Conflict,
    Forbidden,
    Invalid,
    ModelyardError,
    NotFound,
    TooLarge,
    Unavailable,
)
from tests.cluster.manifests import config
from tests.kubernetes.client.scripted import Asked, scripted
from tests.support.cluster.faults import Cut, Hang, Status
from tests.support.connected import Counting, client, connected

SETTINGS = {**config(a="1"), "metadata": {"name": "settings", "namespace": "default"}}


def refusal(code: int, reason: str, message: str = "no", **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


@pytest.mark.parametrize(
    "fault", [Status(500), Status(429, retry_after=1), Status(500, retry_after=1), Cut(0)]
)
async def test_what_comes_to_the_same_is_tried_again(fault: Any) -> None:
    counting = Counting()
    async with connected(observer=counting) as (there, cluster):
        there.server.faults.add(fault, where=lambda method, _: method == "PATCH")
        began = asyncio.get_running_loop().time()
        assert (await cluster.apply(SETTINGS))["data"] == {"a": "1"}
        waited = asyncio.get_running_loop().time() - began
        assert waited >= getattr(fault, "retry_after", 0)
        first = "none" if isinstance(fault, Cut) else str(fault.code)
        codes = [code for verb, kind, code in counting.calls if (verb, kind) == ("apply", "configmaps")]
        assert codes[0] in (first, "500")
        assert codes[1] == "201"


async def test_it_is_not_tried_for_ever() -> None:
    async with connected() as (there, cluster):
        there.server.faults.add(Status(500), times=100)
        with pytest.raises(Unavailable, match="made to fail"):
            await cluster.get(kinds.NODE, "n")
        assert len(there.server.requests) == 4
        there.server.faults.due.clear()
        there.server.faults.add(Status(429, retry_after=120))
        with pytest.raises(Unavailable) as told:
            await cluster.get(kinds.NODE, "n")
        assert told.value.retry_after_seconds == 120


async def test_a_patch_that_could_do_it_twice_is_not_tried_again() -> None:
    async with connected() as (there, cluster):
        await cluster.create(SETTINGS)
        change = [{"op": "add", "path": "/data/b", "value": "1"}]
        there.server.faults.add(Status(500), where=lambda method, _: method == "PATCH")
        with pytest.raises(Unavailable):
            await cluster.patch(kinds.CONFIG_MAP, "settings", change, namespace="default", merge="json")
        there.server.faults.add(Status(429), where=lambda method, _: method == "PATCH")
        await cluster.patch(kinds.CONFIG_MAP, "settings", change, namespace="default", merge="json")


async def test_a_creation_that_had_no_answer_is_no_conflict() -> None:
    made: list[dict[str, Any]] = []

    async def script(asked: Asked) -> None:
        if asked.method == "GET":
            return await asked.answer(200, made[0])
        if made:
            return await asked.answer(409, refusal(409, "AlreadyExists"))
        made.append(json.loads(asked.body) | {"found": True})
        asked.cut()  # it was carried out, and nobody knows
        return None

    async with scripted(script) as there, client(there.url) as cluster:
        assert (await cluster.create(SETTINGS))["found"]
        assert [each.method for each in there.asked] == ["POST", "POST", "GET"]
        with pytest.raises(Exists):
            await cluster.create(SETTINGS)


async def test_an_answer_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = transport.Surroundings(
        clock=lambda: 0.0, dice=lambda: 0.0, answer_seconds=0.2, patience_seconds=0.3
    )
    async with connected() as (there, cluster):
        patient = transport.Transport(cluster.access, quick)
        there.server.faults.add(Hang(5), where=lambda method, _: method == "GET")
        call = calls.get(kinds.NAMESPACE, "default", namespace="")
        assert (await patient.ask(call))["metadata"]["name"] == "default"
        there.server.faults.add(Hang(5), times=4, where=lambda method, _: method == "GET")
        with pytest.raises(Unavailable, match="does not answer: ReadTimeout"):
            await patient.ask(call)
        await patient.close()


async def test_nobody_listens() -> None:
    async with client("http://127.0.0.1:1") as cluster:
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1 does not answer: ConnectError"):
            await cluster.version()


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]"])
async def test_something_else_answers(body: bytes) -> None:
    async def script(asked: Asked) -> None:
        await asked.answer(200, body)

    async with scripted(script) as there, client(there.url) as cluster:
        with pytest.raises((Unavailable, BackendError)):
            await cluster.version()


UNTYPED = (
    "failed to create typed patch object (/a; /v1, Kind=Pod): .spec.containers: "
    'duplicate entries for key [name="a"]'
)
"""What an API server says, with this code, to an apply that makes no sense."""
STATUSES = [
    (400, refusal(400, "BadRequest"), Invalid),
    (401, refusal(401, "Unauthorized"), BackendError),
    (403, refusal(403, "Forbidden", 'secrets is forbidden: User "x" cannot list'), Forbidden),
    (
        403,
        refusal(403, "Forbidden", "exceeded quota: q, requested: a=1, used: a=2, limited: a=2"),
        QuotaExceeded,
    ),
    (403, refusal(403, "Forbidden", 'pods "p" is forbidden: violates PodSecurity "x"'), PodSecurityViolated),
    (403, refusal(403, "Forbidden", causes=[{"reason": "NamespaceTerminating"}]), Terminating),
    (404, refusal(404, "NotFound"), NotFound),
    (405, refusal(405, "MethodNotAllowed"), BackendError),
    (409, refusal(409, "Conflict"), Conflict),
    (409, refusal(409, "AlreadyExists"), Exists),
    (410, refusal(410, "Expired"), Gone),
    (413, refusal(413, "RequestEntityTooLarge"), TooLarge),
    (422, refusal(422, "Invalid", causes=[{"field": "spec.x", "message": "bad"}]), Invalid),
    (429, refusal(429, "TooManyRequests", retryAfterSeconds=7), Unavailable),
    (500, refusal(500, "InternalError"), Unavailable),
    (500, {"message": UNTYPED}, Invalid),
    (504, {}, Unavailable),
]


@pytest.mark.parametrize(("code", "status", "kind"), STATUSES)
def test_every_refusal_has_its_error(code: int, status: dict[str, Any], kind: type[ModelyardError]) -> None:
    error = refusals.refused(code, status, refusals.seconds_of({}, status))
    assert type(error) is kind
    assert error.message
    if code == 429:
        assert isinstance(error, Unavailable)
        assert error.retry_after_seconds == 7
    if status.get("message") == UNTYPED:
        assert [each.path for each in error.errors] == ["spec.containers"]
    if code == 422:
        assert [each.path for each in error.errors] == ["spec.x"]
    if isinstance(error, BackendError):
        assert error.retryable is (code == 401)


def test_when_to_come_again() -> None:
    assert refusals.seconds_of({"retry-after": "3"}, {}) == 3
    assert (
        refusals.seconds_of({"retry-after": "Fri, 01 Jan 2027"}, {"details": {"retryAfterSeconds": 2}}) == 2
    )
    assert refusals.seconds_of({}, {}) is None
    assert refusals.status_of(b"upstream \xff died")["message"] == "upstream \ufffd died"


OUTCOMES = st.one_of(
    st.builds(NoAnswer, sent=st.booleans(), why=st.just("x")),
    st.builds(
        Answer,
        code=st.sampled_from([400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 504]),
        headers=st.sampled_from([{}, {"retry-after": "3"}]),
        content=st.just(b"{}"),
    ),
)


@given(again=st.sampled_from(Again), came=OUTCOMES, tries=st.integers(1, 6), chance=st.floats(0, 1))
def test_only_what_is_safe_is_tried_again(
    again: Again, came: Answer | NoAnswer, tries: int, chance: float
) -> None:
    wait = transport.pause(Call(verb="x", kind="x", path="/", again=again), came, tries, chance)
    carried_out = came.sent if isinstance(came, NoAnswer) else came.code >= 500
    if wait is None:
        assert (
            tries >= 4
            or (carried_out and again is Again.NO)
            or (isinstance(came, Answer) and came.code < 429)
        )
        return
    assert not (carried_out and again is Again.NO)
    asked = 3 if isinstance(came, Answer) and came.headers else 0
    assert asked <= wait <= asked + 30


def test_pauses_grow() -> None:
    call = Call(verb="x", kind="x", path="/")
    waits = [transport.pause(call, NoAnswer(sent=True, why=""), tries, 1.0) or 0.0 for tries in (1, 2, 3)]
    assert all(b == 2 * a for a, b in itertools.pairwise(waits))
