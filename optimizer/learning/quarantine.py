"""Costs that cannot be right: they wait, without being learned or paid, until more of their kind have come.

A cost is judged twice. If its usage is reported and there is a price list, by the list: reported USD over
usage × price. And by history: USD over what the list says of a typical call (or, without a list, over 1 USD).
What is beyond the range of a provider's latest costs is quarantined: it is in the log, its money counts as
expected, and as soon as enough others agree with it, it is learned and booked as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fairlead.optimizer.learning.open_decision import OpenDecision, is_possible, usage_usd
from fairlead.optimizer.models.latency import LatencyBelief
from fairlead.optimizer.models.plausibility import (
    LEAST_CONFIRMED,
    PRICED_REACH,
    PRIOR,
    REACH,
    ListCheck,
    Measure,
    bin_of,
    likely_error,
    scale_of,
)
from fairlead.optimizer.models.pricing import TYPICAL_INPUT_TOKENS, call_price
from fairlead.optimizer.types.arrays import State, from_texts, joined, packed, part, texts, unpacked
from fairlead.optimizer.types.events import ImplausibleOutcome, Outcome
from fairlead.optimizer.types.route import Prices

_LIKELY: Final = 0.25
"""Share of the most plausible latency from which one is watched: the range may shrink later."""

Recount = Callable[[OpenDecision, int], None]
"""Puts a decision's cost in (sign 1) or takes it out (sign -1), as the limits in force have it."""


class Verdict(NamedTuple):
    """What the cost of an outcome counts as, None if it is not known or not believed."""

    learned_usd: float | None = None
    """USD that the cost model learns, at most what one call may weigh."""
    booked_usd: float | None = None
    """USD that are spent; None: what was expected."""
    is_doubted: bool = False


