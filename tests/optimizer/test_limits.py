"""Limits of latency and cost: who serves under them, who is tried, and what the decision says."""

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.models.circuit import PROBE_SHARE
from fairlead.optimizer.persistence.event_log import encode, read_log
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Constraints, Context, Decision, Feedback, Outcome, Route
from tests.optimizer.toy import COST, assert_same_statistics, provider

NONE = Context(features=np.empty(0))
QUALITY = {"cheap": 0.5, "middle": 0.8, "dear": 0.9}
USUAL = dict.fromkeys(QUALITY, 1.0)


class Traffic:
    """Requests to a router of these providers with these constraints; those in ``failing`` have an outage."""

    def __init__(
        self, constraints: Constraints | None = None, *, names=tuple(COST), detect_drift=True, **more
    ) -> None:
        providers = tuple(provider(name, usd) for name, usd in COST.items() if name in names)
        more = {"constraints": constraints or Constraints(), **more}
        self.router = Router(Route(name="toy", providers=providers, **more), detect_drift=detect_drift)
        self.rng, self.i, self.decisions, self.events = np.random.default_rng(1), 0, [], []
        self.draws: list[float] = []
        self.failing: set[str] = set()

    def ask(self, **more):
        self.draws.append(float(self.rng.random()))
        return self.router.decide(NONE, decision_id=f"x{self.i}", draw=self.draws[-1], **more)

    def serve(self, n, *, latency_s=USUAL, **more) -> np.ndarray:
        """Serve n requests; the propensities, (n, k)."""
        for _ in range(n):
            decision, name = self.ask(**more), f"x{self.i}"
            served = decision.selected
            value = QUALITY[served] + 0.1 * float(self.rng.random() - 0.5)
            came = [
                decision,
                Outcome(
                    decision_id=name,
                    served_provider=served,
                    latency_s=latency_s[served] * float(self.rng.lognormal(0.0, 0.2)),
                    cost_usd=COST[served],
                ),
                Feedback(decision_id=name, value=value),
            ]
            if served in self.failing:
                came[1:] = [Outcome(decision_id=name, served_provider=served, status="error")]
            for event in came:
                self.router.learn(event)
            self.decisions.append(decision)
            self.events += came
            self.i += 1
        return np.array([decision.probabilities for decision in self.decisions[-n:]])


def test_a_provider_that_turns_slow_leaves_within_some_ten_calls_and_returns_when_it_is_quick():
    traffic = Traffic(Constraints(max_latency_s=4.0))
    assert traffic.serve(300, latency_s={**USUAL, "dear": 2.0})[-1, 2] > 0.9
    during = traffic.serve(150, latency_s={**USUAL, "dear": 9.0})
    assert (during[25:, 2] <= 0.02).all() and (during[25:, 2] > 0.0).all()
    decision = traffic.ask()
    reason = decision.candidates[2].reason
    assert "above the latency limit of 4 s" in reason
    assert decision.candidates[2].eligible and decision.candidates[2].expected.latency_s > 4.0
    assert [(alarm.provider, alarm.quantity) for alarm in traffic.router.alarms] == [("dear", "latency")]
    assert traffic.serve(300, latency_s={**USUAL, "dear": 2.0})[-1, 2] > 0.9


def test_a_better_provider_that_is_always_late_keeps_nobody_out_who_turned_quick_again():
    traffic = Traffic(Constraints(max_latency_s=4.0))
    late = {**USUAL, "dear": 9.0}
    traffic.serve(300, latency_s=late)
    traffic.serve(150, latency_s={**late, "middle": 9.0})
    after = traffic.serve(300, latency_s=late)
    assert (after[200:, 1] > 0.9).all()
    assert (after[:, 2] <= 0.02).all() and (after[:, 2] > 0.0).all()


def test_where_all_are_beyond_the_one_that_turns_quick_is_found_though_a_better_one_serves():
    traffic = Traffic(Constraints(max_latency_s=4.0), names=("middle", "dear"))
    slow = {**USUAL, "middle": 9.0, "dear": 6.0}
    during = traffic.serve(200, latency_s=slow)
    assert during[-1, 1] > 0.9 and 0.01 < during[-1, 0] <= 0.02
    assert traffic.serve(300, latency_s={**slow, "middle": 1.0})[-1, 0] > 0.9


def test_after_an_outage_the_one_that_meets_the_limit_returns_though_a_better_one_served():
    traffic = Traffic(Constraints(max_latency_s=4.0), names=("middle", "dear"))
    late = {**USUAL, "dear": 9.0}
    assert traffic.serve(200, latency_s=late)[-1, 0] > 0.9
    traffic.failing = {"middle"}
    assert traffic.serve(100, latency_s=late)[-1, 0] == pytest.approx(PROBE_SHARE, rel=1e-3)
    traffic.failing = set()
    assert traffic.serve(150, latency_s=late)[-1, 0] > 0.9


def test_one_slow_call_in_four_moves_nobody():
    traffic = Traffic(Constraints(max_latency_s=4.0))
    traffic.serve(300)
    for _ in range(60):
        traffic.serve(1, latency_s={**USUAL, "dear": 9.0})
        traffic.serve(3)
    assert traffic.serve(10)[-1, 2] > 0.9


@pytest.mark.parametrize("limit", [0.0, 1e-12])
@pytest.mark.parametrize("name", ["max_cost_usd", "max_latency_s", "max_tail_latency_s"])
def test_below_every_provider_the_least_bad_serves_or_with_strict_nobody(name, limit):
    traffic = Traffic()
    speeds = {"cheap": 0.5, "middle": 2.0, "dear": 6.0}
    traffic.serve(40, latency_s=speeds)
    for _ in range(20):
        decision = traffic.ask(constraints=Constraints(**{name: limit}))
        assert decision.relaxed == (name,)
        assert decision.probabilities[0] > 0.9  # it is the cheapest and the quickest
    with pytest.raises(NoEligibleProvider, match=r"cheap .*middle .*dear .* above the"):
        traffic.ask(constraints=Constraints(strict=True, **{name: limit}))


