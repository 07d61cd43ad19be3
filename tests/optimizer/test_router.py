import copy
import random
from dataclasses import replace

import numpy as np
import pytest

from optimizer.errors import InvalidInput, NoEligibleProvider
from optimizer.features.base import Block
from optimizer.router import Router
from optimizer.types import (
    Budget,
    Constraints,
    Context,
    DriftAlarm,
    Feedback,
    Objective,
    Outcome,
    Prices,
    Provider,
    Route,
)

WIDTH = 4
BLOCKS = (Block("context", WIDTH, isotropic=False),)
COST = {"cheap": 1e-4, "middle": 1e-3, "dear": 1e-2}


def provider(name, usd, **more) -> Provider:
    """Costs ``usd`` a call, whatever the tokens."""
    prices = Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=usd)
    return Provider(name=name, prices=prices, **more)


def route(*providers, **more) -> Route:
    found = providers or tuple(provider(name, usd) for name, usd in COST.items())
    return Route(name="toy", providers=found, **more)


def router(declared=None, **more) -> Router:
    return Router(declared or route(), block_widths=BLOCKS, **more)


def decided(found, features=None, *, draw=0.5, decision_id="asked", **more):
    features = np.zeros(WIDTH) if features is None else np.asarray(features, dtype=float)
    return found.decide_features(features, decision_id=decision_id, draw=draw, **more)


def chances(decision) -> dict[str, float]:
    return dict(zip(decision.providers, decision.probabilities.tolist(), strict=True))


def contextual(name, features) -> float:
    """The dear provider is always good; the cheap and the middle one on opposite kinds of request."""
    sign = float(np.sign(features[0]))
    return {"cheap": 0.5 - 0.4 * sign, "middle": 0.5 + 0.4 * sign, "dear": 0.6}[name]


def play(found, n, *, quality=contextual, seed=0, first=0, cost=None, learn=True, noise=0.1):
    """Serve n requests; the events in the order in which they came, and each decision's true quality."""
    rng = np.random.default_rng([seed, first])
    events, earned, spent = [], [], []
    for i in range(first, first + n):
        features = rng.normal(size=WIDTH)
        decision = decided(found, features, draw=rng.random(), decision_id=str(i))
        name = decision.selected
        mean = quality(name, features)
        usd = (cost or COST)[name] * rng.lognormal(-0.02, 0.2)
        value = float(np.clip(mean + noise * rng.normal(), 0.0, 1.0))
        came = [
            decision,
            Outcome(decision_id=str(i), served_provider=name, cost_usd=usd, latency_s=0.5),
            Feedback(decision_id=str(i), value=value),
        ]
        for event in came if learn else ():
            found.learn(event)
        events += came
        earned.append(mean)
        spent.append(usd)
    return events, np.array(earned), np.array(spent)


def quality_statistics(found):
    """Who learns the same has these whole numbers bit by bit; no other view of them is public."""
    return {**found._beliefs.quality.statistics(), **prefixed(found._beliefs.cost.statistics())}


def prefixed(statistics):
    return {f"cost of {name}": state for name, state in statistics.items()}


def assert_same_statistics(first, second):
    one, other = quality_statistics(first), quality_statistics(second)
    assert one.keys() == other.keys()
    for name in one:
        for key in one[name]:
            np.testing.assert_array_equal(one[name][key], other[name][key], err_msg=f"{name} {key}")


@pytest.fixture(scope="module")
def learned():
    found = router()
    play(found, 400)
    return found


def test_deciding_changes_nothing_and_repeats_itself(learned):
    before, summary = copy.deepcopy(quality_statistics(learned)), learned.summary()
    rng = np.random.default_rng(1)
    asked = [rng.normal(size=WIDTH) for _ in range(20)]
    first = [decided(learned, row) for row in asked]
    again = [decided(learned, row) for row in reversed(asked)][::-1]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.expected, other.expected)
        assert (one.selected, one.order) == (other.selected, other.order)
        assert one.model_version == other.model_version
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
        drawn = [decided(learned, row, draw=(i + 0.5) / 2_000) for i in range(2_000)]
        expected = chances(drawn[0])
        assert sum(expected.values()) == pytest.approx(1.0, abs=1e-12)
        for name, chance in expected.items():
            share = sum(decision.selected == name for decision in drawn) / 2_000
            assert share == pytest.approx(chance, abs=1 / 2_000)
        for decision in drawn[::100]:
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
    served, replayed = router(declared), router(declared)
    events, _, _ = play(served, 250)
    for event in events:
        if hasattr(event, "probabilities"):
            again = decided(replayed, event.features, decision_id=event.id)
            np.testing.assert_array_equal(again.probabilities, event.probabilities)
            assert (again.order, again.shadow_price) == (event.order, event.shadow_price)
        replayed.learn(event)
    assert_same_statistics(served, replayed)
    assert served.summary() == replayed.summary()


@pytest.mark.parametrize("seed", range(4))
def test_late_repeated_corrected_and_reordered_events_end_in_the_statistics_of_a_clean_log(seed):
    clean, messy = router(detect_drift=False), router(detect_drift=False)
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
    for name, told in messy.summary()["providers"].items():
        assert told["feedback"] == clean.summary()["providers"][name]["feedback"]


