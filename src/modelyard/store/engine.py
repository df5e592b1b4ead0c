"""How each database is reached: addresses, drivers, and what makes a commit durable."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from modelyard.domain.errors import FieldError, Invalid, Unavailable

WRITES = "modelyard_writes"
"""Execution option of connections that are about to change something."""

_TURN_SECONDS = 0.01
"""Between two tries to switch the journal, while another process holds the new file."""


def create(url: str, *, patience_seconds: float) -> AsyncEngine:
    """An engine for `sqlite:////file` or `postgresql://…`; connects to nothing yet.

    A lock held by others is waited for `patience_seconds`. Raises Invalid for any other address.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise _refused("it is not an address") from error
    match parsed.get_backend_name():
        case "sqlite":
            return _sqlite(parsed, patience_seconds)
        case "postgresql" | "postgres":
            return _postgresql(parsed, patience_seconds)
        case other:
            raise _refused(f"{other!r} is not a database Modelyard knows")


def _sqlite(url: sa.URL, patience: float) -> AsyncEngine:
    if not url.database or url.database == ":memory:":
        raise _refused("an SQLite database needs a file")
    _make_private(url.database)
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"), hide_parameters=True, max_overflow=20, pool_size=5
    )

    @sa.event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # We write BEGIN ourselves; left to itself the driver begins late and commits before DDL.
        connection.isolation_level = None
        try:
            _configure(connection, patience)
        except BaseException:
            connection.close()
            raise

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # A write that begins as a read can fail half-way when another writer was faster; this one waits.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _configure(connection: Any, patience: float) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(patience * 1000)}")
    _write_ahead(cursor, time.monotonic() + patience)
    for pragma in (
        "synchronous=FULL",  # WAL's default forgets the last commits when the power fails
        "foreign_keys=ON",
        "journal_size_limit=67108864",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: Any, deadline: float) -> None:
    """Switch to the write-ahead log; SQLite does not itself wait for another process that does the same."""
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_TURN_SECONDS)
        else:
            return


def _make_private(path: str) -> None:
    """Make sure of the file, readable by its owner alone when it is new; its journals take its mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except FileNotFoundError as error:
        raise _refused("its directory does not exist; create it first") from error
    except OSError as error:
        raise Unavailable(
            f"the database file cannot be opened ({error.strerror}); check store.url, and that this user may "
            "write there",
            retry_after_seconds=30.0,
        ) from error


def _postgresql(url: sa.URL, patience: float) -> AsyncEngine:
    query = dict(url.query)
    mode = query.pop("sslmode", None)  # what libpq calls it; asyncpg says ssl
    if mode is not None:
        query.setdefault("ssl", mode)
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        hide_parameters=True,
        pool_pre_ping=True,
        max_overflow=10,
        pool_size=5,
        connect_args={
            "timeout": 10,
            "command_timeout": 60,
            "server_settings": {
                "application_name": "modelyard",
                "lock_timeout": str(int(patience * 1000)),
                # A control plane that hangs or lost its network must not hold a lock for longer.
                "idle_in_transaction_session_timeout": "10000",
            },
        },
    )


def _refused(what: str) -> Invalid:
    remedy = "use sqlite:////absolute/path.db or postgresql://user:password@host:5432/name"
    return Invalid(f"store.url: {what}; {remedy}", errors=[FieldError("store.url", f"{what}; {remedy}")])
