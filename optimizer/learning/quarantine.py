"""Costs that cannot be right: they wait, without being learned or paid, until more of their kind have come.

A cost is judged twice. If its usage is reported and there is a price list, by the list: reported USD over
usage × price. And by history: USD over what the list says of a typical call (or, without a list, over 1 USD).
What is beyond the range of a provider's latest costs is quarantined: it is in the log, its money counts as
expected, and as soon as enough others agree with it, it is learned and booked as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fairlead.optimizer.learning.open_decision import OpenDecision, usage_usd
from fairlead.optimizer.models.latency import LatencyBelief
from fairlead.optimizer.models.plausibility import (
    ANYTHING,
    PRICED_REACH,
    PRIOR,
    REACH,
    Limits,
    PlausibleRange,
    bin_of,
    likely_error,
    scale_of,
)
from fairlead.optimizer.models.pricing import call_price
from fairlead.optimizer.types.arrays import State, from_texts, joined, packed, part, texts, unpacked
from fairlead.optimizer.types.events import ImplausibleOutcome, Outcome
from fairlead.optimizer.types.route import Prices

MOST_OUTPUT_TOKENS: Final = 2**17
MOST_INPUT_TOKENS: Final = 2**21
"""Longest answer and request of any model: usage up to these explains a cost that history does not."""

_MARGIN: Final = 2
"""Bins by which limits can move before all open decisions are looked through."""

_LIKELY: Final = 0.25
"""Share of the most plausible latency from which one is watched: the range may shrink later."""

_ALL_BINS: Final = (ANYTHING.low, ANYTHING.high)

Recount = Callable[[OpenDecision, int], None]
"""Puts a decision's cost in (sign 1) or takes it out (sign -1), as the limits in force have it."""


class Verdict(NamedTuple):
    """What the cost of an outcome counts as, None if it is not known or not believed."""

    learned_usd: float | None = None
    """USD that the cost model learns, at most what one call may weigh."""
    booked_usd: float | None = None
    """USD that are spent; None: what was expected."""
    is_doubted: bool = False


class _Measure:
    """One ratio of a provider's costs: its range, and the open decisions that a move of it may touch."""

    def __init__(self, *, prior: int, reach: int, clips: bool) -> None:
        self.range = PlausibleRange(prior=prior, reach=reach)
        self.limits = self._own_limits(clips)
        """The limits in force: those of the range, except while decisions are counted again."""
        self._clips, self._followed = clips, self.range.limits
        self._remote: dict[int, dict[str, OpenDecision]] = {}
        """Decisions outside the core, by bin."""
        self._core = _ALL_BINS

    def _own_limits(self, clips: bool) -> Limits:
        limits = self.range.limits
        return limits if clips else limits._replace(clip=limits.high)

    def adopt(self) -> None:
        """Put the limits of the range in force; no decision was counted by others."""
        self.limits = self._own_limits(self._clips)

    def remember(self, decision: OpenDecision, bin_: int) -> None:
        """Remember an open decision, if a move of the limits may touch it."""
        if not self._core[0] <= bin_ <= self._core[1]:
            self._remote.setdefault(bin_, {})[decision.id] = decision

    def forget(self, decision: OpenDecision, bin_: int) -> None:
        """Forget a decision."""
        held = self._remote.get(bin_)
        if held is not None:
            held.pop(decision.id, None)

    def forget_closed(self, decisions: Iterable[OpenDecision]) -> None:
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

    def gather(self, decisions: Iterable[tuple[OpenDecision, int]], limits: Limits) -> None:
        """Remember anew which of these decisions moves may touch, those to these limits and a little on."""
        low, clip = max(limits.low, self.limits.low), min(limits.clip, self.limits.clip)
        self._core = (low + _MARGIN, clip - _MARGIN)
        self._remote = {}
        for decision, bin_ in decisions:
            self.remember(decision, bin_)

    def within(self, spans: Iterable[tuple[int, int]]) -> list[OpenDecision]:
        """Return the remembered decisions in these bins, by their seq."""
        decisions = [
            decision
            for bin_, held in self._remote.items()
            if any(first <= bin_ <= last for first, last in spans)
            for decision in held.values()
        ]
        return sorted(decisions, key=lambda decision: decision.seq)


class _Costs:
    """The costs of one provider, of which none is known yet."""

    def __init__(self, *, listed: bool) -> None:
        self.listed = listed
        """Whether they are seen relative to a price list, and not to 1 USD."""
        prior = PRIOR if listed else 0
        self.history = _Measure(prior=prior, reach=REACH, clips=True)
        self.by_list = _Measure(prior=prior, reach=PRICED_REACH, clips=False)
        self.measures = self.history, self.by_list
        """Both measures, in the order of `_Seen.bins`."""
        self._prices: Prices | None = None
        self._price = call_price(None, 1.0)

    def typical_usd(self, prices: Prices | None, input_tokens: float) -> float:
        """Return the USD of a typical call under a price list; 1 USD without one."""
        if prices is not self._prices:
            self._prices, self._price = prices, call_price(prices, 1.0)
        base, unit = self._price.at(input_tokens)
        return base + unit


