"""What services did: windows of requests, loads of replicas, counters as they were last read."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "windows",
        *(_key(name) for name in ("project", "service")),
        *(_number(name) for name in ("at", "step", "revision")),
        _key("via"),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "loads",
        *(_key(name) for name in ("project", "service")),
        *(_number(name) for name in ("at", "step")),
        _key("replica"),
        sa.Column("document", sa.Text, nullable=False),
    )
    for table in ("windows", "loads"):
        op.create_index(None, table, ["step", "at"])
    op.create_table("readings", _key("source"), _key("name"), sa.Column("document", sa.Text, nullable=False))


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, _NAME, primary_key=True)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=True, autoincrement=False)
