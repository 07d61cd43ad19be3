"""Sequences hold at all times together, on logs of policies that learn, for clusters, and near the ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fairlead.experiments.ope.betting import (
    ClusterSums,
    RewardRange,
    Trial,
    Wealth,
    gain_ends,
    value_ends,
)
from fairlead.experiments.ope.counts import KeyedDraws, PropensityDrift
from fairlead.experiments.ope.moments import merge
from fairlead.experiments.ope.planning import plan
from fairlead.experiments.ope.reward_models import predict_from_past
from fairlead.optimizer.errors import InvalidInput

LOGS = 120
LOOKS = 10


def learner_log(seed: int, quality: tuple[float, ...], n: int) -> Trial:
    """Write the log of a policy that favours, at 80 %, the provider with the best mean so far."""
    rng, k = np.random.default_rng(seed), len(quality)
    won, draws = np.full(k, 0.5), np.ones(k)
    logging, action, reward = np.empty((n, k)), np.empty(n, dtype=np.int64), np.empty(n)
    for t in range(n):
        logging[t] = 0.2 / k
        logging[t, (won / draws).argmax()] += 0.8
        action[t] = rng.choice(k, p=logging[t])
        reward[t] = rng.random() < quality[action[t]]
        won[action[t]] += reward[t]
        draws[action[t]] += 1.0
    return trial(reward, action, logging)


def trial(reward: np.ndarray, action: np.ndarray, logging: np.ndarray) -> Trial:
    q_hat = predict_from_past(
        features=np.zeros((len(reward), 1)), reward=reward, action=action, providers=logging.shape[1],
        low=0.0, high=1.0,
    )  # fmt: skip
    return Trial(reward=reward, action=action, logging=logging, q_hat=q_hat)


def split_log(seed: int, quality: tuple[float, float], share: float, n: int) -> Trial:
    rng = np.random.default_rng(seed)
    action = (rng.random(n) < share).astype(np.int64)
    reward = (rng.random(n) < np.array(quality)[action]).astype(float)
    return trial(reward, action, np.tile([1.0 - share, share], (n, 1)))


def always(column: int, like: Trial) -> np.ndarray:
    target = np.zeros_like(like.logging)
    target[:, column] = 1.0
    return target


def looks(wealth: list[Wealth]) -> list[Wealth]:
    return [merge(wealth[: i + 1]) for i in range(len(wealth))]


def watched(log: Trial, target: np.ndarray) -> list[Wealth]:
    """Return the wealth of the gain at every look."""
    n = len(log.reward)
    ends = gain_ends(log, target=target, baseline=log.logging)
    return looks(Wealth.by(ends, np.arange(n) * LOOKS // n, LOOKS))


def test_nothing_is_promoted_where_all_are_equal_on_the_log_of_a_learner() -> None:
    promoted = 0
    for seed in range(LOGS):
        log = learner_log(seed, (0.7, 0.7, 0.7), 600)
        promoted += any(look.interval().low > 0.0 for look in watched(log, always(2, log)))
    assert promoted <= 0.05 * LOGS


def test_both_ends_hold_at_all_looks_on_the_log_of_a_learner() -> None:
    held = values_held = 0
    quality = np.array([0.5, 0.6, 0.8])
    for seed in range(LOGS):
        log = learner_log(seed, tuple(quality), 600)
        truth = np.cumsum(quality[1] - log.logging @ quality) / np.arange(1, 601)
        gains = [look.interval() for look in watched(log, always(1, log))]
        held += all(gain.low <= truth[gain.n - 1] <= gain.high for gain in gains)
        value = Wealth.of(value_ends(log, target=always(1, log))).interval()
        values_held += value.low <= quality[1] <= value.high
    assert held >= 0.95 * LOGS and values_held >= 0.95 * LOGS


@pytest.mark.parametrize("quality", [0.01, 0.5, 0.99])
def test_near_the_ends_of_the_range_nothing_false_is_promoted(quality: float) -> None:
    promoted = 0
    for seed in range(LOGS):
        log = split_log(seed, (quality, quality), 0.1, 1_200)
        promoted += any(look.interval().low > 0.0 for look in watched(log, always(1, log)))
    assert promoted <= 0.05 * LOGS


def test_a_true_gain_is_seen() -> None:
    """At p = .1, quality .7 and a gain of .05 by 8,000 decisions: .64 of 250 logs, measured."""
    seen = 0
    for seed in range(40):
        log = split_log(seed, (0.7, 0.7556), 0.1, 8_000)
        seen += any(look.interval().low > 0.0 for look in watched(log, always(1, log)))
    assert seen >= 0.45 * 40


def sticky(seed: int, users: int, each: int) -> tuple[Trial, np.ndarray]:
    """Draw once per user, and let all rewards of a user be alike: rows say far less than they seem to."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), each)
    drawn, mood = (rng.random(users) < 0.5).astype(np.int64), rng.random(users)
    action = drawn[user]
    reward = (rng.random(users * each) < 0.4 + 0.5 * mood[user]).astype(float)
    order = rng.permutation(users * each)
    log = trial(reward[order], action[order], np.full((users * each, 2), 0.5))
    return log, user[order].astype(np.uint64)