def test_feedback_that_comes_before_its_decision_waits_for_it():
    plain, early = router(), router()
    events, _, _ = play(plain, 5)
    for i in range(0, len(events), 3):
        for event in reversed(events[i : i + 3]):
            early.learn(event)
    assert_same_statistics(plain, early)


def test_feedback_taken_back_leaves_nothing():
    found, empty = router(), router()
    events, _, _ = play(found, 30)
    for event in events:
        if isinstance(event, Feedback):
            found.learn(replace(event, value=None, revision=1))
    for name, state in empty._beliefs.quality.statistics().items():
        for key, value in state.items():
            np.testing.assert_array_equal(found._beliefs.quality.statistics()[name][key], value)


def test_the_credit_goes_to_who_really_served():
    found = router()
    decision = decided(found)
    found.learn(decision)
    found.learn(Feedback(decision_id=decision.id, value=1.0))
    other = next(name for name in COST if name != decision.selected)
    found.learn(Outcome(decision_id=decision.id, served_provider=other, cost_usd=1e-3))
    counts = {name: told["feedback"] for name, told in found.summary()["providers"].items()}
    assert counts[other] == 1
    assert counts[decision.selected] == 0


@pytest.mark.parametrize("factor", [0.1, 0.5, 20.0])
def test_a_price_change_counts_at_the_very_next_decision(factor):
    declared = route(objective=Objective(willingness_to_pay_usd=0.02))
    found = router(declared)
    play(found, 300)
    before = decided(found, [1.0, 0.0, 0.0, 0.0])
    changed = [provider(n, usd * (factor if n == "dear" else 1.0)) for n, usd in COST.items()]
    found.configure(replace(declared, providers=tuple(changed)))
    after = decided(found, [1.0, 0.0, 0.0, 0.0])
    place = after.providers.index("dear")
    scaled = before.expected[2].copy()
    scaled[place] *= factor
    # To configure also brings the posterior up to date with the last few observations.
    np.testing.assert_allclose(after.expected[2], scaled, rtol=5e-3)
    np.testing.assert_allclose(after.expected[0], before.expected[0], atol=0.02)


def test_a_price_cut_moves_traffic_at_the_very_next_decision():
    declared = route(objective=Objective(willingness_to_pay_usd=0.01))
    found = router(declared)
    play(found, 300, quality=lambda name, _: {"cheap": 0.3, "middle": 0.5, "dear": 0.9}[name])
    assert chances(decided(found))["dear"] < 0.1
    cut = (provider("cheap", 1e-4), provider("middle", 1e-3), provider("dear", 1e-4))
    found.configure(replace(declared, providers=cut))
    assert chances(decided(found))["dear"] > 0.6


def test_what_a_request_may_pay_decides_for_that_request_alone():
    found = router()
    play(found, 300, quality=lambda name, _: {"cheap": 0.5, "middle": 0.6, "dear": 0.9}[name])
    before = chances(decided(found))
    thrifty = decided(found, objective=Objective(willingness_to_pay_usd=1e-4))
    lavish = decided(found, objective=Objective(willingness_to_pay_usd=100.0))
    assert chances(thrifty)["cheap"] > 0.95
    assert chances(lavish)["dear"] > 0.95
    assert thrifty.shadow_price == pytest.approx(1e4)
    assert chances(decided(found)) == before


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


def test_a_provider_without_latency_history_does_not_pass_a_latency_cap():
    found = router()
    decision = decided(found)
    found.learn(decision)
    found.learn(Outcome(decision_id=decision.id, served_provider="middle", latency_s=0.2))
    capped = decided(found, constraints=Constraints(max_latency_s=1.0))
    assert set(capped.ineligible) == {"cheap", "dear"}


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
    found = learned.decide(Context(features=np.zeros(WIDTH)), decision_id="asked", draw=0.5)
    np.testing.assert_array_equal(found.probabilities, decided(learned).probabilities)


@pytest.mark.parametrize(
    "event",
    [
        Outcome(decision_id="0", served_provider="stranger", cost_usd=1e-3),
        Feedback(decision_id="0", value=1.5),
        Feedback(decision_id="0", value=0.5, metric="stars"),
    ],
)
def test_what_the_route_does_not_know_is_refused_and_changes_nothing(event):
    found, plain = router(), router()
    play(found, 3)
    play(plain, 3)
    with pytest.raises(InvalidInput, match="0"):
        found.learn(event)
    assert_same_statistics(found, plain)
    assert found.summary() == plain.summary()


def test_a_candidate_that_is_no_provider_is_refused(learned):
    with pytest.raises(InvalidInput, match="'stranger' is not a provider"):
        decided(learned, candidates=("stranger",))


@pytest.mark.parametrize("seed", range(3))
def test_who_is_good_at_what_is_learned(seed):
    found = router()
    _, earned, _ = play(found, 900, seed=seed, noise=0.2)
    # The best fixed provider earns .6, the best for each request .9.
    assert earned[300:].mean() > 0.7
    assert sum(w for name, w in found.summary()["trust"].items() if name.startswith("all@")) > 0.9


