"""The account of a budget with periods: what each period has cost, and the alarms that this raised.

Money is booked to the period of its decision, however late its real cost arrives. What was spent is kept by
hour too, so that another limit, window or zone finds what its present period has cost already, and no clock
that jumps back opens a period a second time.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.optimizer.selection.period import HOUR_S, LAST_S, Period, period_at
from fairlead.optimizer.types.budget import LEVELS, Budget, BudgetAlarm

MOST_HOURS: Final = 800
"""Hours whose spend is kept: those of the longest month, and some more."""

REARMED: Final = 0.8
"""A level can alarm again in its period once less than this share of it is spent: if the limit was raised by
a quarter at least. Small corrections of a limit are no news."""

MOST_PERIODS: Final = 8
MOST_ALARMS: Final = 100


class PeriodAccount(msgspec.Struct, array_like=True):
    """What one period has cost so far."""

    start_s: float
    end_s: float
    spent_usd: float
    requests: int = 0
    passed: int = 0
    """Number of `LEVELS` whose alarm was raised."""
    is_too_dear: bool = False
    """Whether the alarm was raised that every provider is dearer than the budget can pay."""


class SavedAccount(msgspec.Struct, array_like=True):
    """An account in a snapshot."""

    hours: list[tuple[int, float]]
    periods: list[PeriodAccount]
    alarms: list[BudgetAlarm]
    mean_is_too_dear: bool
    raised: list[tuple[str, int]]


class Account:
    """What the periods of one budget have cost."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.alarms: list[BudgetAlarm] = []
        """The latest alarms, oldest first."""
        self.raised: dict[str, int] = {}
        """How many alarms were raised so far, by level in percent, or ``too_dear``."""
        self._mean_is_too_dear = False
        self._hours: dict[int, float] = {}
        # The period that was used last comes last.
        self._periods: list[PeriodAccount] = []

    def change(self, budget: Budget) -> None:
        """Go on under another budget: what its present period has cost already counts."""
        before, self.budget, self._periods = self._periods, budget, []
        if budget.period is None:
            return
        for old in before:
            period = period_at(budget, old.start_s)
            if period == (old.start_s, old.end_s):
                share = old.spent_usd / budget.limit_usd
                old.passed = min(old.passed, sum(share >= REARMED * level for level in LEVELS))
                old.is_too_dear = old.is_too_dear and not self._is_raised(old)
                self._periods.append(old)

    def _is_raised(self, entry: PeriodAccount) -> bool:
        """Whether the limit is well above the one for which providers were last said to be too dear."""
        said = [alarm for alarm in self.alarms if alarm.level is None and alarm.start_s == entry.start_s]
        return bool(said) and REARMED * self.budget.limit_usd >= said[-1].limit_usd

    def at(self, at_s: float) -> PeriodAccount:
        """Return the account of the period that holds a time, opened if need be."""
        at_s = min(at_s, LAST_S)
        last = self._periods[-1] if self._periods else None
        if last is not None and last.start_s <= at_s < last.end_s:
            return last
        entry = self.look(at_s)
        if entry in self._periods:
            self._periods.remove(entry)
        self._periods = [*self._periods[1 - MOST_PERIODS :], entry]
        return entry

    def look(self, at_s: float) -> PeriodAccount:
        """Return the account of the period that holds a time; changes nothing."""
        at_s = min(at_s, LAST_S)
        for entry in reversed(self._periods):
            if entry.start_s <= at_s < entry.end_s:
                return entry
        period = period_at(self.budget, at_s)
        for entry in reversed(self._periods):
            if (entry.start_s, entry.end_s) == period:
                return entry
        return PeriodAccount(period.start_s, period.end_s, self._spent_in(period))

    def _spent_in(self, period: Period) -> float:
        first, last = period.start_s / HOUR_S - 0.5, period.end_s / HOUR_S - 0.5
        return sum(usd for hour, usd in self._hours.items() if first <= hour < last)

    def book(self, usd: float, at_s: float) -> None:
        """Book money (negative to take back) to the period of a decision."""
        at_s = min(at_s, LAST_S)
        if self.budget.period is not None:
            entry = self.at_kept(at_s)
            if entry is not None:
                entry.spent_usd += usd
                self._check_level(entry)
        hour = int(at_s // HOUR_S)
        if hour not in self._hours and len(self._hours) >= MOST_HOURS:
            del self._hours[next(iter(self._hours))]
        self._hours[hour] = self._hours.get(hour, 0.0) + usd

    def at_kept(self, at_s: float) -> PeriodAccount | None:
        """Return the account of the period that holds a time, if it is open or was not long ago."""
        for entry in reversed(self._periods):
            if entry.start_s <= at_s < entry.end_s:
                return entry
        return None

    def _check_level(self, entry: PeriodAccount) -> None:
        limit_usd = self.budget.limit_usd
        while entry.passed < len(LEVELS) and entry.spent_usd >= LEVELS[entry.passed] * limit_usd:
            level = LEVELS[entry.passed]
            entry.passed += 1
            self._raise(entry, level=level)

    def too_dear(self, entry: PeriodAccount, cheapest_usd: float) -> None:
        """Raise the alarm, once in a period, that even the cheapest provider would exceed the limit."""
        if not entry.is_too_dear:
            entry.is_too_dear = True
            self._raise(entry, cheapest_usd=cheapest_usd)

    def check_mean(self, is_too_dear: bool, *, cheapest_usd: float) -> None:
        """Raise the alarm of a budget per request once each time that even the cheapest becomes too dear."""
        if is_too_dear and not self._mean_is_too_dear:
            self._raise(None, cheapest_usd=cheapest_usd)
        self._mean_is_too_dear = is_too_dear

    def _raise(
        self, entry: PeriodAccount | None, *, level: float | None = None, cheapest_usd: float | None = None
    ) -> None:
        alarm = BudgetAlarm(
            level=level,
            start_s=None if entry is None else entry.start_s,
            end_s=None if entry is None else entry.end_s,
            spent_usd=0.0 if entry is None else entry.spent_usd,
            limit_usd=self.budget.limit_usd,
            cheapest_usd=cheapest_usd,
        )
        self.alarms = [*self.alarms[1 - MOST_ALARMS :], alarm]
        label = alarm.reason if level is None else f"{level:.0%}".removesuffix("%")
        self.raised[label] = self.raised.get(label, 0) + 1

    def saved(self) -> SavedAccount:
        """Return the account for a snapshot."""
        return SavedAccount(
            list(self._hours.items()),
            self._periods,
            self.alarms,
            self._mean_is_too_dear,
            list(self.raised.items()),
        )

    def restore(self, saved: SavedAccount) -> None:
        """Become the account that gave `saved`, under the same budget."""
        self._hours, self._periods, self.alarms = dict(saved.hours), saved.periods, saved.alarms
        self._mean_is_too_dear, self.raised = saved.mean_is_too_dear, dict(saved.raised)
