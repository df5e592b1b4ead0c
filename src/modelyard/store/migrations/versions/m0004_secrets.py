"""Secrets of projects, sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "secrets",
        sa.Column("project", _NAME, primary_key=True),
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"]),
    )
