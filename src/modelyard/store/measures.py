"""What services did, by interval: written by one sampler at a time, thinned out as it ages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add as plus
from typing import Any, Generic, Protocol, Self, TypeVar

import orjson
import sqlalchemy as sa

from modelyard.domain.observation import BOUNDS, KEEP, Load, Part, Window
from modelyard.store.tables import loads, windows
from modelyard.store.transaction import Snapshot, Transaction


class _Sum(Protocol):
    def __add__(self, other: Self) -> Self: ...


V = TypeVar("V", bound=_Sum)


@dataclass(frozen=True, slots=True)
class Kept(Generic[V]):
    """One value with its place: a part of a service's requests or a replica, and an interval."""

    of: Any
    at: int
    """When the interval begins, in seconds since the epoch."""
    step: int
    value: V


async def add_windows(tx: Transaction, at: int, step: int, found: Mapping[Part, Window]) -> None:
    """Add what is new to what the interval has already."""
    await _add(tx, _WINDOWS, at, step, {_part_columns(part): value for part, value in found.items()})


async def add_loads(tx: Transaction, at: int, step: int, found: Mapping[tuple[str, str], Load]) -> None:
    """As `add_windows`; the key is `project/service` and a replica's name."""
    keys = {(*service.split("/", 1), replica): value for (service, replica), value in found.items()}
    await _add(tx, _LOADS, at, step, keys)


async def read_windows(tx: Snapshot, service: str, *, since: float, until: float) -> tuple[Kept[Window], ...]:
    """What is known of `project/service` in intervals that begin in [since, until), oldest first."""
    return tuple(
        Kept(Part(service, row.revision, row.via), row.at, row.step, _window(row.document))
        for row in await _read(tx, windows, service, since, until)
    )


async def read_loads(tx: Snapshot, service: str, *, since: float, until: float) -> tuple[Kept[Load], ...]:
    """As `read_windows`, of replicas by name."""
    return tuple(
        Kept(row.replica, row.at, row.step, _load(row.document))
        for row in await _read(tx, loads, service, since, until)
    )


async def forget(tx: Transaction, service: str) -> None:
    """Everything that is known of `project/service`."""
    for table in (windows, loads):
        await tx.change(sa.delete(table).where(*_of(table, service)))


async def thin_out(tx: Transaction, *, now: float) -> bool:
    """Merge the oldest intervals that are due for it into a longer one, or forget them; whether any were.

    A little at a time, so that others get their turn: call it until there is nothing to do.
    """
    return await _thin_out(tx, _WINDOWS, now) or await _thin_out(tx, _LOADS, now)


@dataclass(frozen=True, slots=True)
class _Kind(Generic[V]):
    table: sa.Table
    named: tuple[str, ...]
    """Columns of a value's key, beside its interval."""
    load: Callable[[str], V]
    dump: Callable[[V], str]


async def _add(
    tx: Transaction, kind: _Kind[V], at: int, step: int, found: Mapping[tuple[Any, ...], V]
) -> None:
    if not found:
        return
    table = kind.table
    here = (table.c.at == at, table.c.step == step)
    known = {
        tuple(getattr(row, name) for name in kind.named): kind.load(row.document)
        for row in await tx.rows(sa.select(table).where(*here))
    }
    rows = [
        {
            **dict(zip(kind.named, key, strict=True)),
            "at": at,
            "step": step,
            "document": kind.dump(known[key] + value if key in known else value),
        }
        for key, value in found.items()
    ]
    statement = tx.insert(table)
    columns = [*(table.c[name] for name in kind.named), table.c.at, table.c.step]
    await tx.change(
        statement.on_conflict_do_update(
            index_elements=columns, set_={"document": statement.excluded.document}
        ),
        rows,
    )


async def _thin_out(tx: Transaction, kind: _Kind[V], now: float) -> bool:
    table = kind.table
    longer = [step for step, _ in KEEP[1:]]
    for (step, keep), coarse in zip(KEEP, [*longer, 0], strict=True):
        unit = coarse or step
        cutoff = int(now - keep) // unit * unit
        here = (table.c.step == step, table.c.at < cutoff)
        oldest = await tx.row(sa.select(sa.func.min(table.c.at).label("at")).where(*here))
        if oldest is None or oldest.at is None:
            continue
        begin = int(oldest.at) // unit * unit
        these = (table.c.step == step, table.c.at >= begin, table.c.at < begin + unit)
        if coarse:
            rows = await tx.rows(sa.select(table).where(*these))
            await _add(tx, kind, begin, coarse, _grouped(kind, rows))
        await tx.change(sa.delete(table).where(*these))
        return True
    return False


def _grouped(kind: _Kind[V], rows: Iterable[sa.Row[Any]]) -> dict[tuple[Any, ...], V]:
    groups: dict[tuple[Any, ...], list[V]] = {}
    for row in sorted(rows, key=lambda row: int(row.at)):
        key = tuple(getattr(row, name) for name in kind.named)
        groups.setdefault(key, []).append(kind.load(row.document))
    return {key: reduce(plus, values) for key, values in groups.items()}


async def _read(
    tx: Snapshot, table: sa.Table, service: str, since: float, until: float
) -> Sequence[sa.Row[Any]]:
    inside = (table.c.at >= since, table.c.at < until)
    return await tx.rows(sa.select(table).where(*_of(table, service), *inside).order_by(table.c.at))


def _of(table: sa.Table, service: str) -> tuple[sa.ColumnElement[bool], ...]:
    project, _, name = service.partition("/")
    return (table.c.project == project, table.c.service == name)


def _part_columns(part: Part) -> tuple[Any, ...]:
    return (*part.service.split("/", 1), part.revision, part.via)


def _dump_window(window: Window) -> str:
    # Most buckets are empty, so only the others are written.
    document = {
        "seconds": window.seconds,
        "requests": window.requests,
        "codes": window.codes,
        "calls": window.calls,
        "errors": window.errors,
        "histogram": [(index, count) for index, count in enumerate(window.histogram) if count],
        "total": window.total_seconds,
        "minimum": window.minimum,
        "maximum": window.maximum,
        "first": window.first_at,
        "last": window.last_at,
    }
    return orjson.dumps(document).decode()


def _window(text: str) -> Window:
    found = orjson.loads(text)
    histogram = [0] * len(BOUNDS)
    for index, count in found["histogram"]:
        histogram[index] = count
    return Window(
        seconds=found["seconds"],
        requests=found["requests"],
        codes=tuple((code, count) for code, count in found["codes"]),
        calls=tuple((status, count) for status, count in found["calls"]),
        errors=found["errors"],
        histogram=tuple(histogram),
        total_seconds=found["total"],
        minimum=found["minimum"],
        maximum=found["maximum"],
        first_at=found["first"],
        last_at=found["last"],
    )


def _load(text: str) -> Load:
    return Load(**orjson.loads(text))


def _dump_load(load: Load) -> str:
    return orjson.dumps(load).decode()


_WINDOWS = _Kind(windows, ("project", "service", "revision", "via"), _window, _dump_window)
_LOADS = _Kind(loads, ("project", "service", "replica"), _load, _dump_load)
