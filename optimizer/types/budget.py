"""Budgets: what an operator allows to be spent, per request on average or in each day, week or month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal
from zoneinfo import ZoneInfo

from fairlead.optimizer.errors import InvalidInput, check_amounts, plain_text

Window = Literal["day", "week", "calendar_month"]

WINDOWS: Final[dict[Window, int]] = {"day": 1, "week": 7, "calendar_month": 28}
"""Kinds of periods, each with the last day on which it may start."""

LEVELS: Final = (0.8, 1.0, 1.2)
"""Shares of a limit at which an alarm is raised."""

_ZERO: Final = (
    "a budget of 0 would leave only providers that cost nothing: to use those alone, name them in the "
    "constraints (allow, or max_cost_usd of 0); to stop spending, pause the route; else give USD, more than 0"
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A spending limit in exactly one of three forms.

    ``usd_per_request`` is an average without a period; ``usd_per_day`` and ``usd`` with a ``window`` hold for
    each period. A period begins at ``start_hour`` in ``time_zone``, for a week on the ISO weekday
    ``start_day`` (1 is Monday), for a month on that day of the month. A ``hard`` budget lets no provider
    serve whose expected cost does not fit what is left of the period; otherwise the cheapest goes on.

    >>> Budget(usd_per_request=0.002).window is None
    True
    >>> Budget(usd_per_day=20.0, time_zone="Europe/Berlin").limit_usd
    20.0
    >>> Budget(usd=500.0, window="calendar_month", hard=True).period
    'calendar_month'
    >>> Budget(usd_per_day=-1.0)
    Traceback (most recent call last):
    fairlead.optimizer.errors.InvalidInput: usd_per_day is -1, outside [1e-12, 1e+09]: give USD, more than 0
    """

    usd_per_request: float | None = None
    usd_per_day: float | None = None
    usd: float | None = None
    window: Window | None = None
    time_zone: str = "UTC"
    start_hour: int = 0
    start_day: int = 1
    hard: bool = False

    def __post_init__(self) -> None:
        forms = ("usd_per_request", "usd_per_day", "usd")
        limits = [name for name in forms if getattr(self, name) is not None]
        if len(limits) != 1:
            raise InvalidInput(
                f"a budget has {' and '.join(limits) or 'no limit'}: give exactly one of usd_per_request, "
                "usd_per_day, or usd with a window"
            )
        (form,) = limits
        if isinstance(getattr(self, form), int | float) and getattr(self, form) == 0:
            raise InvalidInput(f"{form} is 0: {_ZERO}")
        check_amounts(self, form, low=1e-12, high=1e9, remedy="give USD, more than 0")
        if (form == "usd") != (self.window is not None):
            raise InvalidInput(
                f"a budget has {form} and the window {self.window!r}: a window belongs to usd, and usd needs "
                f"one of {', '.join(WINDOWS)}"
            )
        if form == "usd_per_request" and self.hard:
            raise InvalidInput(
                "a budget per request is hard, but it has no period at whose limit it could stop: give "
                "max_cost_usd as a constraint to cap single requests, or a budget for a day, week or month"
            )
        self._check_start()

    def _check_start(self) -> None:
        if self.window is not None and self.window not in WINDOWS:
            raise InvalidInput(f"window is {self.window!r}: give one of {', '.join(WINDOWS)}")
        last = WINDOWS[self.period or "day"]
        for name, low, high in (("start_hour", 0, 23), ("start_day", 1, last)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                why = "" if name == "start_hour" else f" for periods of a {(self.period or 'day')}"
                raise InvalidInput(
                    f"{name} is {value!r}: give a whole number from {low} to {high}{why}"
                    + (", since not every month has later days" if high == 28 and name == "start_day" else "")
                )
        check_zone(self.time_zone)

    @property
    def period(self) -> Window | None:
        """The kind of period that the limit holds for; None for a budget per request."""
        return "day" if self.usd_per_day is not None else self.window

    @property
    def limit_usd(self) -> float:
        """USD that a request may cost on average, or that a period may cost."""
        for usd in (self.usd_per_request, self.usd_per_day, self.usd):
            if usd is not None:
                return usd
        raise AssertionError("checked when it was made")


@dataclass(frozen=True, kw_only=True)
class BudgetAlarm:
    """A budget was spent to a level, or cannot pay for what is left of its period.

    ``level`` is the share of the limit that was passed; None if ``cheapest_usd``, what a request costs at
    least, is more than the budget can pay on average. The times are those of the period, in seconds since
    1970, and None for a budget per request. Each is raised once in a period, and
    once more if the limit is raised by a quarter or more and is then reached again.

    >>> alarm = BudgetAlarm(level=0.8, start_s=0.0, end_s=86_400.0, spent_usd=16.1, limit_usd=20.0)
    >>> alarm.reason
    'spent'
    """

    level: float | None
    start_s: float | None
    end_s: float | None
    spent_usd: float
    limit_usd: float
    cheapest_usd: float | None = None

    @property
    def reason(self) -> str:
        """``spent`` or ``too_dear``."""
        return "too_dear" if self.level is None else "spent"

    @property
    def sentence(self) -> str:
        """What happened, for people; it goes on after the name of what the budget is of."""
        if self.level is not None:
            return f"${self.spent_usd:.4g} of ${self.limit_usd:.4g} are spent, {self.level:.0%} or more"
        return (
            f"even the cheapest provider, at ${self.cheapest_usd or 0.0:.3g} a request, costs more than "
            f"${self.limit_usd:.4g} can pay: raise the budget, or add a cheaper provider"
        )


@dataclass(frozen=True, kw_only=True)
class BudgetState:
    """Where a budget with periods stands at a moment, in USD; times are in seconds since 1970."""

    start_s: float
    end_s: float
    limit_usd: float
    spent_usd: float
    requests: int
    """Requests of the period so far."""
    expected_requests: float
    """Requests still expected in it."""
    forecast_usd: float
    """What the period is expected to cost in the end."""


def check_zone(name: str) -> None:
    """Raise `InvalidInput` unless the time zone is in the database of this machine."""
    plain_text("time_zone", name)
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidInput(
            f"time_zone is {name[:60]!r}, which the time zone database does not have: give a name such as "
            "'Europe/Berlin' or 'UTC'"
        ) from None
