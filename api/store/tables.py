"""The tables. Only the migrations create and change them; a test compares the two.

No `from __future__ import annotations` here: SQLModel reads the annotations as they are.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, Text, text
from sqlmodel import Field, SQLModel


class EventTable(SQLModel, table=True):
    """The log; `fairlead.api.store.base.Row` explains the columns. Rows are never changed."""

    __tablename__ = "events"
    __table_args__ = (
        Index("events_decision", "decision_id", postgresql_where=text("decision_id IS NOT NULL")),
        Index(
            "events_config",
            "seq",
            sqlite_where=text("kind = 'config'"),
            postgresql_where=text("kind = 'config'"),
        ),
    )

    seq: int = Field(
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False
        )
    )
    uid: str = Field(sa_column=Column(Text, nullable=False, unique=True))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    route: str | None = Field(default=None, sa_column=Column(Text))
    decision_id: str | None = Field(default=None, sa_column=Column(Text))
    at_s: float = Field(sa_column=Column(Double, nullable=False))
    digest: str = Field(sa_column=Column(Text, nullable=False))
    line: str = Field(sa_column=Column(Text, nullable=False))
    extra: str = Field(sa_column=Column(Text, nullable=False))


class BaseTable(SQLModel, table=True):
    """The state that stands for the events that were removed: the files of one snapshot."""

    __tablename__ = "bases"

    seq: int = Field(
        sa_column=Column(
            BigInteger().with_variant(Integer(), "sqlite"), primary_key=True, autoincrement=False
        )
    )
    name: str = Field(sa_column=Column(Text, primary_key=True))
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class RollupTable(SQLModel, table=True):
    """What remains of removed events for people to read: one row per day, route and provider."""

    __tablename__ = "rollups"

    day: str = Field(sa_column=Column(Text, primary_key=True))
    route: str = Field(sa_column=Column(Text, primary_key=True))
    provider: str = Field(sa_column=Column(Text, primary_key=True))
    decisions: int = Field(sa_column=Column(BigInteger, nullable=False))
    fallbacks: int = Field(sa_column=Column(BigInteger, nullable=False))
    outcomes: int = Field(sa_column=Column(BigInteger, nullable=False))
    failures: int = Field(sa_column=Column(BigInteger, nullable=False))
    cost_usd: float = Field(sa_column=Column(Double, nullable=False))
    feedback: int = Field(sa_column=Column(BigInteger, nullable=False))
    value_sum: float = Field(sa_column=Column(Double, nullable=False))
