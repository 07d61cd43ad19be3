"""The log of events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the log."""
    op.create_table(
        "events",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("uid", sa.Text(), nullable=False, unique=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("route", sa.Text()),
        sa.Column("decision_id", sa.Text()),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("extra", sa.Text(), nullable=False),
    )
    op.create_index(
        "events_decision", "events", ["decision_id"], postgresql_where=sa.text("decision_id IS NOT NULL")
    )
    config = sa.text("kind = 'config'")
    op.create_index("events_config", "events", ["seq"], sqlite_where=config, postgresql_where=config)
