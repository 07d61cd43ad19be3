"""Promote, keep, not enough evidence: when, in which words, and with what missing."""

from __future__ import annotations

import math

import pytest

from fairlead.experiments.ope.diagnostics import Finding
from fairlead.experiments.ope.intervals import Estimate
from fairlead.experiments.ope.verdict import more_decisions, recommend, round_up
from fairlead.optimizer.errors import InvalidInput

GOOD = Finding(name="a", measured=1.0, limit=0.0, passed=True, text="Fine.")


def gain(value: float, half: float, n: int = 1_000) -> Estimate:
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        standard_error=half / 2.0,
        n=n,
        level=0.95,
        method="asymptotic",
    )


def test_an_interval_above_nothing_promotes() -> None:
    verdict = recommend(gain(0.03, 0.02), [GOOD], target="linucb", incumbent="uniform")
    assert verdict.recommendation == "promote"
    assert verdict.sentence == (
        "Promote linucb: against uniform it earns +0.03 quality "
        "(interval +0.01 to +0.05 at 95% for a single look, 1,000 decisions)."
    )


def test_an_interval_below_nothing_keeps() -> None:
    assert recommend(gain(-0.03, 0.02), [], target="a", incumbent="b").recommendation == "keep"


def test_a_margin_asks_for_more_than_nothing() -> None:
    assert (
        recommend(gain(0.03, 0.02), [], target="a", incumbent="b", margin=0.02).recommendation
        == "not enough evidence"
    )
    assert recommend(gain(0.03, 0.02), [], target="a", incumbent="b", margin=0.06).recommendation == "keep"


def test_between_the_two_it_says_how_many_more() -> None:
    verdict = recommend(gain(0.02, 0.034), [GOOD], target="a", incumbent="b")
    assert verdict.recommendation == "not enough evidence"
    assert verdict.more_decisions == 1_900  # 1,000 · (1.7² − 1) = 1,890
    assert "about 1,900 more decisions at this exploration rate" in verdict.sentence


def test_equal_policies_are_not_told_to_wait_for_ever() -> None:
    for value in (0.0, 0.001):
        verdict = recommend(gain(value, 0.05), [GOOD], target="a", incumbent="b")
        assert verdict.more_decisions is None
        assert "too close" in verdict.sentence
    assert more_decisions(gain(0.1, math.inf)) is None


def test_a_failed_check_names_no_winner() -> None:
    bad = Finding(
        name="b", measured=20.0, limit=100.0, passed=False, text="Only 20 of 100.", more_decisions=812
    )
    verdict = recommend(gain(0.5, 0.01), [GOOD, bad], target="a", incumbent="b")
    assert verdict.recommendation == "not enough evidence"
    assert verdict.more_decisions == 820
    assert "Promote" not in verdict.sentence and "Only 20 of 100." in verdict.sentence
    assert "820 more decisions" in verdict.sentence


def test_where_waiting_does_not_help_it_is_not_advised() -> None:
    waits = Finding(name="b", measured=0.0, limit=1.0, passed=False, text="Few.", more_decisions=10)
    broken = Finding(name="c", measured=0.0, limit=1.0, passed=False, text="Wrong propensities.")
    verdict = recommend(gain(0.5, 0.01), [waits, broken], target="a", incumbent="b")
    assert verdict.more_decisions is None
    assert "Few. Wrong propensities." in verdict.sentence and "more decisions" not in verdict.sentence


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 1), (9.2, 10), (99, 99), (101, 110), (1_890, 1_900), (123_456, 130_000)]
)
def test_counts_are_round_up_to_two_digits(count: float, expected: int) -> None:
    assert round_up(count) == expected


def test_an_interval_without_ends_is_too_small_a_log() -> None:
    verdict = recommend(gain(0.1, math.inf, n=1), [GOOD], target="a", incumbent="b")
    assert verdict.recommendation == "not enough evidence"
    assert "too few for an interval" in verdict.sentence


def test_margins_are_numbers() -> None:
    with pytest.raises(InvalidInput, match="margin"):
        recommend(gain(0.1, 0.01), [], target="a", incumbent="b", margin=math.nan)
