"""Which amounts of a provider are plausible, by the amounts that it has had.

An amount is seen by its ratio to what was expected, in bins of a factor of two. Of the latest ratios of a
provider the k-th largest and the k-th smallest are what it usually does at most and at least, whatever k − 1
others say: 2 % of absurd amounts never reach k, and what k calls agree on is believed. That is how an outlier
is confirmed, and the range depends on the set of amounts alone, not on the order in which they came.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from fairlead.optimizer.models.recent import RecentValues
from fairlead.optimizer.types.arrays import State, joined, part

COUNTED: Final = 512
"""Latest amounts of a provider, by the decisions that they belong to, from which its range follows."""

# More are kept than count, so that one which is taken back makes room for the one before.
_KEPT: Final = 640

LEAST_CONFIRMED: Final = 3
CONFIRMED_IN: Final = 24
"""k is three and another one for every 24 amounts: among 512 it is 24, and 2 % of them are 10."""

REACH: Final = 5
"""Bins beyond the k-th amount, a factor of 32, up to which an amount is plausible: answers differ that much
in length, and the mildest of usual errors of unit is a factor of 100."""

PRICED_REACH: Final = 2
"""The same for the cost of a call over its usage × price, a factor of 4: discounts for caches and batches and
charges for long contexts lie within, and the length of the answer is no excuse."""

CLIP: Final = 2
"""Bins beyond the k-th amount, a factor of 4, up to which an amount counts whole in a mean, and beyond as
just that."""

PRIOR: Final = 4
"""Amounts for which a declared expectation counts: three calls that contradict it are believed."""

_ZERO: Final = -1_100
"""The bin of 0, below that of the smallest number."""

_HALF_BIN: Final = math.sqrt(2.0)
_AS_EXPECTED: Final = 1
"""The bin of the ratio 1."""


DISAGREE: Final = 1.2
"""How far list and invoices may be apart, as a factor: discounts and rounding lie within."""

_STEPS: Final = 8
"""Steps of a factor of two in which the error of a list is known, so that it seldom moves."""


class Limits(NamedTuple):
    """The bins of the least plausible amount, the largest that counts whole, the largest, and the median."""

    low: int
    clip: int
    high: int
    typical: int = _AS_EXPECTED

    @property
    def clip_ratio(self) -> float:
        """The ratio that larger ones count as."""
        return math.ldexp(1.0, min(self.clip, 1_023)) / _HALF_BIN

    @property
    def typical_ratio(self) -> float:
        """The middle of the bin of the median, as a ratio."""
        return _middle(self.typical)


_MOST: Final = 10_000
ANYTHING: Final = Limits(_ZERO, _MOST, _MOST)


def bin_of(ratio: float) -> int:
    """Return the bin of a ratio: that around 2**(b − 1), so that what is as expected is in the middle of one.

    >>> [bin_of(ratio) for ratio in (1.0, 1.4, 1.5, 0.5)]
    [1, 1, 2, 0]
    """
    return math.frexp(ratio * _HALF_BIN)[1] if ratio > 0.0 else _ZERO


class PlausibleRange:
    """The latest amounts of one provider, and the range that follows from them.

    ``prior`` counts for so many amounts that are as expected. Up to ``reach`` bins beyond the k-th amount,
    one is plausible.
    """

    def __init__(self, *, prior: int = 0, reach: int = REACH) -> None:
        self._prior, self._reach = prior, reach
        self._entries: list[tuple[int, int]] = []
        """Seq and bin of the amounts that are kept."""
        self._sorted = [_AS_EXPECTED] * prior
        """Bins of the amounts that count, ascending."""
        self.limits = ANYTHING
        self._update()

    def add(self, seq: int, bin_: int) -> None:
        """Count the amount of the decision at ``seq``."""
        entries = self._entries
        late = len(entries) - COUNTED
        first = entries[late] if late >= 0 else None
        insort(entries, (seq, bin_))
        if len(entries) > _KEPT:
            del entries[0]
        if first is not None and (seq, bin_) < first:
            return  # earlier than all that count
        if first is None or first[1] != bin_:
            insort(self._sorted, bin_)
            if first is not None:
                del self._sorted[bisect_left(self._sorted, first[1])]
            self._update()

    def remove(self, seq: int, bin_: int) -> None:
        """Take an amount back, if it is still among those kept."""
        index = bisect_left(self._entries, (seq, bin_))
        if index == len(self._entries) or self._entries[index] != (seq, bin_):
            return
        late = len(self._entries) - COUNTED
        if index >= late:
            del self._sorted[bisect_left(self._sorted, bin_)]
            if late > 0:
                insort(self._sorted, self._entries[late - 1][1])
        del self._entries[index]
        self._update()

    def forget_before(self, seq: int) -> None:
        """Forget the amounts of decisions before ``seq``, and what was expected before there were any."""
        self._prior = 0
        self._entries = self._entries[bisect_left(self._entries, (seq, -_MOST)) :]
        self._count_entries()

    @property
    def count(self) -> int:
        """Amounts that count, without the prior."""
        return min(len(self._entries), COUNTED)

    @property
    def typical_bin(self) -> int:
        """Bin of the median; that of what is expected if there is no amount."""
        return self.limits.typical

    def _update(self) -> None:
        bins = self._sorted
        total, free = len(bins), 0
        if not total:
            self.limits = ANYTHING
            return
        if bins[0] == _ZERO:
            free = bisect_right(bins, _ZERO)
            if self._prior or total - free >= _confirmed_by(total):
                # That some calls are free says nothing about the others.
                total -= free
            else:
                free = 0
        k = _confirmed_by(total)
        typical = bins[free + (total - 1) // 2]
        least, most = bins[free + k - 1], bins[-k]
        low = _ZERO if least == _ZERO else least - self._reach
        limits = Limits(low, most + CLIP, most + self._reach, typical)
        if limits != self.limits:
            self.limits = limits

    @property
    def last_seq(self) -> int:
        """Seq of the latest amount; 0 before any."""
        return self._entries[-1][0] if self._entries else 0

    def state(self) -> State:
        """Return the amounts that are kept, oldest first: shape (n, 2), seq and bin."""
        entries = np.array(self._entries, dtype=np.int64).reshape(-1, 2)
        return {"entries": entries, "prior": np.array(self._prior)}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._prior = int(state["prior"])
        self._entries = [(seq, bin_) for seq, bin_ in state["entries"].tolist()]
        self._count_entries()

    def _count_entries(self) -> None:
        prior = [_AS_EXPECTED] * self._prior
        self._sorted = sorted([*prior, *(bin_ for _, bin_ in self._entries[-COUNTED:])])
        self._update()


_MARGIN: Final = 2
"""Bins by which limits can move before all open decisions are looked through."""

_ALL_BINS: Final = (ANYTHING.low, ANYTHING.high)


class Counted(Protocol):
    """A decision whose amount is judged."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def seq(self) -> int:
        """Its place among the decisions of the route."""
        ...


