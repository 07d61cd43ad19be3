"""Budgets that several routes share, as an operator declares them and as they are answered."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fairlead.api.schemas.base import Pattern, RouteName, Word
from fairlead.api.schemas.declarations import BudgetIn, BudgetUsd
from fairlead.api.schemas.state import BudgetAlarmOut, BudgetStateOut
from fairlead.optimizer.types import Budget
from fairlead.optimizer.types.budget import Window


class SharedBudgetIn(BudgetIn):
    """A spending limit for all routes that it names, or that have one of its tags, together."""

    name: RouteName = Field(description="Its name.", examples=["organisation"])
    usd: BudgetUsd | None = Field(
        default=None, description="USD for each period of the window.", examples=[500.0]
    )
    window: Window | None = Field(
        default=None,
        description="The period that usd is for: day, week or calendar_month.",
        examples=["calendar_month"],
    )
    routes: tuple[Pattern, ...] = Field(
        default=(),
        max_length=100,
        description="Routes that share it, by names or patterns; * is the whole organisation.",
        examples=[["*"]],
    )
    tags: tuple[Word, ...] = Field(
        default=(), max_length=64, description="Routes with any of these tags share it too.", examples=[[]]
    )

    @model_validator(mode="after")
    def _names_routes(self) -> Self:
        if not self.routes and not self.tags:
            raise ValueError("the budget is of no route: give routes (patterns, * for all) or tags")
        return self

    def budget(self) -> Budget:
        """Return the limit in the optimizer's own type."""
        return Budget(**self.model_dump(include=set(BudgetIn.model_fields)))


class SharedBudgetOut(SharedBudgetIn):
    """A shared budget, the routes that share it now, and where it stands."""

    shared_by: list[str] = Field(description="Routes that share it now.", examples=[["support-chat"]])
    shadow_price: float = Field(description="Quality that one USD must buy on each of them.", examples=[12.0])
    state: BudgetStateOut | None = Field(description="Where the present period stands; null: it has none.")
    alarms: list[BudgetAlarmOut] = Field(description="Alarms, the latest last; each once in a period.")
