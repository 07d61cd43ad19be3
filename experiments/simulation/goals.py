"""What a run or a target policy aims at: a budget, or what a point of quality is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A budget in USD per request, or a willingness to pay in USD per point of quality, or neither.

    A ValueError says which amount is not finite and above 0.

    >>> print(Goal(budget_usd=0.00123456))
    0.00123
    >>> print(Goal(wtp_usd=0.02))
    wtp 0.02
    >>> print(Goal())
    none
    """

    budget_usd: float | None = None
    wtp_usd: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("budget", self.budget_usd), ("willingness to pay", self.wtp_usd)):
            if value is not None and not (math.isfinite(value) and 1e-12 <= value <= 1e9):
                raise ValueError(
                    f"the {name} is {value} USD: give a finite amount of more than 0, up to 1e9."
                )

    def __str__(self) -> str:
        if self.budget_usd is not None:
            return f"{self.budget_usd:.3g}"
        return "none" if self.wtp_usd is None else f"wtp {self.wtp_usd:.3g}"