@pytest.mark.parametrize("usd", [3e-4, 1e-3, 4e-3])
def test_the_budget_is_kept(usd):
    found = router(route(budget=Budget(usd_per_request=usd)))
    levels = {"cheap": 0.4, "middle": 0.6, "dear": 0.9}
    _, earned, spent = play(found, 2_000, quality=lambda name, _: levels[name])
    assert spent.mean() <= 1.03 * usd
    assert spent.mean() >= 0.85 * usd
    assert earned[500:].mean() > 0.4
    assert found.summary()["spent_usd"] == pytest.approx(spent.sum())


def test_late_costs_settle_at_what_was_really_spent():
    found = router(route(budget=Budget(usd_per_request=1e-3)))
    events, _, spent = play(found, 60, learn=False)
    for event in events:
        if not isinstance(event, Outcome):
            found.learn(event)
    for event in events:
        if isinstance(event, Outcome):
            found.learn(replace(event, cost_usd=1.0))
            found.learn(replace(event, revision=1))
    assert found.summary()["spent_usd"] == pytest.approx(spent.sum())


@pytest.mark.parametrize("seed", range(3))
def test_a_provider_that_drops_loses_its_traffic_within_a_hundred_decisions(seed):
    found = router()
    before = {"cheap": 0.6, "middle": 0.75, "dear": 0.9}
    play(found, 600, quality=lambda name, _: before[name], seed=seed)
    assert chances(decided(found))["dear"] > 0.8
    after = before | {"dear": 0.5}
    events, _, _ = play(found, 200, quality=lambda name, _: after[name], seed=seed, first=600)
    shares = [chances(event)["dear"] for event in events if hasattr(event, "probabilities")]
    assert np.mean(shares[100:]) < 0.15
    assert any(alarm.provider == "dear" and alarm.at_order >= 600 for alarm in found.alarms)


def test_a_newcomer_is_tried_within_its_share_and_then_adopted():
    declared = route(exploration_share=0.0)
    found = router(declared)
    levels = {"cheap": 0.5, "middle": 0.6, "dear": 0.65, "new": 0.9}
    play(found, 300, quality=lambda name, _: levels[name])
    found.configure(replace(declared, providers=(*declared.providers, provider("new", 1e-3))))
    assert found.summary()["providers"]["new"]["newcomer"]
    events, _, _ = play(
        found, 400, quality=lambda name, _: levels[name], first=300, cost=COST | {"new": 1e-3}
    )
    shares = np.array([chances(event)["new"] for event in events if hasattr(event, "probabilities")])
    assert shares[:15].max() <= declared.newcomer_share + 1e-9
    assert shares[:15].min() > 0.05
    assert shares[-100:].mean() > 0.8
    assert not found.summary()["providers"]["new"]["newcomer"]


def test_a_provider_that_leaves_gets_nothing_and_is_remembered():
    declared = route()
    found = router(declared)
    play(found, 200)
    before = found.summary()["providers"]["dear"]
    found.configure(replace(declared, providers=declared.providers[:2]))
    assert decided(found).providers == ("cheap", "middle")
    found.configure(declared)
    after = found.summary()["providers"]["dear"]
    assert after["feedback"] == before["feedback"]
    assert after["quality"] == pytest.approx(before["quality"], abs=0.02)


def test_other_features_count_every_decision_anew():
    found = router(detect_drift=False)
    events, _, _ = play(found, 150)
    wider = (Block("other", 2, isotropic=True),)
    rng = np.random.default_rng(9)
    rows = {event.id: rng.normal(size=2) for event in events if hasattr(event, "probabilities")}
    before = {name: told["feedback"] for name, told in found.summary()["providers"].items()}
    found.reencode(rows, blocks=wider, encoder_version="second")
    assert {name: told["feedback"] for name, told in found.summary()["providers"].items()} == before
    clean = Router(route(), block_widths=wider, detect_drift=False)
    for event in events:
        again = replace(event, features=rows[event.id]) if hasattr(event, "probabilities") else event
        clean.learn(again)
    assert_same_statistics(found, clean)
    decision = found.decide_features(np.zeros(2), decision_id="next", draw=0.5)
    assert (decision.encoder_version, decision.order) == ("second", 150)


def test_an_alarm_in_the_log_is_folded_like_any_event():
    found, alarmed = router(), router()
    levels = {"cheap": 0.5, "middle": 0.6, "dear": 0.9}
    play(found, 300, quality=lambda name, _: levels[name])
    play(alarmed, 300, quality=lambda name, _: levels[name])
    place = decided(found).providers.index("dear")
    sd = decided(alarmed).expected[1, place]
    alarmed.learn(
        DriftAlarm(provider="dear", quantity="quality", since_order=300, at_order=300, before=0.9, after=0.5)
    )
    assert decided(alarmed).expected[1, place] > 2 * sd
    assert alarmed.summary()["alarms"] == found.summary()["alarms"] + 1
