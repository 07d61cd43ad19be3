import copy
import random
from dataclasses import replace

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.types import (
    Budget,
    Constraints,
    Context,
    Feedback,
    Objective,
    Outcome,
)
from tests.optimizer.toy import (
    COST,
    WIDTH,
    assert_same_statistics,
    chances,
    decided,
    new_router,
    play,
    provider,
    quality_statistics,
    route,
)


@pytest.fixture(scope="module")
def learned():
    router = new_router()
    play(router, 400)
    return router


def test_deciding_changes_nothing_and_repeats_itself(learned):
    before, summary = copy.deepcopy(quality_statistics(learned)), learned.summary()
    rng = np.random.default_rng(1)
    asked = [rng.normal(size=WIDTH) for _ in range(20)]
    first = [decided(learned, row) for row in asked]
    again = [decided(learned, row) for row in reversed(asked)][::-1]
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left.probabilities, right.probabilities)
        np.testing.assert_array_equal(left.expected, right.expected)
        assert (left.selected, left.seq) == (right.selected, right.seq)
        assert left.model_version == right.model_version
    after = quality_statistics(learned)
    for name in before:
        for key in before[name]:
            np.testing.assert_array_equal(before[name][key], after[name][key])
    assert learned.summary() == summary


def test_the_callers_features_are_not_changed_nor_kept(learned):
    features = np.full(WIDTH, 100.0)
    decision = decided(learned, features)
    np.testing.assert_array_equal(features, 100.0)
    np.testing.assert_array_equal(decision.features, 8.0)
    features[:] = 0.0
    np.testing.assert_array_equal(decision.features, 8.0)


def test_probabilities_sum_to_one_and_the_draw_follows_them(learned):
    rng = np.random.default_rng(2)
    for _ in range(5):
        row = rng.normal(size=WIDTH)
        decisions = [decided(learned, row, draw=(i + 0.5) / 2_000) for i in range(2_000)]
        expected = chances(decisions[0])
        assert sum(expected.values()) == pytest.approx(1.0, abs=1e-12)
        for name, chance in expected.items():
            share = sum(decision.selected == name for decision in decisions) / 2_000
            assert share == pytest.approx(chance, abs=1 / 2_000)
        for decision in decisions[::100]:
            assert decision.propensity == expected[decision.selected]
            assert decision.propensity > 0


