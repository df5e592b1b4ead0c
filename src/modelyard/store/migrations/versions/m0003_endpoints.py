"""How users want the requests to deployments divided."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "endpoints",
        sa.Column("project", _NAME, primary_key=True),
        sa.Column("service", _NAME, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["project", "service"], ["deployments.project", "deployments.service"], ondelete="CASCADE"
        ),
    )