def test_users_who_stay_with_their_provider_are_one_draw_each() -> None:
    by_row = by_user = 0
    for seed in range(LOGS):
        log, user = sticky(seed, 40, 50)
        ends = gain_ends(log, target=always(1, log), baseline=log.logging)
        by_row += Wealth.of(ends).interval().low > 0.0
        by_user += ClusterSums.of(ends, user).wealth().interval().low > 0.0
    assert by_user <= 0.05 * LOGS < by_row


def test_draws_of_a_user_that_are_alike_are_noticed() -> None:
    log, user = sticky(0, 200, 10)
    draws = KeyedDraws.of(key=user, logging=log.logging, selected=log.action)
    assert draws.likeness > 5.0
    apart = split_log(0, (0.5, 0.5), 0.5, 2_000)
    independent = KeyedDraws.of(key=user, logging=apart.logging, selected=apart.action)
    assert abs(independent.likeness) < 3.3
    halves = [slice(0, 900), slice(900, 2_000)]
    parts = [
        KeyedDraws.of(key=user[rows], logging=log.logging[rows], selected=log.action[rows]) for rows in halves
    ]
    assert merge(parts).likeness == pytest.approx(draws.likeness)


def test_a_cluster_that_is_most_of_the_log_leaves_nothing_to_say() -> None:
    log = split_log(0, (0.2, 0.9), 0.5, 2_000)
    ends = gain_ends(log, target=always(1, log), baseline=log.logging)
    one = ClusterSums.of(ends, np.zeros(2_000, dtype=np.uint64))
    assert one.largest_share == 1.0
    assert not one.wealth().interval().low > 0.0
    assert math.isinf(one.asymptotic(value=0.3).half_width)
    single = ClusterSums.of(ends, np.arange(2_000, dtype=np.uint64)).wealth().interval()
    assert single.low > 0.0


def test_parts_add_up_to_the_whole() -> None:
    log, user = sticky(1, 60, 20)
    ends = gain_ends(log, target=always(1, log), baseline=log.logging)
    half = np.arange(1_200) // 600
    whole, parts = Wealth.of(ends).interval(), merge(Wealth.by(ends, half, 2)).interval()
    assert parts.low == pytest.approx(whole.low, abs=1e-12)
    assert parts.high == pytest.approx(whole.high, abs=1e-12)
    first = ClusterSums.of(ends, user)
    assert first.merge(first).count.sum() == 2_400 and len(first.merge(first).keys) == 60


def test_what_the_log_never_chose_counts_as_the_worst_and_the_best() -> None:
    rng = np.random.default_rng(3)
    reward = (rng.random(5_000) < 0.6).astype(float)
    log = trial(reward, np.zeros(5_000, dtype=np.int64), np.tile([1.0, 0.0], (5_000, 1)))
    half = np.tile([0.5, 0.5], (5_000, 1))
    value = Wealth.of(value_ends(log, target=half)).interval()
    assert value.low < 0.3 < 0.8 < value.high < 0.85


def test_units_do_not_matter() -> None:
    log = split_log(2, (0.3, 0.6), 0.5, 1_000)
    scaled = Trial(
        reward=log.reward * 40.0 - 10.0, action=log.action, logging=log.logging,
        q_hat=log.q_hat * 40.0 - 10.0, within=RewardRange(low=-10.0, high=30.0),
    )  # fmt: skip
    gain, wide = (
        Wealth.of(gain_ends(each, target=always(1, log), baseline=log.logging)).interval()
        for each in (log, scaled)
    )
    assert wide.low == pytest.approx(40.0 * gain.low) and wide.high == pytest.approx(40.0 * gain.high)


def test_more_questions_ask_for_more() -> None:
    log = split_log(2, (0.3, 0.6), 0.5, 1_000)
    wealth = Wealth.of(gain_ends(log, target=always(1, log), baseline=log.logging))
    assert wealth.interval(share=10).low < wealth.interval().low
    assert wealth.log_evidence(wealth.interval().low) == pytest.approx(math.log(20.0), abs=1e-6)


def test_what_cannot_be_is_refused() -> None:
    log = split_log(0, (0.5, 0.5), 0.5, 50)
    with pytest.raises(InvalidInput, match="outside the range 0 to 0"):
        Trial(
            reward=log.reward, action=log.action, logging=log.logging, q_hat=log.q_hat,
            within=RewardRange(high=0.5),
        )  # fmt: skip
    with pytest.raises(InvalidInput, match="range of the reward is 1 to 1"):
        RewardRange(low=1.0, high=1.0)
    with pytest.raises(InvalidInput, match="give the scale that bounds it"):
        gain_ends(log, target=always(1, log), baseline=always(0, log))
    one = gain_ends(log, target=always(1, log), baseline=log.logging)
    other = gain_ends(log, target=always(1, log), baseline=always(0, log), scale=2.0)
    with pytest.raises(InvalidInput, match="does not merge"):
        Wealth.of(one).merge(Wealth.of(other))


