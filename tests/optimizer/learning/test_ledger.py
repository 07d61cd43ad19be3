import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.optimizer.errors import InvalidInput, UnknownDecision
from fairlead.optimizer.learning.ledger import Ledger
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.types import Feedback, Metric, Outcome

METRICS = (
    Metric(),
    Metric(name="stars", low=1.0, high=5.0, weight=3.0),
    Metric(name="complaints", low=0.0, high=10.0, higher_is_better=False, weight=0.7),
)


@dataclass(frozen=True)
class Choice:
    """The part of a decision that the new_ledger reads."""

    id: str
    seq: int
    selected: str = "a"


def opening(choice: Choice) -> OpenDecision:
    return OpenDecision(
        id=choice.id,
        seq=choice.seq,
        selected=choice.selected,
        features=np.zeros(2),
        row=None,
        providers=("a", "b", "c"),
        predicted=np.zeros((2, 3)),
        input_tokens=0.0,
        expected_usd=0.0,
        booked_usd=0.0,
        prices={},
    )


def new_ledger(**options) -> Ledger:
    return Ledger(providers=("a", "b", "c"), metrics=METRICS, **options)


def opened(n=1) -> Ledger:
    ledger = new_ledger()
    for seq in range(n):
        assert ledger.open(opening(Choice(f"d{seq}", seq))) == []
    return ledger


def rated(value, *, revision=0, metric="quality", source="code", decision_id="d0") -> Feedback:
    return Feedback(decision_id=decision_id, value=value, metric=metric, source=source, revision=revision)


def served(by="a", revision=0, decision_id="d0", **more) -> Outcome:
    return Outcome(decision_id=decision_id, served_provider=by, revision=revision, **more)


def test_feedback_becomes_quality_and_the_change_says_from_what_to_what():
    ledger = opened()
    change = ledger.apply(rated(0.25))
    assert change.decision is ledger.get("d0")
    assert (change.old_reward, change.new_reward) == (None, 0.25)
    assert (change.old_provider, change.new_provider) == ("a", "a")
    change = ledger.apply(rated(0.75, revision=1))
    assert (change.old_reward, change.new_reward) == (0.25, 0.75)


def test_a_failed_call_of_the_selected_provider_is_kept_when_another_serves():
    failed, rescued = served(status="error"), served("b", revision=1)
    for events in ([failed, rescued], [rescued, failed]):
        ledger = opened()
        changes = [ledger.apply(event) for event in events]
        entry, last = ledger.get("d0"), changes[-1]
        assert (entry.outcome, entry.provider, entry.failed_attempt) == (rescued, "b", failed)
        assert (last.old_attempt, last.new_attempt) == (None, failed)
    # What another provider had done counts only while it is in force.
    assert ledger.apply(served("c", status="error")) is None
    corrected = ledger.apply(served(revision=1))
    assert (corrected.old_attempt, corrected.new_attempt) == (failed, None)
    assert corrected.old_outcome is corrected.new_outcome is rescued
    again = ledger.apply(served(status="timeout", revision=2))
    assert (again.new_outcome.served_provider, entry.failed_attempt) == ("a", None)


def test_the_outcome_moves_the_credit_to_who_served():
    ledger = opened()
    ledger.apply(rated(0.5))
    outcome = served("b", cost_usd=0.1)
    change = ledger.apply(outcome)
    assert (change.old_provider, change.new_provider) == ("a", "b")
    assert (change.old_outcome, change.new_outcome) == (None, outcome)
    assert (change.old_reward, change.new_reward) == (0.5, 0.5)
    assert ledger.get("d0").provider == "b"


def test_repeats_and_older_revisions_change_nothing():
    ledger = opened()
    for event in (rated(0.5, revision=2), served("b", revision=2)):
        assert ledger.apply(event) is not None
        assert ledger.apply(event) is None
        assert ledger.apply(replace(event, revision=1)) is None
    assert ledger.apply(rated(0.9, revision=1)) is None
    assert ledger.apply(served("c", revision=1)) is None
    assert ledger.apply(served("b", revision=3)) is None
    assert ledger.apply(served("a", revision=2)) is None
    assert ledger.get("d0").outcome.revision == 3