def test_strict_of_route_or_request_holds_for_both():
    for route_is_strict in (True, False):
        traffic = Traffic(Constraints(strict=route_is_strict, max_cost_usd=5e-3))
        decision = traffic.ask(constraints=Constraints(strict=not route_is_strict))
        assert decision.probabilities[2] == 0.0 and decision.relaxed == ()
        assert "above the limit" in decision.ineligible["dear"]
        with pytest.raises(NoEligibleProvider, match="is not among the candidates"):
            traffic.ask(candidates=("dear",), constraints=Constraints(strict=not route_is_strict))
    traffic = Traffic(Constraints(max_cost_usd=5e-3))
    decision = traffic.ask(candidates=("dear",))
    assert (decision.selected, decision.relaxed) == ("dear", ("max_cost_usd",))


def test_strict_rules_out_who_has_no_history_and_leniency_tries_them():
    traffic = Traffic(Constraints(max_latency_s=4.0))
    decision = traffic.ask()
    assert (decision.probabilities > 0.0).all() and decision.relaxed == ("max_latency_s",)
    with pytest.raises(NoEligibleProvider, match="has no latency history"):
        traffic.ask(constraints=Constraints(strict=True))
    traffic.serve(200)
    assert traffic.ask(constraints=Constraints(strict=True)).relaxed == ()


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 1e308, -1.0, -1e308])
@pytest.mark.parametrize("name", ["max_cost_usd", "max_latency_s", "max_tail_latency_s"])
def test_limits_that_are_no_limits_are_refused(name, limit):
    with pytest.raises(InvalidInput, match=name):
        Constraints(**{name: limit})


def test_a_huge_limit_limits_nobody_that_has_a_history():
    traffic = Traffic()
    traffic.serve(100)
    most = {"max_cost_usd": 1e4, "max_latency_s": 1e4, "max_tail_latency_s": 1e4}
    plain, limited = (
        traffic.router.decide(NONE, decision_id="y", draw=0.5, constraints=constraints)
        for constraints in (None, Constraints(**most))
    )
    np.testing.assert_array_equal(plain.probabilities, limited.probabilities)
    assert limited.relaxed == ()


@pytest.mark.parametrize("seed", range(3))
def test_corrected_outcomes_in_any_order_end_where_a_clean_log_does(seed):
    rng = np.random.default_rng(seed)
    traffic = Traffic(Constraints(max_latency_s=4.0))
    traffic.serve(60)
    decisions = []
    for i in range(60):
        decisions.append(traffic.router.decide(NONE, decision_id=f"c{i}", draw=float(rng.random())))
        traffic.router.learn(decisions[-1])

    def outcome(decision, revision, status) -> Outcome:
        return Outcome(
            decision_id=decision.id,
            served_provider=decision.selected,
            status=status,
            latency_s=float(rng.choice([1.0, 9.0])),
            cost_usd=COST[decision.selected],
            revision=revision,
        )

    final = [outcome(d, 5, "error" if i > 30 else "ok") for i, d in enumerate(decisions)]
    drafts = [
        outcome(d, revision, str(rng.choice(["ok", "error", "timeout"])))
        for d in decisions
        for revision in (1, 2)
    ]
    states = []
    for reports in ([*final], [*drafts, *final]):
        order = rng.permutation(len(reports)) if len(reports) > len(final) else range(len(final))
        # With the alarms of drift in the log, and not by the order in which drafts happen to come.
        other = Traffic(Constraints(max_latency_s=4.0), detect_drift=False)
        for event in [*traffic.events, *decisions, *(reports[i] for i in order)]:
            other.router.learn(event)
        other.router.refit()
        states.append((other.router, other.router.decide(NONE, decision_id="y", draw=0.5)))
    (clean, first), (corrected, second) = states
    assert clean.circuits == corrected.circuits != {}
    assert_same_statistics(clean, corrected)
    # Latency and failure rate; the widths of quality and cost are iterated from the fit before.
    np.testing.assert_array_equal(first.expected[4:], second.expected[4:])
    np.testing.assert_allclose(first.probabilities, second.probabilities, atol=0.01)
    assert first.on_trial == second.on_trial


def test_a_served_log_with_probes_and_relaxed_limits_is_read_and_decided_again_as_it_was(tmp_path):
    traffic = Traffic(Constraints(max_cost_usd=5e-3, max_latency_s=4.0))
    traffic.serve(80)
    traffic.serve(120, latency_s={**USUAL, "middle": 9.0})
    assert any(decision.relaxed for decision in traffic.decisions)
    assert any(decision.on_trial for decision in traffic.decisions)
    path = tmp_path / "log.jsonl"
    path.write_text("".join(encode(event) + "\n" for event in traffic.events), encoding="utf-8")
    again = [event for event in read_log(path) if isinstance(event, Decision)]
    for before, after in zip(traffic.decisions, again, strict=True):
        assert (before.relaxed, before.on_trial) == (after.relaxed, after.on_trial)
    other = Traffic(Constraints(max_cost_usd=5e-3, max_latency_s=4.0)).router
    draws = iter(traffic.draws)
    for event in read_log(path):
        if isinstance(event, Decision):
            repeated = other.decide(NONE, decision_id=event.id, draw=next(draws))
            np.testing.assert_array_equal(repeated.probabilities, event.probabilities)
            assert (repeated.selected, repeated.relaxed) == (event.selected, event.relaxed)
        other.learn(event)