@pytest.mark.parametrize("draw", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_draw_select_someone_who_may_be_selected(learned, draw):
    decision = decided(learned, draw=draw, constraints=Constraints(deny=("cheap",)))
    assert decision.propensity > 0
    assert decision.selected != "cheap"


@pytest.mark.parametrize("budget", [None, Budget(usd_per_request=1e-3)])
def test_a_replayed_log_gives_the_same_probabilities_bit_by_bit(budget):
    declared = route(budget=budget)
    served, replayed = new_router(declared), new_router(declared)
    events, _, _ = play(served, 250)
    for event in events:
        if hasattr(event, "probabilities"):
            again = decided(replayed, event.features, decision_id=event.id)
            np.testing.assert_array_equal(again.probabilities, event.probabilities)
            assert (again.seq, again.shadow_price) == (event.seq, event.shadow_price)
        replayed.learn(event)
    assert_same_statistics(served, replayed)
    assert served.summary() == replayed.summary()


@pytest.mark.parametrize("seed", range(4))
def test_late_repeated_corrected_and_reordered_events_end_in_the_statistics_of_a_clean_log(seed):
    clean, messy = new_router(detect_drift=False), new_router(detect_drift=False)
    events, _, _ = play(clean, 120, seed=seed)
    mess, chance = [], random.Random(seed)
    for event in events:
        mess += [event] * chance.choice([1, 1, 2, 3])
        if isinstance(event, Feedback) and chance.random() < 0.4:
            mess.append(replace(event, value=chance.random(), revision=-1))
            mess.append(replace(event, value=None, revision=-2))
        if isinstance(event, Outcome) and chance.random() < 0.4:
            mess += [replace(event, served_provider="dear", cost_usd=1.0, status="error", revision=-1)]
    chance.shuffle(mess)
    for event in mess:
        messy.learn(event)
    assert_same_statistics(clean, messy)
    assert messy.summary()["decisions"] == 120
    assert messy.summary()["providers"].keys() == clean.summary()["providers"].keys()
    for name, summary in messy.summary()["providers"].items():
        assert summary["feedback"] == clean.summary()["providers"][name]["feedback"]


def test_feedback_that_comes_before_its_decision_waits_for_it():
    plain, early = new_router(), new_router()
    events, _, _ = play(plain, 5)
    for i in range(0, len(events), 3):
        for event in reversed(events[i : i + 3]):
            early.learn(event)
    assert_same_statistics(plain, early)


def test_feedback_taken_back_leaves_nothing():
    router, empty = new_router(), new_router()
    events, _, _ = play(router, 30)
    for event in events:
        if isinstance(event, Feedback):
            router.learn(replace(event, value=None, revision=1))
    for name, state in empty._beliefs.quality.statistics().items():
        for key, value in state.items():
            np.testing.assert_array_equal(router._beliefs.quality.statistics()[name][key], value)


def test_the_credit_goes_to_who_really_served():
    router = new_router()
    decision = decided(router)
    router.learn(decision)
    router.learn(Feedback(decision_id=decision.id, value=1.0))
    other = next(name for name in COST if name != decision.selected)
    router.learn(Outcome(decision_id=decision.id, served_provider=other, cost_usd=1e-3))
    counts = {name: summary["feedback"] for name, summary in router.summary()["providers"].items()}
    assert counts[other] == 1
    assert counts[decision.selected] == 0


@pytest.mark.parametrize("factor", [0.1, 0.5, 20.0])
def test_a_price_change_counts_at_the_very_next_decision(factor):
    declared = route(objective=Objective(willingness_to_pay_usd=0.02))
    router = new_router(declared)
    play(router, 300)
    before = decided(router, [1.0, 0.0, 0.0, 0.0])
    changed = [provider(n, usd * (factor if n == "dear" else 1.0)) for n, usd in COST.items()]
    router.configure(replace(declared, providers=tuple(changed)))
    after = decided(router, [1.0, 0.0, 0.0, 0.0])
    index = after.providers.index("dear")
    scaled = before.expected[2].copy()
    scaled[index] *= factor
    # To configure also brings the posterior up to date with the last few observations.
    np.testing.assert_allclose(after.expected[2], scaled, rtol=5e-3)
    np.testing.assert_allclose(after.expected[0], before.expected[0], atol=0.02)


def test_a_price_cut_moves_traffic_at_the_very_next_decision():
    declared = route(objective=Objective(willingness_to_pay_usd=0.01))
    router = new_router(declared)
    play(router, 300, quality=lambda name, _: {"cheap": 0.3, "middle": 0.5, "dear": 0.9}[name])
    assert chances(decided(router))["dear"] < 0.1
    cut = (provider("cheap", 1e-4), provider("middle", 1e-3), provider("dear", 1e-4))
    router.configure(replace(declared, providers=cut))
    assert chances(decided(router))["dear"] > 0.6


def test_what_a_request_may_pay_decides_for_that_request_alone():
    router = new_router()
    play(router, 300, quality=lambda name, _: {"cheap": 0.5, "middle": 0.6, "dear": 0.9}[name])
    before = chances(decided(router))
    thrifty = decided(router, objective=Objective(willingness_to_pay_usd=1e-4))
    lavish = decided(router, objective=Objective(willingness_to_pay_usd=100.0))
    assert chances(thrifty)["cheap"] > 0.95
    assert chances(lavish)["dear"] > 0.95
    assert thrifty.shadow_price == pytest.approx(1e4)
    assert chances(decided(router)) == before


def test_constraints_and_candidates_exclude(learned):
    denied = decided(learned, constraints=Constraints(deny=("ch*",)))
    assert chances(denied)["cheap"] == 0.0
    assert denied.ineligible == {"cheap": "is denied by 'ch*'"}
    assert denied.probabilities.sum() == pytest.approx(1.0)
    assert [c.eligible for c in denied.candidates] == [False, True, True]
    only = decided(learned, candidates=("dear",))
    assert chances(only) == {"cheap": 0.0, "middle": 0.0, "dear": 1.0}
    limited = decided(learned, constraints=Constraints(max_cost_usd=5e-3))
    assert set(limited.ineligible) == {"dear"}


def test_a_provider_without_latency_history_is_only_tried_under_a_latency_cap():
    router = new_router()
    decision = decided(router)
    router.learn(decision)
    router.learn(Outcome(decision_id=decision.id, served_provider="middle", latency_s=0.2))
    capped = decided(router, constraints=Constraints(max_latency_s=1.0))
    assert set(capped.on_trial) == {"cheap", "dear"}
    assert not capped.ineligible
    assert chances(capped)["middle"] == pytest.approx(0.8, abs=0.01)
    strict = decided(router, constraints=Constraints(max_latency_s=1.0, strict=True))
    assert set(strict.ineligible) == {"cheap", "dear"}


def test_where_nobody_may_serve_one_sentence_names_every_reason(learned):
    with pytest.raises(NoEligibleProvider) as caught:
        decided(learned, candidates=("cheap",), constraints=Constraints(deny=("cheap",)))
    said = str(caught.value)
    assert "'asked'" in said and "\n" not in said
    for name in COST:
        assert name in said
    assert "is denied by 'cheap'" in said


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(learned, wrong):
    with pytest.raises(InvalidInput, match=r"NaN or infinity.*correct the featuriser"):
        decided(learned, [0.0, wrong, 0.0, 0.0])


def test_opposite_infinities_are_refused_too(learned):
    with pytest.raises(InvalidInput, match="NaN or infinity"), np.errstate(invalid="ignore"):
        decided(learned, [np.inf, -np.inf, 0.0, 0.0])


def test_features_of_another_width_are_refused(learned):
    with pytest.raises(InvalidInput, match=r"shape \(3,\).*\(4,\)"):
        decided(learned, np.zeros(3))


def test_text_without_an_encoder_is_refused_and_features_are_taken(learned):
    with pytest.raises(InvalidInput, match="no encoder"):
        learned.decide(Context(text="hello"), decision_id="x", draw=0.5)
    decision = learned.decide(Context(features=np.zeros(WIDTH)), decision_id="asked", draw=0.5)
    np.testing.assert_array_equal(decision.probabilities, decided(learned).probabilities)


@pytest.mark.parametrize(
    "event",
    [
        Outcome(decision_id="0", served_provider="stranger", cost_usd=1e-3),
        Feedback(decision_id="0", value=1.5),
        Feedback(decision_id="0", value=0.5, metric="stars"),
    ],
)
def test_what_the_route_does_not_know_is_refused_and_changes_nothing(event):
    router, plain = new_router(), new_router()
    play(router, 3)
    play(plain, 3)
    with pytest.raises(InvalidInput, match="0"):
        router.learn(event)
    assert_same_statistics(router, plain)
    assert router.summary() == plain.summary()


def test_a_candidate_that_is_no_provider_is_refused(learned):
    with pytest.raises(InvalidInput, match="'stranger' is not a provider"):
        decided(learned, candidates=("stranger",))
