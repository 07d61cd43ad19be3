"""An outage takes a provider's traffic within a few calls and gives it back as soon as it is well."""

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import CircuitChanged, Context, Feedback, Outcome, Provider, Route

NONE = Context(features=np.empty(0))
QUALITY = {"best": 0.9, "next": 0.8, "last": 0.6}


class Traffic:
    """Requests to a router, one after the other; ``failing`` names the providers in an outage.

    If there is a ``rescuer``, it serves what others failed to, and both calls are reported.
    """

    def __init__(self, *names: str, seed: int = 1) -> None:
        self.router = Router(Route(name="toy", providers=tuple(Provider(name=name) for name in names)))
        self.rng, self.i, self.failing = np.random.default_rng(seed), 0, set()
        self.rescuer = ""

    def serve(self, n: int, *, share: float = 1.0) -> np.ndarray:
        """Serve n requests, of which ``share`` fail where an outage is; the propensities, (n, k)."""
        chances = []
        for _ in range(n):
            name = str(self.i)
            decision = self.router.decide(NONE, decision_id=name, draw=float(self.rng.random()))
            chances.append(decision.probabilities)
            self.router.learn(decision)
            failed = decision.selected in self.failing and self.rng.random() < share
            self.i += 1
            if failed and self.rescuer:
                for revision, (served, status) in enumerate(
                    [(decision.selected, "error"), (self.rescuer, "ok")]
                ):
                    self.router.learn(
                        Outcome(decision_id=name, served_provider=served, status=status, revision=revision)
                    )
                continue
            status, latency_s = ("error", 0.01) if failed else ("ok", 1.0)
            self.router.learn(
                Outcome(
                    decision_id=name, served_provider=decision.selected, status=status, latency_s=latency_s
                )
            )
            value = 0.0 if failed else QUALITY[decision.selected] + 0.1 * float(self.rng.random() - 0.5)
            self.router.learn(Feedback(decision_id=name, value=value))
        return np.array(chances)


@pytest.fixture(name="traffic")
def _traffic() -> Traffic:
    traffic = Traffic("best", "next")
    assert traffic.serve(300)[-1, 0] > 0.95
    return traffic


@pytest.mark.parametrize("length", [100, 600])
def test_an_outage_is_noticed_within_a_few_calls_and_over_as_soon_as_the_provider_is_well(traffic, length):
    traffic.failing = {"best"}
    during = traffic.serve(length)
    assert (during[20:, 0] < 0.05).all()
    assert (during[20:, 0] > 0.0).all()
    traffic.failing = set()
    after = traffic.serve(200)
    assert after[150, 0] > 0.9
    changes = [change.state for change in traffic.router.circuit_changes]
    assert changes[0] == "open" and changes[-1] == "closed"
    assert not traffic.router.circuits


def test_an_outage_is_noticed_although_another_provider_serves_after_each_failure(traffic):
    traffic.failing, traffic.rescuer = {"best"}, "next"
    during = traffic.serve(100)
    assert (during[20:, 0] < 0.05).all()
    traffic.failing = set()
    assert traffic.serve(150)[-1, 0] > 0.9
    changes = [change.state for change in traffic.router.circuit_changes]
    assert changes == ["open", "half_open", "closed"]


def test_a_failed_call_that_another_made_good_can_be_corrected_after_a_restart(traffic, tmp_path):
    traffic.failing, traffic.rescuer = {"best"}, "next"
    first = traffic.i
    traffic.serve(20)
    traffic.router.save(tmp_path / "router")
    again = Traffic("best", "next").router
    again.load(tmp_path / "router")
    assert again.circuits == traffic.router.circuits and again.circuits["best"].state == "open"
    for i in range(first, first + 20):
        for router in (again, traffic.router):
            router.learn(Outcome(decision_id=str(i), served_provider="best", revision=1))
            router.learn(Outcome(decision_id=str(i), served_provider="next", revision=2))
    for router in (again, traffic.router):
        decision = router.decide(NONE, decision_id="after", draw=0.5)
        assert not router.circuits
        assert decision.probabilities[0] > 0.9 and decision.candidates[0].expected.failure == 0.0


