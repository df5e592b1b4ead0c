"""The border: what the database drivers raise becomes one of our errors, with a remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from modelyard.domain.errors import Conflict, Invalid, ModelyardError, TooLarge, Unavailable

_REFERENCE = (
    "it belongs to something that does not exist, or something else still belongs to it; "
    "create or delete that first"
)
_DUPLICATE = "it exists already; choose another name, or change the existing one"
_UNSTORABLE = (
    "a text or number in the request cannot be stored; use valid Unicode without NUL, and smaller numbers"
)
_BUSY = "the database is locked by another writer; try again"
_FULL = "the database's disk is full; free some space, then try again"
_READ_ONLY = "the database is read-only; make its disk and file writable, then try again"
_UNREACHABLE = (
    "the database cannot be reached; check that it runs and that store.url is right, then try again"
)
_AWAY = (
    "the database is away or restarting; try again (a change that was under way may have been kept: "
    "read before you repeat it)"
)

_SQLITE: tuple[tuple[str, str, float], ...] = (
    ("SQLITE_BUSY", _BUSY, 1.0),
    ("SQLITE_LOCKED", _BUSY, 1.0),
    ("SQLITE_FULL", _FULL, 30.0),
    ("SQLITE_READONLY", _READ_ONLY, 30.0),
    (
        "SQLITE_CANTOPEN",
        "the database file cannot be opened; check that its directory exists and that this user may write it",
        30.0,
    ),
    ("SQLITE_PERM", "the database file may not be opened by this user; change its owner or mode", 30.0),
    ("SQLITE_IOERR", "the database's disk failed to read or write; check its space and its health", 30.0),
    ("SQLITE_CORRUPT", "the database file is damaged; restore it from a backup", 60.0),
    ("SQLITE_NOTADB", "the file is not a database; name another in store.url or move it away", 60.0),
)
"""Start of SQLite's error name, what to say, seconds to wait. The first that fits is used."""

_POSTGRESQL: tuple[tuple[str, str, float], ...] = (
    ("53100", _FULL, 30.0),
    ("53300", "the database accepts no more connections; raise its max_connections or try again", 5.0),
    ("53", "the database is out of resources; try again", 5.0),
    ("25006", _READ_ONLY, 30.0),
    ("40", "the database could not fit this change among others; try again", 0.5),
    ("55P03", _BUSY, 1.0),
    ("57014", "the database took too long and was asked to stop; try again", 1.0),
    ("28", "the database refuses this user; check the name and password in store.url", 30.0),
    ("3D000", "there is no database of that name; create it or name another in store.url", 30.0),
    ("42501", "the database user lacks a permission; let it own the database named in store.url", 30.0),
    ("08", _AWAY, 1.0),
    ("57P", _AWAY, 1.0),
    ("25P03", _AWAY, 1.0),
)
"""Start of PostgreSQL's SQLSTATE, what to say, seconds to wait. The first that fits is used."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what drivers raise as Conflict, Invalid, TooLarge or Unavailable, with the cause attached."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _of_statement(error) from error
    except exc.TimeoutError as error:
        raise Unavailable("too many callers wait for the database; try again") from error
    except OSError as error:
        raise Unavailable(_UNREACHABLE, retry_after_seconds=2.0) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise Invalid(_UNSTORABLE) from error


def _of_statement(error: exc.DBAPIError) -> ModelyardError:
    cause = error.orig
    name = getattr(cause, "sqlite_errorname", None)
    if name is not None:
        return _of_sqlite(str(name))
    state = getattr(cause, "sqlstate", None)
    if state is not None:
        return _of_state(str(state))
    if isinstance(error, exc.DataError):
        return Invalid(_UNSTORABLE)
    if error.connection_invalidated or isinstance(error, exc.InterfaceError):
        return Unavailable(_AWAY)
    return _unexpected(type(cause).__name__)


def _of_sqlite(name: str) -> ModelyardError:
    if name == "SQLITE_CONSTRAINT_FOREIGNKEY":
        return Conflict(_REFERENCE)
    if name in ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"):
        return Conflict(_DUPLICATE)
    if name == "SQLITE_TOOBIG":
        return TooLarge("the document is larger than the database keeps; send a smaller one")
    return _unavailable(name, _SQLITE) or _unexpected(name)


def _of_state(state: str) -> ModelyardError:
    if state in ("23503", "23001"):
        return Conflict(_REFERENCE)
    if state == "23505":
        return Conflict(_DUPLICATE)
    if state.startswith("54"):
        return TooLarge("the document is larger than the database keeps; send a smaller one")
    if state.startswith("22"):
        return Invalid(_UNSTORABLE)
    return _unavailable(state, _POSTGRESQL) or _unexpected(f"SQLSTATE {state}")


def _unavailable(code: str, table: tuple[tuple[str, str, float], ...]) -> Unavailable | None:
    for start, message, seconds in table:
        if code.startswith(start):
            return Unavailable(message, retry_after_seconds=seconds)
    return None


def _unexpected(name: str) -> ModelyardError:
    # The driver's own text can quote stored values, so only its name is shown; the cause is in the log.
    return ModelyardError(
        f"the database answered with an error it should not give ({name}); see the server's log"
    )
