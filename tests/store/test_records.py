"""Remembered answers and single facts."""

from __future__ import annotations

import pytest

from modelyard.domain.errors import Conflict
from modelyard.store import Database, idempotency, meta
from modelyard.store.idempotency import Remembered

ANSWER = Remembered("digest", 201, b'{"name":"\xff\x00"}')


async def test_an_answer_is_remembered_for_its_actor_and_key(database: Database) -> None:
    async with database.begin() as tx:
        await idempotency.save(tx, "ada", "k1", ANSWER, now=5.0)
        assert await idempotency.find(tx, "ada", "k1") == ANSWER
        assert await idempotency.find(tx, "bob", "k1") is None
        assert await idempotency.find(tx, "ada", "k2") is None


async def test_an_answer_is_not_replaced(database: Database) -> None:
    async with database.begin() as tx:
        await idempotency.save(tx, "ada", "k1", ANSWER, now=5.0)
        with pytest.raises(Conflict, match="'k1'"):
            await idempotency.save(tx, "ada", "k1", Remembered("other", 200, b""), now=6.0)
        assert await idempotency.find(tx, "ada", "k1") == ANSWER


async def test_old_answers_are_forgotten(database: Database) -> None:
    async with database.begin() as tx:
        for key, now in (("old", 5.0), ("new", 6.0)):
            await idempotency.save(tx, "ada", key, ANSWER, now=now)
        assert await idempotency.sweep(tx, before=6.0) == 1
        assert await idempotency.find(tx, "ada", "old") is None
        assert await idempotency.find(tx, "ada", "new") == ANSWER


async def test_a_fact_is_kept_until_it_is_replaced(database: Database) -> None:
    async with database.begin() as tx:
        assert await meta.get(tx, "key") is None
        await meta.set(tx, "key", "one")
        await meta.set(tx, "other", "x")
        await meta.set(tx, "key", "two")
    async with database.read() as tx:
        assert await meta.get(tx, "key") == "two"
