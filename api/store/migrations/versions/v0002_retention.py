"""Tables for the state and the sums of removed events."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the tables for bases and roll-ups."""
    op.create_table(
        "bases",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    whole = ("decisions", "fallbacks", "outcomes", "failures")
    op.create_table(
        "rollups",
        *(sa.Column(name, sa.Text(), primary_key=True) for name in ("day", "route", "provider")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in whole),
        sa.Column("cost_usd", sa.Double(), nullable=False),
        sa.Column("feedback", sa.BigInteger(), nullable=False),
        sa.Column("value_sum", sa.Double(), nullable=False),
    )