def test_the_decision_says_what_is_expected_of_it_and_why_it_gets_so_little(traffic):
    before = traffic.router.decide(NONE, decision_id="before", draw=0.5).candidates[0].expected
    traffic.failing = {"best"}
    traffic.serve(20)
    best, following = traffic.router.decide(NONE, decision_id="during", draw=0.5).candidates
    assert best.eligible and 0.0 < best.propensity <= 0.04
    assert best.expected.failure == pytest.approx(0.9)
    assert best.expected.quality == pytest.approx(0.1 * before.quality, rel=0.05)
    assert best.reason is not None and "circuit is open" in best.reason
    assert following.reason is None


def test_failures_teach_nothing_but_failure(traffic):
    before = traffic.router.decide(NONE, decision_id="before", draw=0.5).candidates[0].expected
    traffic.failing = {"best"}
    traffic.serve(60)
    traffic.failing = set()
    traffic.serve(200)
    after = traffic.router.decide(NONE, decision_id="after", draw=0.5).candidates[0].expected
    assert after.quality == pytest.approx(before.quality, abs=0.01)
    assert after.latency_s == pytest.approx(1.0)
    assert after.failure < 0.02


def test_a_provider_alone_serves_whatever_its_circuit():
    traffic = Traffic("best")
    traffic.failing = {"best"}
    assert (traffic.serve(30) == 1.0).all()
    assert traffic.router.circuits["best"].state == "open"


def test_where_every_circuit_is_open_the_policy_chooses_among_all():
    traffic = Traffic("best", "next", "last")
    traffic.serve(200)
    traffic.failing = set(QUALITY)
    during = traffic.serve(200)
    assert set(traffic.router.circuits) == set(QUALITY)
    np.testing.assert_allclose(during.sum(axis=1), 1.0)
    traffic.failing = {"next", "last"}
    assert traffic.serve(100)[-1, 0] > 0.8


def test_where_all_are_in_an_outage_the_first_that_is_well_again_is_found_and_serves():
    traffic = Traffic("best", "next", "last")
    traffic.serve(200)
    traffic.failing = set(QUALITY)
    # The policy's half, and equal parts of the other, of which exploration takes very little.
    chances = traffic.serve(200)[-1]
    assert chances.min() >= 0.999 / 6 and chances.max() > 0.5
    traffic.failing = {"best", "last"}
    during = traffic.serve(200)
    assert (during[60:, 1] > 0.9).all()
    assert (during[60:, 0] > 0.03).all()
    traffic.failing = {"last"}
    assert traffic.serve(150)[-1, 0] > 0.9


def test_a_provider_that_fails_three_calls_in_ten_is_priced_at_its_worth():
    traffic = Traffic("best", "last")
    traffic.failing = {"best"}
    traffic.serve(600, share=0.3)
    best, last = traffic.router.decide(NONE, decision_id="after", draw=0.5).candidates
    assert best.expected.quality == pytest.approx(0.63, abs=0.05)
    assert last.expected.quality == pytest.approx(0.6, abs=0.03)


def test_changes_of_a_circuit_from_elsewhere_are_noted_once(traffic):
    change = CircuitChanged(provider="best", state="open", at_seq=7, failures=3)
    traffic.router.learn(change)
    traffic.router.learn(change)
    assert traffic.router.circuit_changes == [change]
    with pytest.raises(InvalidInput, match="'other', which is not on the route"):
        traffic.router.learn(CircuitChanged(provider="other", state="open", at_seq=7, failures=3))
    with pytest.raises(InvalidInput, match="circuit is 'ajar'"):
        CircuitChanged(provider="best", state="ajar", at_seq=7, failures=3)


def test_outcomes_in_any_order_lead_to_the_same_circuits_and_expectations(traffic):
    traffic.failing = {"best"}
    decisions = []
    for i in range(40):
        decision = traffic.router.decide(NONE, decision_id=f"x{i}", draw=i / 40)
        traffic.router.learn(decision)
        decisions.append(decision)
    outcomes = [
        Outcome(
            decision_id=d.id, served_provider=d.selected, status="ok" if d.selected == "next" else "timeout"
        )
        for d in decisions
    ]
    results = []
    for order in (range(40), reversed(range(40))):
        other = Traffic("best", "next").router
        for d in decisions:
            other.learn(d)
        for i in order:
            other.learn(outcomes[i])
        results.append((other.circuits, other.decide(NONE, decision_id="y", draw=0.5).expected))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
