from collections.abc import Callable

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.learning.drift import (
    LAG,
    LEAST_AFTER,
    LEAST_BEFORE,
    REFERENCE,
    RUN_LENGTH,
    Detector,
    DriftSignal,
    MeanDetector,
    RankDetector,
)

Stream = Callable[[np.random.Generator, int], np.ndarray]


def binary(rate: float) -> Stream:
    return lambda rng, n: (rng.random(n) < rate).astype(float)


def judged(mean: float, sd: float = 0.12) -> Stream:
    return lambda rng, n: np.clip(rng.normal(mean, sd, n), 0.0, 1.0)


def lognormal(median: float, sigma: float) -> Stream:
    return lambda rng, n: median * np.exp(rng.normal(0.0, sigma, n))


def pareto(rng: np.random.Generator, n: int) -> np.ndarray:
    """Amounts without a mean."""
    return rng.pareto(1.0, n)


def means(values: np.ndarray, *, expected: float = 0.0) -> list[tuple[float, tuple[float, ...]]]:
    return [(float(value), (expected, 0.0)) for value in values]


def play(detector: Detector, values: np.ndarray, start: int = 0) -> list[tuple[int, DriftSignal]]:
    """Return the signals of a stream with the observation of each; the detector starts anew after it."""
    signals = []
    for seq, value in enumerate(values.tolist(), start):
        if isinstance(detector, MeanDetector):
            signal = detector.update(value, (0.0,), seq)
        else:
            signal = detector.update((value,), seq)
        if signal is not None:
            detector.restart()
            signals.append((seq, signal))
    return signals


@pytest.mark.parametrize("rate", [0.002, 0.02, 0.5, 0.9, 0.998])
def test_no_more_false_alarms_than_the_bound_on_a_rate_however_near_to_certainty(rate: float) -> None:
    """Rare failures come in clusters, and the bound is the tightest for them."""
    n = 2 * RUN_LENGTH
    assert len(play(MeanDetector(1), binary(rate)(np.random.default_rng(11), n))) <= n / RUN_LENGTH


@pytest.mark.parametrize("noise", [judged(0.9), judged(0.6, 0.3), lambda rng, n: rng.beta(0.4, 0.1, n)])
def test_no_false_alarm_on_skewed_judgements(noise: Stream) -> None:
    assert play(MeanDetector(1), noise(np.random.default_rng(12), 40_000)) == []


@pytest.mark.parametrize("noise", [lognormal(1.0, 0.3), lognormal(400.0, 2.0), pareto])
def test_no_false_alarm_on_amounts_however_heavy_their_tail(noise: Stream) -> None:
    assert play(RankDetector(1), noise(np.random.default_rng(13), 40_000)) == []


MEANS = [
    (binary(0.9), binary(0.34), 20),
    (binary(0.98), binary(0.22), 12),
    (binary(0.34), binary(0.9), 30),
    (binary(0.02), binary(0.3), 40),
    (binary(0.995), binary(0.8), 40),
    (judged(0.92), judged(0.75), 20),
]
AMOUNTS = [
    (lognormal(200.0, 0.7), lognormal(3.0, 0.7), 10),
    (lognormal(200.0, 0.7), lognormal(800.0, 0.7), 25),
    (lognormal(1.5, 0.5), lognormal(4.5, 0.5), 20),
    (lognormal(1.5, 1.0), lognormal(0.3, 1.0), 25),
]


@pytest.mark.parametrize(("before", "after", "within"), [*MEANS, *AMOUNTS])
def test_a_change_is_found_soon_and_dated_rightly(before: Stream, after: Stream, within: int) -> None:
    rng, calm = np.random.default_rng(3), 300
    is_mean = (before, after, within) in MEANS
    delays, errors = [], []
    for _ in range(25):
        detector: Detector = MeanDetector(1) if is_mean else RankDetector(1)
        old, new = before(rng, calm), after(rng, 400)
        assert play(detector, old) == []
        seq, signal = play(detector, new, calm)[0]
        delays.append(seq - calm + 1)
        errors.append(signal.since_seq - calm)
        assert signal.n_after == seq - signal.since_seq + 1 >= LEAST_AFTER
        centre = np.mean if is_mean else lambda values: np.exp(np.mean(np.log(values)))
        assert signal.before == pytest.approx(centre(np.concatenate([old, new])[: signal.since_seq]))
        assert (signal.after > signal.before) == (centre(new) > centre(old))
    assert np.median(delays) <= within
    assert abs(np.median(errors)) <= 5


def test_a_change_of_less_than_half_again_is_none() -> None:
    rng = np.random.default_rng(4)
    stream = np.concatenate([lognormal(2.0, 0.2)(rng, 2_000), lognormal(2.7, 0.2)(rng, 2_000)])
    assert play(RankDetector(1), stream) == []


