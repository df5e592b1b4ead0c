"""Tokens of single files, and what tasks are lent and bring back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.artifacts import LocalArtifacts
from modelyard.backends.delivery import Courier, Tree
from modelyard.control import deliveries
from modelyard.control.carried import Carried
from modelyard.control.deliveries import Couriers
from modelyard.domain.deployment import Key
from modelyard.domain.errors import Invalid, Refused, TooLarge, Unauthenticated
from modelyard.domain.model import File
from tests.artifacts.streams import publish

SECRET = b"a master key"


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifacts:
    return LocalArtifacts(tmp_path / "artifacts")


@pytest.fixture
def couriers(store: LocalArtifacts) -> Couriers:
    ids = iter("abcdef")
    return Couriers(
        artifacts=store,
        master_key=SECRET,
        clock=Clock(),
        new_id=lambda: next(ids),
        base="http://modelyard:8081/api/v1/artifacts",
    )


def test_it_is_a_courier(couriers: Couriers) -> None:
    courier: Courier = couriers
    assert "a master key" not in repr(courier)


def test_a_revisions_tokens_are_the_same_each_time_and_open_one_file_each(couriers: Couriers) -> None:
    files = [File(path=name, size=1, sha256=name * 64) for name in "ab"]
    tokens = couriers.for_revision(Key("vision", "churn"), 7, files)
    assert tokens == couriers.for_revision(Key("vision", "churn"), 7, files)
    scope = deliveries.opens(SECRET, tokens["a" * 64], "a" * 64, now=1e12)
    assert scope == {"key": "vision/churn", "revision": 7}
    with pytest.raises(Unauthenticated):
        deliveries.opens(SECRET, tokens["a" * 64], "b" * 64, now=0)
    with pytest.raises(Unauthenticated):
        deliveries.opens(b"another key", tokens["a" * 64], "a" * 64, now=0)
    other = couriers.for_revision(Key("vision", "churn"), 8, files)
    assert not set(tokens.values()) & set(other.values())


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_other_text_opens_anything(secret: str, tail: str) -> None:
    real = deliveries.token(SECRET, {"key": "a/b", "revision": 1}, "a" * 64)
    for tried in (secret, "mya_" + secret, f"mya_{secret}.{tail}", real + tail[:1] + "x", real[:-2]):
        with pytest.raises(Unauthenticated):
            deliveries.opens(SECRET, tried, "a" * 64, now=0)


async def test_a_task_is_lent_what_is_stored_and_what_is_not(
    couriers: Couriers, store: LocalArtifacts, tmp_path: Path
) -> None:
    stored = await publish(store, {"model.onnx": b"graph"})
    (tmp_path / "new").mkdir()
    (tmp_path / "new/data.bin").write_bytes(b"fresh")
    fresh = File(path="data.bin", size=5, sha256=hashlib.sha256(b"fresh").hexdigest())
    trees = [
        Tree(path=tmp_path / "gone", files=stored),
        Tree(path=tmp_path / "new", files=(fresh,), prefix="variant/"),
    ]
    grant = await couriers.for_task(trees, seconds=60)
    assert [file.path for file in grant.files] == ["model.onnx", "variant/data.bin"]
    assert grant.store_token == ""
    assert await store.size(fresh.sha256) == 5
    token = grant.tokens[fresh.sha256]
    assert deliveries.opens(SECRET, token, fresh.sha256, now=1_000_059)["task"] == "a"
    with pytest.raises(Unauthenticated, match="expired"):
        deliveries.opens(SECRET, token, fresh.sha256, now=1_000_060)


async def test_a_file_that_is_not_what_was_recorded_is_not_lent(couriers: Couriers, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"other")
    with pytest.raises(Refused, match="`m` was changed"):
        await couriers.for_task(
            [Tree(path=tmp_path, files=(File(path="m", size=5, sha256="a" * 64),))], seconds=60
        )


@pytest.mark.parametrize("seconds", [0, -1, 3601, float("nan")])
async def test_a_task_longer_than_an_hour_is_refused(couriers: Couriers, seconds: float) -> None:
    with pytest.raises(Invalid, match="at most 3600 seconds"):
        await couriers.for_task([], seconds=seconds)


async def test_what_a_task_stored_is_collected_checked(
    couriers: Couriers, store: LocalArtifacts, tmp_path: Path
) -> None:
    files = await publish(store, {"compiled/model.onnx": b"graph"})
    await couriers.collect(files, tmp_path / "out")
    assert (tmp_path / "out/compiled/model.onnx").read_bytes() == b"graph"
    with pytest.raises(Refused, match="missing from the store"):
        await couriers.collect([File(path="x", size=1, sha256="0" * 64)], tmp_path / "out")
    with pytest.raises(Invalid, match="leaves its directory"):
        await couriers.collect([File(path="../x", size=5, sha256=files[0].sha256)], tmp_path / "out")
    assert not (tmp_path / "x").exists()


async def test_a_task_stores_no_more_than_it_may() -> None:
    taken = Carried()
    scope = {"task": "a", "until": 100, "takes": 10}
    taken.count(scope, 6, now=1)
    with pytest.raises(TooLarge, match="may store 10 bytes; it has stored 6"):
        taken.count(scope, 5, now=1)
    taken.count(scope, 4, now=1)
    taken.count({"task": "b", "until": 300, "takes": 10}, 10, now=200)
    assert list(taken.tasks) == ["b"]