def test_the_reward_is_the_weighted_mean_of_metrics_and_each_metric_the_mean_of_its_sources():
    ledger = opened()
    ledger.apply(rated(0.2, source="judge"))
    ledger.apply(rated(0.6, source="user"))
    assert ledger.get("d0").reward == pytest.approx(0.4)
    ledger.apply(rated(4.0, metric="stars", source="user"))
    assert ledger.get("d0").reward == pytest.approx((0.4 + 3 * 0.75) / 4)
    ledger.apply(rated(1.0, metric="complaints"))
    assert ledger.get("d0").reward == pytest.approx((0.4 + 3 * 0.75 + 0.7 * 0.9) / 4.7)
    assert [kept.metric for kept in ledger.get("d0").feedback] == [
        "complaints",
        "quality",
        "quality",
        "stars",
    ]


def test_none_takes_feedback_back():
    ledger = opened()
    ledger.apply(rated(0.2, source="judge"))
    ledger.apply(rated(0.6, source="user"))
    assert ledger.apply(rated(None, revision=1, source="judge")).new_reward == 0.6
    assert ledger.apply(rated(None, revision=1, source="user")).new_reward is None
    assert ledger.apply(rated(None, revision=2, source="user")) is None


def test_of_two_contents_of_one_revision_the_same_wins_whichever_came_first():
    pairs = [
        (rated(0.2), rated(0.7)),
        (rated(None), rated(0.0)),
        (served("a"), served("b")),
        (served(cost_usd=None), served(cost_usd=0.0)),
        (served(latency_s=1.0, status="error"), served(latency_s=2.0)),
        (served(input_tokens=5), served(output_tokens=5)),
    ]
    for left, right in pairs:
        forward, backward = opened(), opened()
        forward.apply(left), forward.apply(right)
        backward.apply(right), backward.apply(left)
        a, b = forward.get("d0"), backward.get("d0")
        assert (a.reward, a.outcome, a.provider, a.feedback) == (
            b.reward,
            b.outcome,
            b.provider,
            b.feedback,
        )


def test_events_wait_for_their_decision():
    ledger = new_ledger()
    assert ledger.apply(rated(0.5)) is None
    assert ledger.apply(rated(0.5)) is None
    assert ledger.apply(served("b")) is None
    assert len(ledger.pending) == 2
    assert ledger.pending == [rated(0.5), served("b")]
    first, second = ledger.open(opening(Choice("d0", 0)))
    assert (first.new_reward, second.new_provider) == (0.5, "b")
    assert not ledger.pending
    assert ledger.open(opening(Choice("d0", 0))) is None


def test_waiting_events_are_bounded_and_the_longest_waiting_goes_first():
    ledger = new_ledger(max_parked=3)
    for i in range(5):
        ledger.apply(rated(0.5, decision_id=f"x{i}"))
    assert (len(ledger.pending), ledger.evicted) == (3, 2)
    assert [event.decision_id for event in ledger.pending] == ["x2", "x3", "x4"]


def test_closed_decisions_take_no_more_events():
    ledger = opened(5)
    ledger.apply(rated(0.5, decision_id="late"))
    assert ledger.close_before(3) == 3
    assert ledger.close_before(2) == 0
    assert [entry.id for entry in ledger.decisions()] == ["d3", "d4"]
    with pytest.raises(UnknownDecision, match="'d0' is closed"):
        ledger.apply(rated(0.5))
    with pytest.raises(UnknownDecision, match="closed"):
        ledger.apply(served())
    assert ledger.open(opening(Choice("late", 1))) is None
    assert "late" not in ledger and not ledger.pending
    with pytest.raises(UnknownDecision, match="'late' is closed"):
        ledger.apply(rated(0.5, decision_id="late"))