class _Seen(NamedTuple):
    """The cost of an outcome, and what to compare it with."""

    cost_usd: float
    typical_usd: float
    """A typical call by the list; without a list 1 USD."""
    usage_usd: float | None
    """Usage × price; None if either is not known."""
    bins: tuple[int, int | None]
    """Bins of the cost by history, and by the list if usage and cost are reported."""


class Quarantine:
    """Judges the costs of a route's open decisions, and keeps those that are not believed.

    ``is_listed`` says whether a provider's costs are learned relative to a price list, ``decisions`` returns
    the open decisions. Latencies are judged by the beliefs about them (``latency``, by provider), which leave
    out by themselves what is in doubt.
    """

    def __init__(
        self,
        is_listed: Callable[[str], bool],
        decisions: Callable[[], list[OpenDecision]],
        *,
        latency: Mapping[str, LatencyBelief],
    ) -> None:
        self._is_listed, self._decisions, self._latency = is_listed, decisions, latency
        self._slow: dict[str, OpenDecision] = {}
        """Open decisions that took so long that the latency may be in doubt."""
        self._costs: dict[str, _Costs] = {}
        self._held: dict[str, OpenDecision] = {}
        """The open decisions whose costs are in quarantine."""
        self._latest: tuple[Outcome, _Seen] | None = None
        """The outcome that was looked at last: one that comes is asked about several times."""
        self._closed: dict[tuple[str, str, str], ImplausibleOutcome] = {}
        """What was in quarantine when its decision was closed: the latest of each kind, and how many."""

    def _costs_of(self, name: str) -> _Costs:
        costs = self._costs.get(name)
        if costs is None:
            costs = self._costs[name] = _Costs(listed=self._is_listed(name))
        return costs

    def _seen(self, decision: OpenDecision, outcome: Outcome) -> _Seen | None:
        """Return the cost of an outcome; None if it is unknown, or of another kind than those of today."""
        if self._latest is not None and self._latest[0] is outcome:
            return self._latest[1]
        name = outcome.served_provider
        prices, costs = decision.prices.get(name), self._costs_of(name)
        usage = usage_usd(outcome, prices)
        cost = outcome.cost_usd if outcome.cost_usd is not None else usage
        if cost is None or (prices is not None) != costs.listed:
            return None
        typical = costs.typical_usd(prices, decision.input_tokens)
        by_list = None
        if usage and outcome.cost_usd is not None:
            by_list = bin_of(cost / usage)
        seen = _Seen(cost, typical, usage, (bin_of(cost / typical), by_list))
        self._latest = outcome, seen
        return seen

    def verdict(self, decision: OpenDecision, outcome: Outcome) -> Verdict:
        """Judge the cost of an outcome by the limits in force."""
        seen = self._seen(decision, outcome)
        if seen is None:
            cost = decision.cost_of(outcome)
            return Verdict(cost, cost)
        costs = self._costs[outcome.served_provider]
        history, by_list = costs.history.limits, costs.by_list.limits
        bin_, list_bin = seen.bins
        cost, usage = seen.cost_usd, seen.usage_usd
        if list_bin is not None and cost and not by_list.low <= list_bin <= by_list.high:
            # The list may be wrong, by what the provider's other costs are to their usage.
            usual_usd = (usage or 0.0) * by_list.typical_ratio
            fits = bin_of(usual_usd / seen.typical_usd) <= history.high or _is_possible(outcome)
            return Verdict(None, usual_usd if fits else None, is_doubted=True)
        is_far = bin_ > history.high or (bin_ < history.low and cost > 0 and usage is None)
        if is_far and (usage is None or not _is_possible(outcome)):
            return Verdict(None, None, is_doubted=True)
        learned = cost if bin_ <= history.clip else history.clip_ratio * seen.typical_usd
        return Verdict(learned, cost)

    def _doubt(self, decision: OpenDecision) -> ImplausibleOutcome:
        outcome = decision.outcome
        assert outcome is not None, "a decision without outcome has no cost"
        seen, name = self._seen(decision, outcome), outcome.served_provider
        assert seen is not None, "what is not seen is not doubted"
        costs = self._costs[name]
        if seen.usage_usd and seen.bins[1] is not None and _is_possible(outcome):
            expected = seen.usage_usd * costs.by_list.range.limits.typical_ratio
        else:
            expected = seen.typical_usd * costs.history.range.limits.typical_ratio
        return ImplausibleOutcome(
            provider=name,
            quantity="cost",
            value=seen.cost_usd,
            expected=expected,
            likely_error=likely_error("cost", value=seen.cost_usd, expected=expected),
            decision_id=decision.id,
            at_seq=decision.seq,
        )

    def count(self, decision: OpenDecision, outcome: Outcome, *, sign: int, recount: Recount) -> None:
        """Count the cost of an outcome (sign 1) or take it back (sign -1).

        If that moves a limit, ``recount`` takes out and puts in again the costs that it judges anew; the cost
        of this decision must be out meanwhile. A call that failed says nothing about what others cost.
        """
        seen = self._seen(decision, outcome)
        if seen is None:
            return
        costs, (bin_, list_bin) = self._costs[outcome.served_provider], seen.bins
        pairs = (
            [(costs.history, bin_)]
            if list_bin is None
            else [(costs.history, bin_), (costs.by_list, list_bin)]
        )
        if sign < 0:
            for measure, bin_ in pairs:
                measure.forget(decision, bin_)
            self._held.pop(decision.id, None)
        if outcome.status == "ok":
            for measure, bin_ in pairs:
                (measure.range.add if sign > 0 else measure.range.remove)(decision.seq, bin_)
                self._follow(outcome.served_provider, measure, recount, without=decision)
        if sign > 0:
            for measure, bin_ in pairs:
                measure.remember(decision, bin_)

    def _follow(
        self, name: str, measure: _Measure, recount: Recount, *, without: OpenDecision | None = None
    ) -> None:
        """Put the limits of a range in force."""
        moved = measure.moved()
        if moved is None:
            return
        limits, spans = moved
        if not measure.covers(spans):
            which = self._costs[name].measures.index(measure)
            measure.gather(self._served_by(name, which, without=without), limits)
        touched = measure.within(spans)
        for decision in touched:
            recount(decision, -1)
        measure.limits = limits
        for decision in touched:
            recount(decision, 1)

    def _served_by(
        self, name: str, which: int, *, without: OpenDecision | None = None
    ) -> Iterator[tuple[OpenDecision, int]]:
        """Yield the open decisions that a provider served, and the bin of each by one of the measures."""
        for decision in self._decisions():
            outcome = decision.outcome
            if outcome is None or outcome.served_provider != name or decision is without:
                continue
            seen = self._seen(decision, outcome)
            if seen is not None and (bin_ := seen.bins[which]) is not None:
                yield decision, bin_

    def typical_usd(self, decision: OpenDecision) -> float:
        """Return the USD of a typical call of the selected provider by the price list of the decision."""
        name = decision.selected
        return self._costs_of(name).typical_usd(decision.prices.get(name), decision.input_tokens)

    def forget_costs_before(self, name: str, seq: int, recount: Recount) -> None:
        """Judge a provider's costs by those of decisions from ``seq`` on alone."""
        for measure in self._costs_of(name).measures:
            measure.range.forget_before(seq)
            self._follow(name, measure, recount)

    def restart(self, name: str) -> None:
        """See a provider's costs anew by its open decisions, after the price lists of these have changed."""
        self._latest = None
        costs = self._costs[name] = _Costs(listed=self._is_listed(name))
        for which, measure in enumerate(costs.measures):
            for decision, bin_ in self._served_by(name, which):
                if decision.outcome is not None and decision.outcome.status == "ok":
                    measure.range.add(decision.seq, bin_)
            measure.adopt()

    def hold(self, decision: OpenDecision, verdict: Verdict) -> None:
        """Keep the cost of a decision in quarantine, or release it."""
        if verdict.is_doubted:
            self._held[decision.id] = decision
        else:
            self._held.pop(decision.id, None)

    def watch_latency(self, decision: OpenDecision, outcome: Outcome, *, sign: int) -> None:
        """Note (sign 1) that the latency of an outcome was counted, or (sign -1) taken back."""
        if sign < 0:
            self._slow.pop(decision.id, None)
        elif self.is_slow(outcome, reach=_LIKELY):
            self._slow[decision.id] = decision

    def is_slow(self, outcome: Outcome, *, reach: float = 1.0) -> bool:
        """Whether an outcome took longer than is plausible, or ``reach`` times that."""
        latency = self._latency.get(outcome.served_provider)
        if outcome.latency_s is None or outcome.status != "ok" or latency is None:
            return False
        return latency.is_beyond(outcome.latency_s, share=reach)

    def _latency_doubt(self, decision: OpenDecision) -> ImplausibleOutcome | None:
        outcome = decision.outcome
        if outcome is None or outcome.latency_s is None or not self.is_slow(outcome):
            return None
        value, expected = outcome.latency_s, self._latency[outcome.served_provider].expected_s()
        return ImplausibleOutcome(
            provider=outcome.served_provider,
            quantity="latency",
            value=value,
            expected=expected,
            likely_error=likely_error("latency", value=value, expected=expected),
            decision_id=decision.id,
            at_seq=decision.seq,
        )

    def scale(self, name: str, unit_usd: float | None) -> float:
        """Return the factor by which a provider's costs differ from its price list; 1 within what is usual.

        Without a list, from the unit.
        """
        costs = self._costs.get(name)
        if costs is None:
            return 1.0
        if costs.listed:
            by_list = costs.by_list.range
            return scale_of((by_list if by_list.count > PRIOR else costs.history.range).typical_bin)
        return 1.0 if unit_usd is None else scale_of(costs.history.range.typical_bin - bin_of(unit_usd) + 1)

    def list_in_doubt(self, name: str, scale: float) -> ImplausibleOutcome:
        """Say that a provider's costs are ``scale`` times what its price list says."""
        last = self._costs[name].history.range.last_seq
        return ImplausibleOutcome(
            provider=name,
            quantity="prices",
            value=scale,
            expected=1.0,
            likely_error=likely_error("prices", value=scale, expected=1.0),
            decision_id="",
            at_seq=last,
            count=self._costs[name].history.range.count,
        )

    def close(self, decisions: Sequence[OpenDecision]) -> None:
        """Forget decisions that are closed, but for how many of them were in quarantine."""
        for costs in self._costs.values():
            for measure in costs.measures:
                measure.forget_closed(decisions)
        for decision in decisions:
            if self._held.pop(decision.id, None) is not None:
                _merge(self._closed, self._doubt(decision))
            if self._slow.pop(decision.id, None) is not None:
                doubt = self._latency_doubt(decision)
                if doubt is not None:
                    _merge(self._closed, doubt)

    def doubts(self) -> list[ImplausibleOutcome]:
        """Return the latest of each kind of cost that is, or was at its end, in quarantine, and how many."""
        kinds = dict(self._closed)
        for decision in sorted(self._held.values(), key=lambda decision: decision.seq):
            _merge(kinds, self._doubt(decision))
        for decision in sorted(self._slow.values(), key=lambda decision: decision.seq):
            if (doubt := self._latency_doubt(decision)) is not None:
                _merge(kinds, doubt)
        return [kinds[kind] for kind in sorted(kinds)]

    def state(self) -> State:
        """Return the latest costs of each provider, and what was in quarantine; the rest follows from it."""
        # By name: whose cost was seen first depends on how a process came to its state.
        names = sorted(self._costs)
        ranges = {
            f"{which}{i}": measure.range.state()
            for i, name in enumerate(names)
            for which, measure in zip(_MEASURES, self._costs[name].measures, strict=True)
        }
        return {
            "names": texts(names),
            "closed": packed(list(self._closed.values())),
            **joined(**ranges),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`, with the same open decisions."""
        for i, name in enumerate(from_texts(state["names"])):
            costs = self._costs[name] = _Costs(listed=self._is_listed(name))
            for which, measure in zip(_MEASURES, costs.measures, strict=True):
                measure.range.restore(part(state, f"{which}{i}"))
                measure.adopt()
        for doubt in unpacked(state["closed"], list[ImplausibleOutcome]):
            _merge(self._closed, doubt)
        for decision in self._decisions():
            if decision.outcome is not None:
                self.hold(decision, self.verdict(decision, decision.outcome))
                self.watch_latency(decision, decision.outcome, sign=1)


_MEASURES: Final = ("history", "by_list")


def _merge(kinds: dict[tuple[str, str, str], ImplausibleOutcome], doubt: ImplausibleOutcome) -> None:
    """Count a doubt among those of its kind."""
    other = kinds.get(doubt.kind)
    if other is not None:
        latest = doubt if doubt.at_seq >= other.at_seq else other
        doubt = replace(latest, count=doubt.count + other.count)
    kinds[doubt.kind] = doubt


def is_near(outcome: Outcome, prices: Prices | None, *, expected_usd: float) -> bool:
    """Whether the cost of an outcome is plausible without any history.

    By what its usage costs at these prices, or else by what was expected; if neither is known it is.
    """
    usage = usage_usd(outcome, prices)
    if outcome.cost_usd is None:
        return _is_possible(outcome)
    is_explained = bool(usage) and _is_possible(outcome)
    basis_usd = usage if is_explained else expected_usd
    if not outcome.cost_usd or not basis_usd:
        return True
    reach = PRICED_REACH if is_explained else REACH
    return abs(bin_of(outcome.cost_usd / basis_usd) - bin_of(1.0)) <= reach


def _is_possible(outcome: Outcome) -> bool:
    """Whether a call can have had such usage."""
    return (outcome.output_tokens or 0) <= MOST_OUTPUT_TOKENS and (
        outcome.input_tokens or 0
    ) <= MOST_INPUT_TOKENS