D = TypeVar("D", bound=Counted)


class Measure(Generic[D]):
    """One ratio of a provider's costs: its range, and the open decisions that a move of it may touch."""

    def __init__(self, *, prior: int, reach: int, clips: bool) -> None:
        self.range = PlausibleRange(prior=prior, reach=reach)
        self.limits = self._own_limits(clips)
        """The limits in force: those of the range, except while decisions are counted again."""
        self._clips, self._followed = clips, self.range.limits
        self._remote: dict[int, dict[str, D]] = {}
        """Decisions outside the core, by bin."""
        self._core = _ALL_BINS

    def _own_limits(self, clips: bool) -> Limits:
        limits = self.range.limits
        return limits if clips else limits._replace(clip=limits.high)

    def adopt(self) -> None:
        """Put the limits of the range in force; no decision was counted by others."""
        self.limits = self._own_limits(self._clips)

    def remember(self, decision: D, bin_: int) -> None:
        """Remember an open decision, if a move of the limits may touch it."""
        if not self._core[0] <= bin_ <= self._core[1]:
            self._remote.setdefault(bin_, {})[decision.id] = decision

    def forget(self, decision: D, bin_: int) -> None:
        """Forget a decision."""
        held = self._remote.get(bin_)
        if held is not None:
            held.pop(decision.id, None)

    def forget_closed(self, decisions: Iterable[D]) -> None:
        """Forget decisions that are closed, without a look at those that stay open."""
        ids = [decision.id for decision in decisions]
        for held in filter(None, self._remote.values()):
            for decision_id in ids:
                held.pop(decision_id, None)

    def moved(self) -> tuple[Limits, list[tuple[int, int]]] | None:
        """Return the new limits and the spans of bins whose decisions they judge anew; None if they stay."""
        if self.range.limits is self._followed:
            return None  # the same as last time, as nearly always
        self._followed = self.range.limits
        old, new = self.limits, self._own_limits(self._clips)
        if old == new:
            return None
        spans = []
        if old.low != new.low:
            spans.append((min(old.low, new.low), max(old.low, new.low) - 1))
        if old.clip != new.clip:
            spans.append((min(old.clip, new.clip) + 1, ANYTHING.high))
        if old.typical != new.typical:
            # What is doubted is booked as a typical call.
            spans += [(ANYTHING.low, new.low - 1), (new.high + 1, ANYTHING.high)]
        return new, spans

    def covers(self, spans: Iterable[tuple[int, int]]) -> bool:
        """Whether every decision in these bins is remembered."""
        return all(last < self._core[0] or first > self._core[1] for first, last in spans)

    def gather(self, decisions: Iterable[tuple[D, int]], limits: Limits) -> None:
        """Remember anew which of these decisions moves may touch, those to these limits and a little on."""
        low, clip = max(limits.low, self.limits.low), min(limits.clip, self.limits.clip)
        self._core = (low + _MARGIN, clip - _MARGIN)
        self._remote = {}
        for decision, bin_ in decisions:
            self.remember(decision, bin_)

    def within(self, spans: Iterable[tuple[int, int]]) -> list[D]:
        """Return the remembered decisions in these bins, by their seq."""
        decisions = [
            decision
            for bin_, held in self._remote.items()
            if any(first <= bin_ <= last for first, last in spans)
            for decision in held.values()
        ]
        return sorted(decisions, key=lambda decision: decision.seq)