def test_decisions_that_open_late_are_listed_and_closed_by_their_order():
    ledger = new_ledger()
    for seq in (4, 1, 3, 0, 2):
        ledger.open(opening(Choice(f"d{seq}", seq)))
    assert [entry.seq for entry in ledger.decisions()] == [0, 1, 2, 3, 4]
    assert ledger.close_before(2) == 2
    assert [entry.seq for entry in ledger.decisions()] == [2, 3, 4]
    assert len(ledger) == 3


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (served("zeta"), "'zeta', which is not on the route: choose from"),
        (rated(0.5, metric="taste"), "'taste', which the route does not declare: choose from"),
        (rated(1.5), r"outside \[0, 1\]"),
        (rated(0.0, metric="stars"), r"outside \[1, 5\]"),
    ],
)
def test_what_the_route_does_not_know_is_refused_whether_or_not_the_decision_is_open(event, sentence):
    for ledger in (opened(), new_ledger()):
        with pytest.raises(InvalidInput, match=sentence):
            ledger.apply(event)
        assert not ledger.pending
        assert all((e.reward, e.outcome) == (None, None) for e in ledger.decisions())


def test_an_id_stands_for_one_decision_and_a_provider_on_the_route():
    ledger = opened()
    with pytest.raises(InvalidInput, match="an id of its own"):
        ledger.open(opening(Choice("d0", 7)))
    with pytest.raises(InvalidInput, match="not on the route"):
        ledger.open(opening(Choice("d1", 1, "zeta")))
    ledger.add_provider("zeta")
    assert ledger.open(opening(Choice("d1", 1, "zeta"))) == []
    assert ledger.get("d1").provider == "zeta"


IDS = st.sampled_from(["d0", "d1", "d2"])
REVISIONS = st.integers(0, 2)
RATINGS = st.builds(
    lambda metric, share, **more: Feedback(
        metric=metric.name,
        value=None if share is None else metric.low + share * (metric.high - metric.low),
        **more,
    ),
    metric=st.sampled_from(METRICS),
    share=st.none() | st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]),
    decision_id=IDS,
    source=st.sampled_from(["code", "judge", "user"]),
    revision=REVISIONS,
)
SERVED = st.builds(
    Outcome,
    decision_id=IDS,
    served_provider=st.sampled_from("abc"),
    cost_usd=st.none() | st.sampled_from([0.0, 0.01]),
    output_tokens=st.none() | st.integers(0, 2),
    status=st.sampled_from(["ok", "error"]),
    revision=REVISIONS,
)
CHOICES = [Choice(f"d{seq}", seq, "abc"[seq]) for seq in range(3)]


def final(events) -> dict[str, tuple]:
    """Return what is in force in the end; every change must continue where the last one ended."""
    ledger = new_ledger()
    latest: dict[str, tuple] = {}
    attempts: dict[str, Outcome | None] = {}
    for event in events:
        if isinstance(event, Choice):
            changes = ledger.open(opening(event)) or []
            latest.setdefault(event.id, (None, None, event.selected))
        else:
            change = ledger.apply(event)
            changes = [] if change is None else [change]
        for change in changes:
            quality, outcome, provider = latest[change.decision.id]
            assert (change.old_reward, change.old_provider) == (quality, provider)
            assert change.old_attempt is attempts.get(change.decision.id)
            attempts[change.decision.id] = change.new_attempt
            assert outcome is None or replace(change.old_outcome, revision=0) == replace(outcome, revision=0)
            latest[change.decision.id] = (change.new_reward, change.new_outcome, change.new_provider)
    for entry in ledger.decisions():
        assert latest[entry.id][::2] == (entry.reward, entry.provider)
        assert attempts.get(entry.id) is entry.failed_attempt
    return {
        entry.id: (entry.reward, entry.outcome, entry.provider, entry.attempt) for entry in ledger.decisions()
    }


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(RATINGS | SERVED, max_size=25), st.integers(0, 2**32))
def test_any_order_with_any_repeats_ends_in_the_same(events, seed):
    rng = random.Random(seed)
    clean = final([*CHOICES, *events])
    again = [*CHOICES, *events, *rng.choices([*CHOICES, *events], k=10)]
    rng.shuffle(again)
    assert final(again) == clean