def test_a_belief_that_is_off_by_a_constant_is_no_change() -> None:
    rng, detector = np.random.default_rng(5), MeanDetector(2)
    values = binary(0.7)(rng, 20_000)
    assert all(detector.update(*entry, i) is None for i, entry in enumerate(means(values, expected=0.95)))


def test_a_model_that_is_still_learning_is_no_change_of_the_provider() -> None:
    """What was expected moves from .5 to the truth, and the rewards stay."""
    rng, detector = np.random.default_rng(6), MeanDetector(2)
    for i, value in enumerate(binary(0.95)(rng, 5_000).tolist()):
        assert detector.update(value, (0.95 - 0.45 * 0.98**i, 0.0), i) is None


def test_harder_requests_are_no_change_if_that_was_expected() -> None:
    rng, detector = np.random.default_rng(7), MeanDetector(2)
    for i, rate in enumerate([0.9] * 1_000 + [0.4] * 1_000):
        assert detector.update(float(rng.random() < rate), (rate, 0.0), i) is None


def test_longer_answers_are_no_change_where_they_were_expected() -> None:
    rng, detector = np.random.default_rng(8), RankDetector(2)
    for i, tokens in enumerate([5.0] * 1_000 + [300.0] * 1_000):
        length = tokens * float(np.exp(rng.normal(0.0, 0.4)))
        assert detector.update((length, length / tokens), i) is None


def test_an_amount_with_a_sign_counts_against_the_other_change_alone() -> None:
    rng, risen, fallen = np.random.default_rng(9), RankDetector(1), RankDetector(1)
    stream = np.concatenate([lognormal(1.0, 0.3)(rng, 200), lognormal(9.0, 0.3)(rng, 200)]).tolist()
    assert any(risen.update((amount,), i, sign=1) for i, amount in enumerate(stream))
    assert not any(fallen.update((amount,), i, sign=-1) for i, amount in enumerate(stream))


def test_what_was_taken_back_or_suspected_moves_the_alarm() -> None:
    calm, failing = np.zeros(200), np.array([1.0, *[0.0] * 7] * 40)
    plain, excused, suspected = MeanDetector(1), MeanDetector(1), MeanDetector(1)
    for detector in (plain, excused, suspected):
        play(detector, calm)
    suspected.runs.suspect()
    first = play(plain, failing, 200)[0][0]
    assert play(suspected, failing, 200)[0][0] < first
    play(excused, failing[: first - 200], 200)
    excused.calm()
    assert play(excused, failing[first - 200 : first - 198], first) == []


def test_one_late_observation_of_an_old_decision_does_not_date_the_change() -> None:
    rng, detector = np.random.default_rng(10), MeanDetector(1)
    play(detector, binary(0.9)(rng, 300))
    assert detector.update(0.0, (0.0,), 5) is None
    (_, signal), *_ = play(detector, binary(0.2)(rng, 200), 300)
    assert 290 <= signal.since_seq <= 305


@pytest.mark.parametrize(
    "cut", [0, 1, LAG - 1, LAG + LEAST_BEFORE, 200, REFERENCE + LAG, REFERENCE + LAG + 1, 500]
)
def test_a_restored_detector_gives_the_same_signals(cut: int) -> None:
    rng = np.random.default_rng(8)
    rates = np.concatenate([binary(0.9)(rng, 420), binary(0.3)(rng, 300)])
    amounts = np.concatenate([lognormal(1.0, 0.5)(rng, 420), lognormal(6.0, 0.5)(rng, 300)])
    pairs: list[tuple[Detector, Detector, np.ndarray]] = [
        (MeanDetector(1), MeanDetector(1), rates),
        (RankDetector(1), RankDetector(1), amounts),
    ]
    for original, restored, stream in pairs:
        play(original, stream[:cut])
        state = original.state()
        restored.restore(state)
        expected = play(original, stream[cut:], cut)
        assert play(restored, stream[cut:], cut) == expected
        assert len(expected) >= (cut <= 420)
        assert all(not array.dtype.hasobject for array in state.values())


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_number_that_is_no_share_is_refused(value: float) -> None:
    detector = MeanDetector(1)
    with pytest.raises(InvalidInput, match=r"give one in \[0, 1\]"):
        detector.update(value, (0.5,), 3)
    assert detector.state()["counts"][0] == 0


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_an_amount_that_is_no_number_is_refused(amount: float) -> None:
    detector = RankDetector(1)
    with pytest.raises(InvalidInput, match="give finite numbers of at least 0"):
        detector.update((amount,), 3)
    assert detector.state()["counts"][0] == 0
