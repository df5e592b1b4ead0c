"""Counters as they were last read, with the moment they were read at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import orjson
import sqlalchemy as sa

from modelyard.domain.tallies import Tally
from modelyard.store import meta
from modelyard.store.tables import readings
from modelyard.store.transaction import Snapshot, Transaction

_SOURCE = "gateway"
_TOTAL = "total"
_STATE = "sampling"
"""Fact: which reading was the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Last:
    """Which reading was the last one; whoever has seen it and finds it again may write the next."""

    turn: int = 0
    at: float = 0.0
    """Seconds since the epoch; 0 before the first."""
    epoch: str = ""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """By their names; those of this epoch."""
    totals: Mapping[str, int] = field(default_factory=dict)
    """Route to the requests that were ever counted there; a gateway forgets what rests."""


async def last(tx: Snapshot, *, known: Last | None = None) -> Last:
    """The last reading; `known` is given back if it still is that, which spares reading its tallies."""
    state = orjson.loads(await meta.get(tx, _STATE) or "{}")
    if known is not None and state.get("turn", 0) == known.turn:
        return known
    rows = await tx.rows(sa.select(readings))
    tallies = {row.name: _tally(row.document) for row in rows if row.source == _SOURCE}
    totals = {row.name: int(row.document) for row in rows if row.source == _TOTAL}
    return Last(**state, tallies=tallies, totals=totals)


async def turn(tx: Snapshot) -> int:
    """The number of the last reading."""
    return int(orjson.loads(await meta.get(tx, _STATE) or "{}").get("turn", 0))


async def keep(tx: Transaction, reading: Last, *, changed: Iterable[Tally], gone: Collection[str]) -> None:
    """Make this the last reading; `changed` and `gone` are where its tallies differ from the one before."""
    await _turn_to(tx, reading.turn, at=reading.at, epoch=reading.epoch)
    told = [(_SOURCE, tally.name, _document(tally)) for tally in changed]
    routes = {tally.route for tally in changed} & reading.totals.keys()
    told += [(_TOTAL, route, str(reading.totals[route])) for route in sorted(routes)]
    rows = [{"source": source, "name": name, "document": text} for source, name, text in told]
    if rows:
        statement = tx.insert(readings)
        replaced = {"document": statement.excluded.document}
        columns = [readings.c.source, readings.c.name]
        await tx.change(statement.on_conflict_do_update(index_elements=columns, set_=replaced), rows)
    if gone:
        here = (readings.c.source == _SOURCE, readings.c.name.in_(gone))
        await tx.change(sa.delete(readings).where(*here))


async def forget(tx: Transaction, route: str) -> None:
    """The route's total; whoever knows the last reading by heart has to read it again."""
    await tx.change(sa.delete(readings).where(readings.c.source == _TOTAL, readings.c.name == route))
    state = orjson.loads(await meta.get(tx, _STATE) or "{}")
    if state:
        await _turn_to(tx, state["turn"] + 1, at=state["at"], epoch=state["epoch"])


async def _turn_to(tx: Transaction, turn: int, *, at: float, epoch: str) -> None:
    await meta.set(tx, _STATE, orjson.dumps({"turn": turn, "at": at, "epoch": epoch}).decode())


def _document(tally: Tally) -> str:
    document = {
        "route": tally.route,
        "share": tally.share,
        "revision": tally.revision,
        "codes": [*tally.codes.items()],
        "calls": [*tally.calls.items()],
        "microseconds": tally.microseconds,
        "times": [*tally.times.items()],
        "replicas": tally.replicas,
        "source": tally.source,
    }
    return orjson.dumps(document).decode()


def _tally(text: str) -> Tally:
    found = orjson.loads(text)
    pairs = {name: dict(found[name]) for name in ("codes", "calls", "times")}
    return Tally(**{**found, **pairs})
