import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.learning.drift import DriftDetector, DriftSignal


def normal(rng, n, shift=0.0):
    return rng.normal(shift, 1.0, n)


def skewed(rng, n, shift=0.0):
    """Standardised quality that is 1 nine times in ten, else 0; ``shift`` in sd, downwards only."""
    return ((rng.random(n) < 0.9 + 0.3 * shift) - 0.9) / 0.3


def alarms(detector, residuals, start=0) -> list[tuple[int, DriftSignal]]:
    updates = ((start + i, detector.update(float(x), start + i)) for i, x in enumerate(residuals))
    return [(seq, signal) for seq, signal in updates if signal is not None]


@pytest.mark.parametrize("noise", [normal, skewed])
def test_false_alarms_are_at_most_one_per_ten_thousand(noise):
    n = 300_000
    raised = alarms(DriftDetector(), noise(np.random.default_rng(11), n))
    assert len(raised) <= n / 10_000


@pytest.mark.parametrize(
    ("noise", "shift", "within"),
    [(normal, 1.0, 30), (normal, -1.0, 30), (skewed, -1.0, 30), (normal, 0.5, 120), (skewed, -0.5, 120)],
)
def test_a_shift_is_found_soon_and_dated_rightly(noise, shift, within):
    rng = np.random.default_rng(3)
    delays, errors, sizes = [], [], []
    for _ in range(60):
        detector = DriftDetector()
        calm = 400
        alarms(detector, noise(rng, calm))
        raised = alarms(detector, noise(rng, 1500, shift), start=calm)
        delays.append(raised[0][0] - calm + 1 if raised else 1500)
        if raised:
            seq, signal = raised[0]
            errors.append(signal.since_seq - calm)
            sizes.append(signal.after - signal.before)
            assert signal.n_after == seq - signal.since_seq + 1
    assert np.median(delays) <= within
    assert abs(np.median(errors)) <= 10
    # The alarm picks the moments when the sum is high, so the size is biased away from 0, never to it.
    assert 0.7 < np.median(sizes) / shift < 2.5


def test_a_constant_error_of_the_belief_is_no_drift():
    assert alarms(DriftDetector(), normal(np.random.default_rng(4), 20_000, shift=0.8)) == []


def test_one_absurd_value_is_no_drift():
    residuals = normal(np.random.default_rng(5), 2000)
    residuals[1000] = 1e9
    assert alarms(DriftDetector(), residuals) == []


def test_it_starts_afresh_after_an_alarm_and_finds_the_next_change():
    rng = np.random.default_rng(6)
    steps = np.concatenate([normal(rng, 300, level) for level in (0.0, 2.0, 0.0, -2.0)])
    raised = alarms(DriftDetector(), steps)
    assert [round(signal.since_seq / 300) for _, signal in raised] == [1, 2, 3]
    assert [np.sign(signal.after - signal.before) for _, signal in raised] == [1, -1, -1]


def test_one_late_old_decision_does_not_date_the_change():
    rng = np.random.default_rng(7)
    detector = DriftDetector()
    alarms(detector, normal(rng, 300))
    assert detector.update(2.0, 5) is None
    raised = alarms(detector, normal(rng, 200, 2.0), start=300)
    assert 290 <= raised[0][1].since_seq <= 305


@pytest.mark.parametrize("cut", [0, 1, 29, 700, 1023, 1024, 1025, 1400, 1536, 2100, 5000])
def test_a_restored_detector_alarms_at_the_same_observations(cut):
    rng = np.random.default_rng(8)
    residuals = np.concatenate([normal(rng, 1010), normal(rng, 1500, 0.6), skewed(rng, 3000, -0.5)])
    original = DriftDetector()
    alarms(original, residuals[:cut])
    state = original.state()
    restored = DriftDetector.from_state(state)
    expected = alarms(original, residuals[cut:], start=cut)
    assert alarms(restored, residuals[cut:], start=cut) == expected
    assert (len(expected) > 0) == (cut < 3000)
    assert all(len(array) <= 1024 and not array.dtype.hasobject for array in state.values())


@pytest.mark.parametrize("residual", [float("nan"), float("inf"), -float("inf")])
def test_a_residual_that_is_not_finite_is_refused_and_changes_nothing(residual):
    detector = DriftDetector()
    with pytest.raises(InvalidInput, match="give \\(observed"):
        detector.update(residual, 3)
    assert len(detector.state()["residuals"]) == 0


def test_a_state_of_the_wrong_shape_or_content_is_refused():
    seqs = np.arange(2)
    for residuals in (np.zeros(3), np.zeros((2, 1)), np.array([0.0, np.nan])):
        with pytest.raises(InvalidInput):
            DriftDetector.from_state({"residuals": residuals, "seqs": seqs})
    with pytest.raises(InvalidInput, match="1024"):
        DriftDetector.from_state({"residuals": np.zeros(1025), "seqs": np.arange(1025)})