class _Costs:
    """The costs of one provider, of which none is known yet."""

    def __init__(self, *, listed: bool) -> None:
        self.listed = listed
        """Whether they are seen relative to a price list, and not to 1 USD."""
        prior = PRIOR if listed else 0
        self.history = Measure[OpenDecision](prior=prior, reach=REACH, clips=True)
        self.by_list = Measure[OpenDecision](prior=prior, reach=PRICED_REACH, clips=False)
        self.measures = self.history, self.by_list
        """Both measures, in the order of `_Seen.bins`."""
        self.list_check = ListCheck()
        self._prices: Prices | None = None
        self._price = call_price(None, 1.0)

    @property
    def is_new(self) -> bool:
        """Whether there are fewer costs than confirm each other, so that what is expected is the list's."""
        return self.listed and self.history.range.count < LEAST_CONFIRMED

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
    is_invoiced: bool
    """Whether the cost was reported; else it is its usage at the price list."""


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
        seen = _Seen(cost, typical, usage, (bin_of(cost / typical), by_list), outcome.cost_usd is not None)
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
            if costs.is_new and cost < usual_usd:
                # Nothing but the list speaks against the invoice, and money not spent must not be missing.
                return Verdict(None, cost, is_doubted=True)
            fits = bin_of(usual_usd / seen.typical_usd) <= history.high or is_possible(outcome)
            return Verdict(None, usual_usd if fits else None, is_doubted=True)
        is_low = bin_ < history.low and cost > 0 and usage is None
        if (is_low or bin_ > history.high) and (usage is None or not is_possible(outcome)):
            return Verdict(None, cost if is_low and costs.is_new else None, is_doubted=True)
        learned = cost if bin_ <= history.clip else history.clip_ratio * seen.typical_usd
        # What only its usage tells is what other invoices say of such usage.
        factor = 1.0 if seen.is_invoiced else costs.list_check.factor
        return Verdict(learned * factor, cost * factor)

    def _doubt(self, decision: OpenDecision) -> ImplausibleOutcome:
        outcome = decision.outcome
        assert outcome is not None, "a decision without outcome has no cost"
        seen, name = self._seen(decision, outcome), outcome.served_provider
        assert seen is not None, "what is not seen is not doubted"
        costs = self._costs[name]
        if seen.usage_usd and seen.bins[1] is not None and is_possible(outcome):
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
            was_new = costs.is_new
            for measure, bin_ in pairs:
                (measure.range.add if sign > 0 else measure.range.remove)(decision.seq, bin_)
                self._follow(outcome.served_provider, measure, recount, without=decision)
            if costs.is_new != was_new:
                self._judge_again(self._doubted(outcome.served_provider, decision), recount)
            self._check_list(decision, outcome, sign=sign, recount=recount)
        if sign > 0:
            for measure, bin_ in pairs:
                measure.remember(decision, bin_)

    def _check_list(self, decision: OpenDecision, outcome: Outcome, *, sign: int, recount: Recount) -> None:
        """Compare an invoice with the list; if it is wrong by another factor, judge anew what has none."""
        name = outcome.served_provider
        if not self._compare(decision, outcome, sign=sign):
            return
        touched = [
            each
            for each in self._decisions()
            if each is not decision
            and each.outcome is not None
            and each.outcome.served_provider == name
            and each.outcome.cost_usd is None
        ]
        self._judge_again(touched, recount, before=self._costs[name].list_check.adopt)

    def _compare(self, decision: OpenDecision, outcome: Outcome, *, sign: int) -> bool:
        """Compare an invoice with the list, or take that back; returns whether the list's factor moves."""
        name, seen = outcome.served_provider, self._seen(decision, outcome)
        if seen is None or not seen.is_invoiced:
            return False
        prices = decision.prices.get(name)
        listed = seen.usage_usd or (seen.typical_usd if prices and not prices.output_usd_per_mtok else None)
        if not listed:
            return False
        return self._costs[name].list_check.moves(decision.seq, seen.cost_usd, listed, sign=sign)

    def _doubted(self, name: str, without: OpenDecision) -> list[OpenDecision]:
        """Return the open decisions whose costs of a provider are in quarantine, by their seq."""
        held = [each for each in self._held.values() if each is not without and each.provider == name]
        return sorted(held, key=lambda each: each.seq)

    def _judge_again(
        self, decisions: list[OpenDecision], recount: Recount, *, before: Callable[[], None] | None = None
    ) -> None:
        """Take decisions out, and put them in as judged now, or after what happens ``before``."""
        for each in decisions:
            recount(each, -1)
        if before is not None:
            before()
        for each in decisions:
            recount(each, 1)

    def _follow(
        self,
        name: str,
        measure: Measure[OpenDecision],
        recount: Recount,
        *,
        without: OpenDecision | None = None,
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
        for decision, _ in self._served_by(name, 0):
            if decision.outcome is not None and decision.outcome.status == "ok":
                self._compare(decision, decision.outcome, sign=1)
        costs.list_check.adopt()

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
            by_list, check = costs.by_list.range, costs.list_check
            if by_list.count <= PRIOR and check.count >= LEAST_CONFIRMED:
                return check.scale  # usage tells a wrong list from answers of another length
            scale = scale_of((by_list if by_list.count > PRIOR else costs.history.range).typical_bin)
            return scale if scale != 1.0 else check.scale
        return 1.0 if unit_usd is None else scale_of(costs.history.range.typical_bin - bin_of(unit_usd) + 1)

    def _list_in_doubt(self, name: str, prices: Prices) -> ImplausibleOutcome | None:
        """Say what a provider's calls cost, and what its list says of the same calls, if they disagree."""
        costs = self._costs.get(name)
        if costs is None or not costs.listed:
            return None
        pair = costs.list_check.disagreement()
        if pair is None and costs.list_check.count <= PRIOR:
            # Without usage only costs of another power of ten tell: answers differ in length.
            typical = costs.typical_usd(prices, TYPICAL_INPUT_TOKENS)
            scale = self.scale(name, None)
            pair = (scale * typical, typical) if scale != 1.0 else None
        if pair is None:
            return None
        return ImplausibleOutcome(
            provider=name,
            quantity="prices",
            value=pair[0],
            expected=pair[1],
            likely_error=likely_error("prices", value=pair[0], expected=pair[1]),
            decision_id="",
            at_seq=costs.history.range.last_seq,
            count=costs.history.range.count,
        )

    def call_usd(self, names: Sequence[str]) -> dict[str, tuple[float, float]]:
        """Return the USD of a typical call of providers by invoice and by list, of those that have both."""
        checks = {name: self._costs[name].list_check for name in names if name in self._costs}
        return {name: pair for name, check in checks.items() if (pair := check.call_usd()) is not None}

    def lists_in_doubt(self, prices: Mapping[str, Prices]) -> list[ImplausibleOutcome]:
        """Name the price lists, by provider, that are not what calls cost."""
        doubts = (self._list_in_doubt(name, prices[name]) for name in prices)
        return [doubt for doubt in doubts if doubt is not None]

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
            **joined(
                **ranges, **{f"list{i}": self._costs[n].list_check.state() for i, n in enumerate(names)}
            ),
        }

    def restore(self, state: State) -> None:
        """Become what gave `state`, with the same open decisions."""
        for i, name in enumerate(from_texts(state["names"])):
            costs = self._costs[name] = _Costs(listed=self._is_listed(name))
            for which, measure in zip(_MEASURES, costs.measures, strict=True):
                measure.range.restore(part(state, f"{which}{i}"))
                measure.adopt()
            if checked := part(state, f"list{i}"):  # 0.1.0 had none
                costs.list_check.restore(checked)
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