def _confirmed_by(total: int) -> int:
    """Return how many of some amounts confirm each other."""
    return min(LEAST_CONFIRMED + total // CONFIRMED_IN, (total + 1) // 2)


def _middle(bin_: int) -> float:
    """Return the ratio in the middle of a bin."""
    return math.ldexp(1.0, bin_ - 1) if bin_ != _ZERO else 0.0


def scale_of(bin_: int) -> float:
    """Return the power of ten by which a list is wrong whose costs are typically in this bin; 1 if it is not.

    >>> [scale_of(bin_of(ratio)) for ratio in (0.05, 1.0, 20.0, 1_000.0, 0.001)]
    [1.0, 1.0, 1.0, 1000.0, 0.001]
    """
    if bin_ == _ZERO or abs(bin_ - _AS_EXPECTED) <= REACH:
        return 1.0
    return float(10.0 ** round(math.log10(_middle(bin_))))


_COST_ERRORS: Final = (
    (100.0, "cents for dollars"),
    (0.01, "dollars for cents"),
    (1e3, "a price per 1M tokens taken as per 1k"),
    (1e-3, "a price per 1k tokens taken as per 1M"),
    (1e6, "millionths of a dollar for dollars"),
    (1e-6, "dollars for millionths of a dollar"),
)
_LATENCY_ERRORS: Final = (
    (1e3, "ms for s"),
    (1e6, "µs for s"),
    (1e9, "ns for s"),
    (1 / 60, "minutes for seconds"),
)
_LIST_ERRORS: Final = (
    (100.0, "the list is in hundreds of dollars, or costs are in cents"),
    (0.01, "the list is in cents"),
    (1e3, "the list is per 1k tokens, and was declared as per 1M"),
    (1e-3, "the list is 1,000 times too high, or costs are in thousands of dollars"),
)
_ERRORS: Final = {"cost": _COST_ERRORS, "latency": _LATENCY_ERRORS, "prices": _LIST_ERRORS}
_NEAR: Final = 3.0


def likely_error(quantity: str, *, value: float, expected: float) -> str:
    """Name the error of unit that explains a value within a factor of three; "" if none does.

    >>> likely_error("latency", value=1_400.0, expected=1.5)
    'ms for s'
    >>> likely_error("cost", value=10.0, expected=0.001)
    ''
    """
    if not (value > 0 and expected > 0):
        return ""
    ratio = value / expected
    factor, text = min(_ERRORS[quantity], key=lambda error: abs(math.log(ratio / error[0])))
    return text if abs(math.log(ratio / factor)) <= math.log(_NEAR) else ""


class ListCheck:
    """The latest invoices of one provider over what its list says of the same calls, whatever their order.

    A list is a prior, and invoices are the truth. Each invoice is compared with what the list says of the
    same call: of its usage or, where a call has a price, of the call. If the median of the latest is off by
    more than a fifth, the list is named as wrong; and if most of them agree on the factor, usage that comes
    without an invoice costs that much.
    """

    def __init__(self) -> None:
        self._ratios, self._listed = RecentValues(), RecentValues()
        self.factor = 1.0
        """By how much usage at the list must be multiplied; 1 unless list and invoices disagree."""
        self.count = 0
        """The latest invoices that are compared."""
        self._agreed = 1.0
        """The ratio that most of them agree on; 1 if there is none."""

    def moves(self, seq: int, cost_usd: float, listed_usd: float, *, sign: int) -> bool:
        """Count an invoice (sign 1) or take it back; returns whether `adopt` would change the factor."""
        ratio = cost_usd / listed_usd
        for values, value in ((self._ratios, ratio), (self._listed, listed_usd)):
            (values.add if sign > 0 else values.remove)(seq, value)
        self._compare()
        return self._factor() != self.factor

    def adopt(self) -> None:
        """Use the factor that the invoices say from now on."""
        self.factor = self._factor()

    def _compare(self) -> None:
        """Find the ratio that most agree on; if they have none in common, answers differ, not the list."""
        ratios = sorted(self._ratios.latest())
        self.count, self._agreed = len(ratios), 1.0
        if len(ratios) >= LEAST_CONFIRMED and (ratio := _median(ratios)):
            agreeing = bisect_right(ratios, ratio * DISAGREE) - bisect_left(ratios, ratio / DISAGREE)
            if 2 * agreeing >= len(ratios):
                self._agreed = ratio

    def _factor(self) -> float:
        ratio = self._agreed
        if self.count <= PRIOR and scale_of(bin_of(ratio)) == 1.0:
            return 1.0  # few, and no error of unit
        if 1.0 / DISAGREE <= ratio <= DISAGREE:
            return 1.0
        return float(2.0 ** (round(math.log2(ratio) * _STEPS) / _STEPS))

    @property
    def scale(self) -> float:
        """The factor by which costs are counted in other units than the list has them.

        A power of two, so that costs are seldom counted again; of ten if it is an error of unit, which three
        invoices prove.
        """
        ratio = self._agreed
        scale = scale_of(bin_of(ratio))
        if scale != 1.0 or self.count <= PRIOR:
            return scale
        return float(2.0 ** round(math.log2(ratio)))

    def call_usd(self) -> tuple[float, float] | None:
        """Return the USD of a typical call by the latest invoices, and by the list; None if too few."""
        ratios = sorted(self._ratios.latest())
        if len(ratios) <= PRIOR:
            return None
        typical = _median(sorted(self._listed.latest()))
        return _median(ratios) * typical, typical

    def disagreement(self) -> tuple[float, float] | None:
        """Return `call_usd` if the two are apart by more than a fifth."""
        pair = self.call_usd()
        return pair if pair is not None and not pair[1] / DISAGREE <= pair[0] <= pair[1] * DISAGREE else None

    def state(self) -> State:
        """Return the invoices that are compared."""
        return joined(ratios=self._ratios.state(), listed=self._listed.state())

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._ratios.restore(part(state, "ratios"))
        self._listed.restore(part(state, "listed"))
        self._compare()
        self.adopt()


def _median(ascending: list[float]) -> float:
    return ascending[(len(ascending) - 1) // 2]
