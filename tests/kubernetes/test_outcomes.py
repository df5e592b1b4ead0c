"""Outcomes are read out of logs within bounds, whatever stands there."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from modelyard.backends.kubernetes.outcomes import collected, unpacked

SOUND = {"code": 0, "seconds": 0.5, "said": {"result": {"a": 1}}, "files": [], "result": None}


def packed(value: object) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value).encode())).decode()


async def log(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield f"2026-01-01T00:00:00.0Z {line}"


async def test_the_outcome_is_collected_in_whatever_order_among_whatever_else() -> None:
    text = packed(SOUND)
    lines = ("hello", f"m 2/2 {text[9:]}", f"other 1/2 {text[:9]}", f"m 1/2 {text[:9]}", "m", "m x/y z")
    assert unpacked(await collected(log(*lines), "m")) == SOUND


@pytest.mark.parametrize(
    "lines", [(), ("hello",), ("m 1/2 abc",), ("m 1/0 abc",), (f"m {'9' * 5000}/1 abc",)]
)
async def test_what_is_not_there_whole_is_not_there(lines: tuple[str, ...]) -> None:
    assert await collected(log(*lines), "m") == ""


def test_an_outcome_that_unpacks_to_more_than_any_can_have_is_none() -> None:
    assert unpacked(packed({**SOUND, "stdout": "a" * 5000}), most_bytes=5000) is None
    assert unpacked(packed({**SOUND, "stdout": "a" * 4000}), most_bytes=5000) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64",
        base64.b64encode(b"no gzip").decode(),
        packed(SOUND)[:-12],
        base64.b64encode(gzip.compress(b"[" * 100_000)).decode(),
        packed([1]),
        packed({**SOUND, "code": "x"}),
        packed({**SOUND, "seconds": None}),
        packed({**SOUND, "files": [{"path": 1}]}),
        packed({**SOUND, "files": None}),
        packed({**SOUND, "result": {"path": "a", "size": "b", "sha256": "c"}}),
    ],
)
def test_what_is_no_outcome_is_none(text: str) -> None:
    assert unpacked(text) is None
