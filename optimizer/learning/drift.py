"""Drift detection: notice from what comes of a provider's calls that it has become another.

A model can change behind an unchanged name. One test watches every quantity: somebody bets, call after call,
that the quantity has moved. While it has not, no bet wins on average, whatever the distribution, so that a
capital that was multiplied is evidence of a change. The quantities differ only in what is bet on: the mean of
a number in [0, 1] (`MeanDetector`), or the rank of a positive amount among those of before (`RankDetector`).

Shin, Ramdas and Rinaldo (2023), E-detectors: a nonparametric framework for sequential change detection,
New England Journal of Statistics in Data Science 2, 229-260. Page (1954), Continuous Inspection Schemes,
Biometrika 41, 100-115.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.learning.open_decision import MOST_OUTPUT_TOKENS, OpenDecision, usage_usd
from fairlead.optimizer.types.arrays import (
    FloatArray,
    State,
    joined,
    packed,
    part,
    stacked,
    unpacked,
    unstacked,
)
from fairlead.optimizer.types.events import DriftAlarm, Outcome

RUN_LENGTH: Final = 20_000
"""Least mean number of observations of one detector until a false alarm. Six of them look at a decision at
most (`ChangeWatch`), so that there is less than one false alarm in 10,000 decisions."""

LEAST_AFTER: Final = 8
"""Observations since a change that an alarm needs; as many calls in a row turn a latency (`TURNED`)."""

LEAST_BEFORE: Final = 16
"""Observations that are compared with before any bet is made."""

LAG: Final = 16
"""Latest observations that the next one is not compared with: they may be of the changed provider already."""

LEAST_SHIFT: Final = 0.5
"""Smallest shift of a mean, in standard deviations, that counts as a change of the provider. Learning
moves residuals by less: what is chosen changes with what is believed."""

LEAST_FACTOR: Final = 1.5
"""Smallest factor between amounts that counts as a change of the provider."""

REFERENCE: Final = 256
"""Amounts before the latest ones that the next one is ranked among."""

SUSPICION: Final = 0.1
"""Capital, as a share of what an alarm takes, that bets on a quantity get when another one has changed: a
provider that was replaced changes in several. Of alarms that are false, so many bring on another at most."""

HASTE: Final = 10.0
"""What is put in with each of the first `REFERENCE` observations after an alarm, instead of 1: a provider
that has changed may change back. Of alarms that are false, one in eight brings on another at most."""

_LEAST_AMOUNT: Final = 1e-6
"""What smaller amounts count as in a geometric mean."""

_STAKES: Final[FloatArray] = np.array([1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 0.9])
"""Shares of the capital that are bet on a mean: small ones win on small changes of noisy numbers."""

_POWERS: Final[FloatArray] = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85])
"""Powers e of the bets e p^(e − 1) on a rank p: small ones win on amounts beyond all that were seen."""

_BETS: Final = len(_STAKES)
_ALLOWANCE: Final = LEAST_SHIFT / 10
"""Standard deviations by which a mean may be off, besides its standard error, for as long as it likes."""

_CUT: Final = 2.0
"""Standard deviations that a number counts as at most on the side where a bet loses."""


@dataclass(frozen=True, kw_only=True)
class DriftSignal:
    """A change, detected at the latest observation, since about the decision at ``since_seq``.

    ``before`` and ``after`` are means of what was observed, and ``n_after`` counts observations since.
    """

    since_seq: int
    before: float
    after: float
    n_after: int


class _Runs:
    """The capital of each bet on a rise and on a fall, and since when it has been winning.

    Each puts in 1 more with every observation (Shiryaev and Roberts), so that without a change the mean
    capital reaches `RUN_LENGTH` no sooner, on average, than after as many. A change is dated at the moment
    from which the bet that won most has won most (Page's CUSUM).
    """

    def __init__(self, *, has_changed: bool = False) -> None:
        # Of each bet, upwards and downwards: the capital; what it was multiplied by since its start; and what
        # seq, number and sum of observations were then.
        self.cells: FloatArray = np.zeros((2, _BETS, 5))
        self.counts: FloatArray = np.array([0.0, 0.0, -1.0, float(has_changed)])
        """Number and sum of observations, the last seq, and whether there was an alarm before."""
        self.factors: FloatArray = np.empty((2, _BETS))

    @property
    def count(self) -> int:
        """Number of observations."""
        return int(self.counts[0])

    def signal(self, bet: int) -> DriftSignal | None:
        """Return what a bet has found, if it rests on enough observations."""
        _, _, since, count, total = self.cells.reshape(-1, 5)[bet].tolist()
        number, everything, last_seq, _ = self.counts.tolist()
        n_after = int(number - count)
        if n_after < LEAST_AFTER:
            return None
        return DriftSignal(
            since_seq=int(min(since, last_seq)),
            before=total / count,
            after=(everything - total) / n_after,
            n_after=n_after,
        )

    def suspect(self) -> None:
        """Expect a change, since another quantity of the provider has changed."""
        self.cells[:, :, 0] += SUSPICION * RUN_LENGTH

    def state(self) -> State:
        return {"cells": self.cells.copy(), "counts": self.counts.copy()}

    def restore(self, state: State) -> None:
        self.cells, self.counts = state["cells"].copy(), state["counts"].copy()


class MeanDetector:
    """Watches the mean of numbers in [0, 1], each compared with what was expected of it.

    There may be several views of what is expected: the prediction of a model, or 0 for nothing at all. Each
    is right up to a constant, which is the mean difference so far, within a margin: the standard error of
    that mean, and a twentieth of a standard deviation. A bet wins no more than it would in the view in
    which the number is the least surprising. So no alarm is raised if a provider is given other
    requests and the model knows how these differ, nor if the model is still learning and the numbers stay.

    A bet on a rise above m multiplies by 1 + c (y − m) / m, and one on a fall below it by
    1 + c (m − y) / (1 − m): 1 or less on average, for any y in [0, 1] whose mean has not changed that way.
    """

    def __init__(self, views: int) -> None:
        self.runs = _Runs()
        self._moments: FloatArray = np.zeros((views, 4))
        """Of each view, the sums of differences from what was expected, of their squares, and of differences
        that are cut below, and above."""
        self._latest: FloatArray = np.zeros((LAG, views))
        """The latest differences, which are not summed up yet; that of observation i is in row i mod LAG."""

    def update(self, value: float, expected: tuple[float, ...], seq: int) -> DriftSignal | None:
        """Add the number of decision ``seq``, and what each view expected of it."""
        if not 0.0 <= value <= 1.0 or not all(map(math.isfinite, expected)):
            raise InvalidInput(
                f"the number of decision {seq} is {value}, and {expected} was expected: give one in [0, 1], "
                "and finite expectations"
            )
        runs = self.runs
        play = runs.factors, runs.cells, runs.counts
        bet = _add_number((value, *expected), seq, (self._moments, self._latest), play)
        signal = runs.signal(bet) if bet >= 0 else None
        if signal is not None and abs(signal.after - signal.before) < LEAST_SHIFT * self._sd():
            self.calm()
            return None
        return signal

    def _sd(self) -> float:
        """Return the standard deviation in the view that explains most."""
        mean, square, _, _ = self._moments.T / (self.runs.count - LAG)
        return math.sqrt(max(float((square - mean * mean).min()), 0.0))

    def calm(self) -> None:
        """Take back every bet: what was observed lately has another explanation."""
        self.runs.cells[:] = 0.0

    def restart(self) -> None:
        """Forget everything that was observed."""
        self.runs = _Runs(has_changed=True)
        self._moments[:] = 0.0

    def state(self) -> State:
        """Return what follows from the observations."""
        return {**self.runs.state(), "moments": self._moments.copy(), "latest": self._latest.copy()}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self.runs.restore(state)
        self._moments, self._latest = state["moments"].copy(), state["latest"].copy()


class RankDetector:
    """Watches positive amounts, which may be of any distribution, however heavy its tail.

    An amount is ranked among the latest `REFERENCE` ones of before, after it was divided by `LEAST_FACTOR`
    (multiplied, for a fall): a smaller change is none. If the amounts are not changing, the share p of those
    that are as large, itself included, is uniform or larger, so that a bet of e p^(e − 1) multiplies by 1 or
    less on average. Each amount has several views, such as seconds, and seconds by expected cost; that in
    which it is the least surprising counts.
    """

    def __init__(self, views: int) -> None:
        self.runs = _Runs()
        self._latest: list[tuple[float, ...]] = []
        self._sorted: list[list[float]] = [[] for _ in range(views)]

    def update(self, amounts: tuple[float, ...], seq: int, *, sign: int = 0) -> DriftSignal | None:
        """Add the amount of decision ``seq`` in each view; means are geometric ones of the first view.

        With a ``sign`` of 1 it counts as no sign of a fall, whatever its rank, and with -1 as none of a rise.
        """
        if not all(0.0 <= amount < math.inf for amount in amounts):
            raise InvalidInput(f"an amount of decision {seq} is {amounts}: give finite numbers of at least 0")
        rise, fall = float(sign < 0), float(sign > 0)
        for amount, reference in zip(amounts, self._sorted, strict=True):
            n = len(reference)
            rise = max(rise, (n - bisect_left(reference, amount / LEAST_FACTOR) + 1) / (n + 1))
            fall = max(fall, (bisect_right(reference, amount * LEAST_FACTOR) + 1) / (n + 1))
        if len(self._sorted[0]) < LEAST_BEFORE:
            rise = fall = 1.0
        value, runs = math.log(max(amounts[0], _LEAST_AMOUNT)), self.runs
        bet = _add_rank((rise, fall, value), seq, (runs.factors, runs.cells, runs.counts))
        signal = runs.signal(bet) if bet >= 0 else None
        self._remember(amounts)
        return signal and replace(signal, before=math.exp(signal.before), after=math.exp(signal.after))

    def _remember(self, amounts: tuple[float, ...]) -> None:
        latest = self._latest
        latest.append(amounts)
        if len(latest) > LAG:
            for amount, reference in zip(latest[-LAG - 1], self._sorted, strict=True):
                insort(reference, amount)
        if len(latest) > REFERENCE + LAG:
            for amount, reference in zip(latest.pop(0), self._sorted, strict=True):
                del reference[bisect_left(reference, amount)]

    def restart(self) -> None:
        """Forget everything that was observed."""
        self.runs, self._latest = _Runs(has_changed=True), []
        self._sorted = [[] for _ in self._sorted]

    def state(self) -> State:
        """Return what follows from the observations, and the latest of them."""
        latest = np.array(self._latest, dtype=np.float64).reshape(-1, len(self._sorted))
        return {**self.runs.state(), "latest": latest}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self.runs.restore(state)
        self._latest = [tuple(amounts) for amounts in state["latest"].tolist()]
        self._sorted = [sorted(view) for view in state["latest"][:-LAG].T.tolist()]


Detector = MeanDetector | RankDetector

MOST_TASKS: Final = 64
"""Tasks of one provider whose quality is watched apart: those of its first calls."""

_FIRST_TOKEN: Final = 32
"""Tokens of output that take about as long as it takes until the first."""

_COST_PER_USAGE: Final = "cost per usage"
_KINDS: Final[dict[str, Callable[[], Detector]]] = {
    "quality": lambda: MeanDetector(views=2),
    "failure": lambda: MeanDetector(views=1),
    "latency": lambda: RankDetector(views=3),
    "tokens": lambda: RankDetector(views=2),
    "cost": lambda: RankDetector(views=2),
    _COST_PER_USAGE: lambda: RankDetector(views=1),
}

_Key = tuple[str, str, str | None]
"""Provider, kind of detector, and the task; None: of all tasks together."""


class ChangeWatch:
    """The detectors of a route, one for each provider and quantity, and of quality also one for each task.

    At most six look at one decision: its quality twice, failure, latency, and either tokens with cost by
    usage, or cost. What is seen depends on the order in which outcomes and feedback come.
    """

    def __init__(self) -> None:
        self._detectors: dict[_Key, Detector] = {}
        self._tasks: dict[str, int] = {}

    def _detector(self, key: _Key) -> Detector | None:
        detector = self._detectors.get(key)
        if detector is None:
            name, kind, task = key
            if task is not None:
                if self._tasks.get(name, 0) >= MOST_TASKS:
                    return None
                self._tasks[name] = self._tasks.get(name, 0) + 1
            detector = self._detectors[key] = _KINDS[kind]()
        return detector

    def reward(self, decision: OpenDecision, name: str, reward: float) -> DriftAlarm | None:
        """Add a reward; returns an alarm if the provider no longer does what was predicted."""
        if name not in decision.providers:
            return None
        predicted = float(decision.predicted[0, decision.providers.index(name)])
        expected = (min(max(predicted, 0.0), 1.0), 0.0)
        alarm = None
        for task in (None,) if decision.task is None else (None, decision.task):
            detector = self._detector(key := (name, "quality", task))
            if isinstance(detector, MeanDetector):
                signal = detector.update(reward, expected, decision.seq)
                alarm = alarm or (None if signal is None else _alarm(key, signal, decision))
        return alarm

    def call(self, decision: OpenDecision, outcome: Outcome) -> DriftAlarm | None:
        """Add whether a call failed."""
        detector = self._detector(key := (outcome.served_provider, "failure", None))
        assert isinstance(detector, MeanDetector), "failures have a mean"
        signal = detector.update(float(outcome.status != "ok"), (0.0,), decision.seq)
        return None if signal is None else _alarm(key, signal, decision)

    def answer(
        self, decision: OpenDecision, outcome: Outcome, *, typical_usd: float, doubted: tuple[str, ...]
    ) -> Iterator[DriftAlarm]:
        """Add how long an answer of the selected provider is, what it cost and how long it took.

        ``typical_usd`` is the cost of a typical call by the price list of the time, ``doubted`` names the
        fields that are not believed.
        """
        for kind, views, sign in _amounts(decision, outcome, typical_usd=typical_usd, doubted=doubted):
            detector = self._detector(key := (outcome.served_provider, kind, None))
            assert isinstance(detector, RankDetector), "amounts have ranks"
            if (signal := detector.update(views, decision.seq, sign=sign)) is not None:
                yield _alarm(key, signal, decision)

    def excuse(self, name: str) -> None:
        """Take back what the latest failed calls of a provider say: they are those of an outage."""
        detector = self._detectors.get((name, "failure", None))
        if isinstance(detector, MeanDetector):
            detector.calm()

    def restart(self, name: str, quantity: str) -> None:
        """Forget what was observed of a quantity that has changed, and expect others of the provider to."""
        for (provider, kind, _), detector in self._detectors.items():
            if provider == name:
                if _quantity(kind) == quantity:
                    detector.restart()
                else:
                    detector.runs.suspect()

    def state(self) -> State:
        """Return what each detector watches, and those of a kind in one array for each of theirs."""
        keys = sorted(self._detectors, key=lambda key: (key[0], key[1], key[2] is not None, key[2] or ""))
        parts = {
            kind: stacked([self._detectors[key].state() for key in keys if key[1] == kind]) for kind in _KINDS
        }
        return {"keys": packed(keys), **joined(**parts)}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        keys = unpacked(state["keys"], list[tuple[str, str, str | None]])
        for kind in _KINDS:
            same = [key for key in keys if key[1] == kind]
            for key, own in zip(same, unstacked(part(state, kind), len(same)), strict=True):
                detector = self._detector(key)
                assert detector is not None, "no more tasks are watched than there may be"
                detector.restore(own)


def _amounts(
    decision: OpenDecision, outcome: Outcome, *, typical_usd: float, doubted: tuple[str, ...]
) -> Iterator[tuple[str, tuple[float, ...], int]]:
    """Yield the kinds of amount of an answer, each in several views, and of which sign a change can be.

    Longer answers are dearer and slower. So an amount is also seen by what the call was expected to cost, in
    typical calls, and a latency by the length of the answer, with `_FIRST_TOKEN` for its start. And if
    a call cost no more than was expected, neither length nor cost has risen; if no less, neither has fallen.
    """
    scale = (decision.expected_usd / typical_usd if typical_usd > 0.0 else 0.0) or 1.0
    latency_s, tokens, cost = outcome.latency_s, outcome.output_tokens, outcome.cost_usd
    if latency_s is not None and "latency_s" not in doubted:
        yield "latency", (latency_s, latency_s / scale, latency_s / ((tokens or 0) + _FIRST_TOKEN)), 0
    prices, expected = decision.prices.get(outcome.served_provider), decision.expected_usd or None
    usage = usage_usd(outcome, prices)
    if tokens is not None and tokens <= MOST_OUTPUT_TOKENS:
        yield "tokens", (tokens, tokens / scale), _sign(cost if usage is None else usage, expected)
    if cost is None or "cost_usd" in doubted:
        return
    if usage and prices is not None and prices.output_usd_per_mtok:
        yield _COST_PER_USAGE, (cost / usage,), _sign(cost, expected)
    elif tokens is None or usage:
        basis = typical_usd or 1.0
        yield "cost", (cost / basis, cost / (expected or basis)), _sign(cost, expected)


def _sign(cost: float | None, expected: float | None) -> int:
    return 0 if cost is None or expected is None else 1 if cost > expected else -1


def _quantity(kind: str) -> str:
    return "cost" if kind == _COST_PER_USAGE else kind


def _alarm(key: _Key, signal: DriftSignal, decision: OpenDecision) -> DriftAlarm:
    name, kind, task = key
    return DriftAlarm(
        provider=name,
        quantity=_quantity(kind),
        task=task,
        since_seq=signal.since_seq,
        at_seq=max(decision.seq, signal.since_seq),
        before=signal.before,
        after=signal.after,
    )


_Play = tuple[FloatArray, FloatArray, FloatArray]
"""Factors, cells and counts of `_Runs`."""


@compiled
def _play(value: float, seq: int, play: _Play) -> int:
    """Multiply the capitals by the factors; return the bet that won most if it is worth an alarm, else -1."""
    factors, cells, counts = play
    best, most, capital = -1, 1.0, 0.0
    stake = HASTE if counts[3] > 0.0 and counts[0] < REFERENCE else 1.0
    for way in range(2):
        for bet in range(cells.shape[1]):
            if cells[way, bet, 1] <= 1.0:
                cells[way, bet, 1], cells[way, bet, 2] = 1.0, counts[2] + 1.0
                cells[way, bet, 3], cells[way, bet, 4] = counts[0], counts[1]
            cells[way, bet, 0] = (stake + cells[way, bet, 0]) * factors[way, bet]
            cells[way, bet, 1] *= factors[way, bet]
            capital += cells[way, bet, 0]
            if cells[way, bet, 1] > most:
                best, most = way * cells.shape[1] + bet, cells[way, bet, 1]
    counts[0], counts[1], counts[2] = counts[0] + 1.0, counts[1] + value, max(counts[2], float(seq))
    return best if capital >= 2 * cells.shape[1] * RUN_LENGTH else -1


@compiled
def _add_number(
    values: tuple[float, ...], seq: int, memory: tuple[FloatArray, FloatArray], play: _Play
) -> int:
    """Bet on a number, given with what each view expected of it, and remember it (`_play`)."""
    moments, latest = memory
    factors, count = play[0], int(play[2][0])
    row, n = count % LAG, count - LAG
    for view in range(len(values) - 1):
        expected = values[view + 1]
        difference, mean, seen = values[0] - expected, moments[view, 0] / max(n, 1), max(n, 1)
        # One imagined observation, as far off as one can be: what was always 1 may be 0 one day.
        sd = math.sqrt((max(moments[view, 1] - mean * mean * seen, 0.0) + 0.25) / (seen + 1.0))
        if n < LEAST_BEFORE:
            factors[:] = 1.0
        else:
            margin = sd * (_ALLOWANCE + 1.0 / math.sqrt(n))
            high, low = moments[view, 2] / n + margin, moments[view, 3] / n - margin
            # The furthest that a number can be on the side where a bet loses.
            least, largest = max(mean - _CUT * sd, -expected), min(mean + _CUT * sd, 1.0 - expected)
            risen = fallen = 0.0
            if least < high < 1.0 - expected:
                risen = (max(difference, least) - high) / (high - least)
            if -expected < low < largest:
                fallen = (low - min(difference, largest)) / (largest - low)
            for bet in range(len(_STAKES)):
                rise, fall = 1.0 + _STAKES[bet] * risen, 1.0 + _STAKES[bet] * fallen
                factors[0, bet] = min(factors[0, bet], rise) if view > 0 else rise
                factors[1, bet] = min(factors[1, bet], fall) if view > 0 else fall
        if n >= 0:
            left = latest[row, view]
            moments[view, 0] += left
            moments[view, 1] += left * left
            moments[view, 2] += max(left, mean - _CUT * sd)
            moments[view, 3] += min(left, mean + _CUT * sd)
        latest[row, view] = difference
    return _play(values[0], seq, play)


@compiled
def _add_rank(values: tuple[float, float, float], seq: int, play: _Play) -> int:
    """Bet on the shares of amounts as large and as small as one, whose value is the last number (`_play`)."""
    rise, fall = math.log(values[0]), math.log(values[1])
    for bet in range(len(_POWERS)):
        power = _POWERS[bet]
        play[0][0, bet] = power * math.exp((power - 1.0) * rise)
        play[0][1, bet] = power * math.exp((power - 1.0) * fall)
    return _play(values[2], seq, play)