def test_a_model_of_the_past_does_not_see_the_future() -> None:
    rng = np.random.default_rng(5)
    features, action = rng.normal(size=(400, 3)), rng.integers(2, size=400)
    reward = (rng.random(400) < 0.5 + 0.3 * (features[:, 0] > 0.0)).astype(float)
    arguments = {"features": features, "action": action, "providers": 2, "low": 0.0, "high": 1.0}
    before = predict_from_past(reward=reward, **arguments)
    reward[300:] = 1.0 - reward[300:]
    after = predict_from_past(reward=reward, **arguments)
    assert (before[:301] == after[:301]).all() and (before[301:] != after[301:]).any()


def test_drift_of_propensities_is_told_from_contexts() -> None:
    rng = np.random.default_rng(6)
    span = np.arange(2_400) // 100
    by_context = rng.dirichlet([1.0, 2.0, 3.0], size=2_400)
    assert not PropensityDrift.of(logging=by_context, span=span, spans=24).is_adaptive
    learned = learner_log(0, (0.3, 0.5, 0.8), 2_400).logging
    drift = PropensityDrift.of(logging=learned, span=span, spans=24)
    assert drift.is_adaptive
    parts = [
        PropensityDrift.of(logging=learned[rows], span=span[rows], spans=24)
        for rows in (slice(0, 1_000), slice(1_000, 2_400))
    ]
    assert merge(parts).is_adaptive
    single = PropensityDrift.of(logging=learned[:1], span=span[:1], spans=24)
    assert not single.is_adaptive


def test_a_plan_holds_what_it_promises() -> None:
    """As many more decisions as planned show the gain in about 80 % of the logs."""
    log = split_log(7, (0.7, 0.76), 0.2, 1_000)
    wealth = Wealth.of(gain_ends(log, target=always(1, log), baseline=log.logging))
    gain, moment = 0.06 * 0.8, 0.2 * (0.8 / 0.2) ** 2 * 0.18 + 0.8 * 0.21
    outlook = plan(wealth, gain=gain, second_moment=moment)
    assert outlook.more_decisions is not None
    seen = 0
    for seed in range(60):
        later = split_log(100 + seed, (0.7, 0.76), 0.2, outlook.more_decisions)
        more = Wealth.of(gain_ends(later, target=always(1, later), baseline=later.logging))
        seen += wealth.merge(more).interval().low > 0.0
    assert seen >= 0.6 * 60


def test_draws_of_a_few_users_are_noticed_too() -> None:
    for users in (1, 4, 10):
        log, user = sticky(2, users, 300)
        assert KeyedDraws.of(key=user, logging=log.logging, selected=log.action).likeness > 5.0
        apart = split_log(users, (0.5, 0.5), 0.5, users * 300)
        independent = KeyedDraws.of(key=user, logging=apart.logging, selected=apart.action)
        assert independent.likeness < 5.0


def test_rows_of_one_time_may_stand_in_any_order() -> None:
    """A day's decisions sorted by outcome: a model of what stands above them would know their rewards."""
    held = 0
    for seed in range(40):
        log = split_log(seed, (0.7, 0.7), 0.1, 1_500)
        order = np.lexsort((log.reward, log.action))
        reward, action, logging = log.reward[order], log.action[order], log.logging[order]
        earlier = np.arange(1_500) // 500 * 500
        q_hat = predict_from_past(
            features=np.zeros((1_500, 1)), reward=reward, action=action, providers=2, low=0.0, high=1.0,
            earlier=earlier,
        )  # fmt: skip
        # Each day is sorted by itself, so that days are alike and only their order within is not.
        days = np.argsort(np.arange(1_500) % 3, kind="stable")
        q_days = predict_from_past(
            features=np.zeros((1_500, 1)), reward=reward[days], action=action[days], providers=2, low=0.0,
            high=1.0, earlier=earlier,
        )  # fmt: skip
        assert (q_hat[:500] == q_hat[0]).all()
        day_log = Trial(
            reward=reward[days], action=action[days], logging=logging[days], q_hat=q_days, earlier=earlier
        )
        gain = Wealth.of(gain_ends(day_log, target=always(1, log), baseline=logging[days])).interval()
        value = Wealth.of(value_ends(day_log, target=always(1, log))).interval()
        held += gain.low <= 0.0 <= gain.high and value.low <= 0.7 <= value.high
    assert held >= 38


def test_one_decision_and_none_say_nothing_beyond_what_is_possible() -> None:
    log = split_log(0, (0.5, 0.5), 0.1, 1)
    gain = Wealth.of(gain_ends(log, target=always(1, log), baseline=log.logging)).interval()
    assert -1.0 <= gain.low < 0.0 < gain.high <= 1.0
    nothing = Wealth.empty(unit=1.0).interval()
    assert nothing.low == -math.inf and nothing.high == math.inf
    with pytest.raises(InvalidInput, match="q_hat"):
        Trial(reward=log.reward, action=log.action, logging=log.logging, q_hat=log.q_hat * math.nan)
