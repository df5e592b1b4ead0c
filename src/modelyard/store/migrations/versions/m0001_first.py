"""The first tables."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table, and let nobody rewrite the events."""
    _people()
    _models()
    _services()
    _records()
    if op.get_context().dialect.name == "postgresql":
        _seal_events_on_postgresql()
    else:
        _seal_events_on_sqlite()


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, _NAME, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _NAME, nullable=False)


def _needed(name: str, kind: type[sa.types.TypeEngine[Any]] = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _of_project(*, cascade: bool = False) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["project"], ["projects.name"], ondelete="CASCADE" if cascade else None)


def _of_user() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user"], ["users.name"], ondelete="CASCADE")


def _index(table: str, *columns: str) -> None:
    op.create_index(None, table, list(columns))


def _people() -> None:
    op.create_table("projects", _key("name"), _needed("generation", sa.BigInteger), _needed("document"))
    op.create_table(
        "users",
        _key("name"),
        _needed("generation", sa.BigInteger),
        _needed("disabled", sa.Boolean),
        sa.Column("password_hash", sa.Text),
        _needed("document"),
    )
    op.create_table(
        "members",
        _key("project"),
        _key("user"),
        _needed("document"),
        _of_project(cascade=True),
        _of_user(),
    )
    _index("members", "user")
    op.create_table(
        "tokens",
        _key("id"),
        _text("user"),
        sa.Column("sha256", sa.Text, nullable=False, unique=True),
        sa.Column("expires_at", sa.Double),
        sa.Column("last_used_at", sa.Double),
        _needed("revoked", sa.Boolean),
        _needed("document"),
        _of_user(),
    )
    _index("tokens", "user")
    for name in ("links", "sessions"):
        op.create_table(name, _key("sha256"), _text("user"), _needed("expires_at", sa.Double), _of_user())


def _models() -> None:
    op.create_table(
        "models",
        _key("project"),
        _key("name"),
        _needed("generation", sa.BigInteger),
        _needed("document"),
        _of_project(),
    )
    op.create_table(
        "versions",
        _key("project"),
        _key("model"),
        _key("version"),
        _needed("number", sa.BigInteger),
        sa.Column("label", _NAME),
        sa.Column("run", _NAME),
        _needed("generation", sa.BigInteger),
        _needed("document"),
        sa.ForeignKeyConstraint(["project", "model"], ["models.project", "models.name"]),
        sa.UniqueConstraint("project", "model", "number"),
        sa.UniqueConstraint("project", "model", "label"),
    )
    _index("versions", "project", "model", "run")
    op.create_table(
        "version_files",
        _key("project"),
        _key("model"),
        _key("version"),
        _key("sha256"),
        sa.ForeignKeyConstraint(
            ["project", "model", "version"],
            ["versions.project", "versions.model", "versions.version"],
            ondelete="CASCADE",
        ),
    )


def _services() -> None:
    op.create_table(
        "runtimes",
        _key("project"),
        _key("name"),
        _needed("generation", sa.BigInteger),
        _needed("document"),
        _needed("status"),
        _of_project(),
    )
    op.create_table(
        "deployments",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        _text("project"),
        _text("service"),
        _needed("generation", sa.BigInteger),
        _text("model"),
        _text("version"),
        _text("runtime"),
        _needed("good_revision", sa.BigInteger),
        _needed("document"),
        _needed("status"),
        _of_project(),
        sa.UniqueConstraint("project", "service"),
        sqlite_autoincrement=True,
    )
    _index("deployments", "project", "model")
    op.create_table(
        "revisions",
        _key("project"),
        _key("service"),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        _text("model"),
        _text("version"),
        _text("runtime"),
        _needed("document"),
        sa.ForeignKeyConstraint(
            ["project", "service"],
            ["deployments.project", "deployments.service"],
            ondelete="CASCADE",
            deferrable=True,
            initially="DEFERRED",
        ),
    )


def _records() -> None:
    op.create_table(
        "events",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        _text("project"),
        _text("kind"),
        _text("name"),
        _needed("document"),
        sqlite_autoincrement=True,
    )
    _index("events", "project", "kind", "name", "id")
    op.create_table(
        "work",
        _key("kind"),
        _key("key"),
        _needed("due_at", sa.Double),
        sa.Column("dirty_at", sa.Double),
        sa.Column("lease", sa.Text),
        _needed("lease_until", sa.Double),
    )
    _index("work", "kind", "due_at")
    op.create_table(
        "idempotency",
        _key("actor"),
        _key("key"),
        _needed("fingerprint"),
        _needed("status", sa.Integer),
        _needed("body", sa.LargeBinary),
        _needed("saved_at", sa.Double),
    )
    _index("idempotency", "saved_at")
    op.create_table("meta", _key("name"), _needed("value"))


def _seal_events_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER events_refuse_{change.lower()} BEFORE {change} ON events "
            "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"
        )


def _seal_events_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION modelyard_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'events are append-only'; END$$"
    )
    op.execute(
        "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
        "FOR EACH STATEMENT EXECUTE FUNCTION modelyard_refuse_change()"
    )
