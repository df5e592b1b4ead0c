"""Which tables the database has, and bringing them to what this version needs."""

from __future__ import annotations

import importlib
from pathlib import Path

import sqlalchemy as sa

from modelyard.domain.errors import Invalid

HEAD = "0004"
"""The newest migration; a database that is there needs nothing more than this look."""

MIGRATIONS = Path(__file__).parent / "migrations"
"""Where the migrations lie, in a checkout as in an installed wheel."""


def revision(connection: sa.Connection) -> str:
    """The migration that the database is at; empty for a database without our tables."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() or ""


def upgrade(connection: sa.Connection) -> None:
    """Run the missing migrations inside the caller's transaction, which holds the writer's lock.

    Raises Invalid when the database was written by a newer version.
    """
    # Somebody else may have done it while we waited for the lock.
    found = revision(connection)
    if found == HEAD:
        return
    if found > HEAD:
        raise outdated(found)
    # Loaded only here: it is slow to import, and a database is rarely behind.
    config = importlib.import_module("alembic.config").Config()
    config.attributes["connection"] = connection
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    importlib.import_module("alembic.command").upgrade(config, "head")


def outdated(found: str) -> Invalid:
    """The error for tables that this version cannot work with."""
    if found > HEAD:
        return Invalid(
            f"store.url: a newer Modelyard wrote this database (tables {found}, this one knows {HEAD}); "
            "start that version, or restore a backup from before the upgrade"
        )
    return Invalid(
        f"store.url: the database's tables are at {found or 'nothing'} and this Modelyard needs {HEAD}; "
        "start the server once to bring them up to date"
    )
