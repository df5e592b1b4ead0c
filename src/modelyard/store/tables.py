"""The tables: columns for what is queried, JSON documents for the rest."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# Ordered by code point on both databases, so that cursors mean the same on both.
_Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# Text rather than JSON types: those refuse NUL and NaN, or change what they are given.
_Document = sa.Text
_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, _Name, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _Name, nullable=False)


def _document(name: str = "document") -> sa.Column[str]:
    return sa.Column(name, _Document, nullable=False)


def _generation() -> sa.Column[int]:
    return sa.Column("generation", sa.BigInteger, nullable=False)


def _moment(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=False)


def _belongs(*names: str, to: str, cascade: bool = False) -> sa.ForeignKeyConstraint:
    parent = [f"{to}.{name}" for name in _IDENTITY[to]]
    return sa.ForeignKeyConstraint(names, parent, ondelete="CASCADE" if cascade else None)


_IDENTITY = {
    "projects": ("name",),
    "users": ("name",),
    "models": ("project", "name"),
    "versions": ("project", "model", "version"),
    "deployments": ("project", "service"),
}

projects = sa.Table("projects", metadata, _key("name"), _generation(), _document())

users = sa.Table(
    "users",
    metadata,
    _key("name"),
    _generation(),
    sa.Column("disabled", sa.Boolean, nullable=False),
    sa.Column("password_hash", sa.Text),
    _document(),
)

members = sa.Table(
    "members",
    metadata,
    _key("project"),
    _key("user"),
    _document(),
    _belongs("project", to="projects", cascade=True),
    _belongs("user", to="users", cascade=True),
    sa.Index(None, "user"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    _key("id"),
    _text("user"),
    sa.Column("sha256", sa.Text, nullable=False, unique=True),
    sa.Column("expires_at", sa.Double),
    sa.Column("last_used_at", sa.Double),
    sa.Column("revoked", sa.Boolean, nullable=False),
    _document(),
    _belongs("user", to="users", cascade=True),
    sa.Index(None, "user"),
)

links = sa.Table(
    "links",
    metadata,
    _key("sha256"),
    _text("user"),
    _moment("expires_at"),
    _belongs("user", to="users", cascade=True),
)

sessions = sa.Table(
    "sessions",
    metadata,
    _key("sha256"),
    _text("user"),
    _moment("expires_at"),
    _belongs("user", to="users", cascade=True),
)

models = sa.Table(
    "models",
    metadata,
    _key("project"),
    _key("name"),
    _generation(),
    _document(),
    _belongs("project", to="projects"),
)

versions = sa.Table(
    "versions",
    metadata,
    _key("project"),
    _key("model"),
    _key("version"),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("label", _Name),
    sa.Column("run", _Name),
    _generation(),
    _document(),
    _belongs("project", "model", to="models"),
    sa.UniqueConstraint("project", "model", "number"),
    sa.UniqueConstraint("project", "model", "label"),
    sa.Index(None, "project", "model", "run"),
)

version_files = sa.Table(
    "version_files",
    metadata,
    _key("project"),
    _key("model"),
    _key("version"),
    _key("sha256"),
    _belongs("project", "model", "version", to="versions", cascade=True),
)
"""Which files the versions need, so that nobody has to read every document to know what may be swept."""

runtimes = sa.Table(
    "runtimes",
    metadata,
    _key("project"),
    _key("name"),
    _generation(),
    _document(),
    _document("status"),
    _belongs("project", to="projects"),
)

secrets = sa.Table(
    "secrets",
    metadata,
    _key("project"),
    _key("name"),
    _generation(),
    _document(),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    _belongs("project", to="projects"),
)
"""What is known of secrets, and their values as nobody can read them without the platform's key."""

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", _Serial, primary_key=True, autoincrement=True),
    _text("project"),
    _text("service"),
    _generation(),
    _text("model"),
    _text("version"),
    _text("runtime"),
    sa.Column("good_revision", sa.BigInteger, nullable=False),
    _document(),
    _document("status"),
    _belongs("project", to="projects"),
    sa.UniqueConstraint("project", "service"),
    sa.Index(None, "project", "model"),
    sqlite_autoincrement=True,  # an id is never given twice, also not after the newest was deleted
)

revisions = sa.Table(
    "revisions",
    metadata,
    _key("project"),
    _key("service"),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("model"),
    _text("version"),
    _text("runtime"),
    _document(),
    # Judged at commit: a deployment and its first revision may be written in either order.
    sa.ForeignKeyConstraint(
        ("project", "service"),
        ("deployments.project", "deployments.service"),
        ondelete="CASCADE",
        deferrable=True,
        initially="DEFERRED",
    ),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    _key("project"),
    _key("service"),
    _generation(),
    _document(),
    _belongs("project", "service", to="deployments", cascade=True),
)
"""What users said of deployments' endpoints; one of which nothing was said has no row."""

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _Serial, primary_key=True, autoincrement=True),
    _text("project"),
    _text("kind"),
    _text("name"),
    _document(),
    sa.Index(None, "project", "kind", "name", "id"),
    sqlite_autoincrement=True,
)

work = sa.Table(
    "work",
    metadata,
    _key("kind"),
    _key("key"),
    _moment("due_at"),
    sa.Column("dirty_at", sa.Double),
    sa.Column("lease", sa.Text),
    _moment("lease_until"),
    sa.Index(None, "kind", "due_at"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    _key("actor"),
    _key("key"),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _moment("saved_at"),
    sa.Index(None, "saved_at"),
)

meta = sa.Table("meta", metadata, _key("name"), sa.Column("value", sa.Text, nullable=False))


def _interval() -> tuple[sa.Column[int], sa.Column[int]]:
    return (
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("step", sa.BigInteger, primary_key=True, autoincrement=False),
    )


windows = sa.Table(
    "windows",
    metadata,
    _key("project"),
    _key("service"),
    *_interval(),
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    _key("via"),
    _document(),
    sa.Index(None, "step", "at"),
)
"""What services answered, by interval; `at` is its start in seconds since the epoch, `step` its length."""

loads = sa.Table(
    "loads",
    metadata,
    _key("project"),
    _key("service"),
    *_interval(),
    _key("replica"),
    _document(),
    sa.Index(None, "step", "at"),
)
"""What replicas used, by interval."""

readings = sa.Table("readings", metadata, _key("source"), _key("name"), _document())
"""Counters as they were last read, so that whoever reads them next knows what is new."""
