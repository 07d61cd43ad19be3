import numpy as np

from fairlead.optimizer.selection.sample import SIZE, PeriodSample


def filled(n) -> PeriodSample:
    sample = PeriodSample()
    for i in range(n):
        sample.add((np.array([float(i)]), float(i)))
    return sample


def test_rows_are_spread_evenly_over_the_period():
    tokens = [tokens for _, tokens in filled(5_000).rows]
    assert SIZE // 2 <= len(tokens) <= SIZE
    assert set(np.diff(tokens)) == {tokens[1] - tokens[0]}
    assert tokens[0] == 0.0 and tokens[-1] > 4_800


def test_the_period_before_stays_unless_the_present_one_says_as_much():
    sample = filled(40)
    sample.next_period()
    sample.add((np.array([99.0]), 99.0))
    assert len(sample.rows) == 41
    sample.next_period()
    assert len(sample.rows) == 40


def test_a_restored_sample_goes_on_alike():
    sample, other = filled(100), PeriodSample()
    sample.next_period()
    sample.add((np.array([1.0]), 1.0))
    other.restore(sample.state())
    for each in (sample, other):
        for i in range(200):
            each.add((np.array([float(i)]), float(i)))
    assert [tokens for _, tokens in other.rows] == [tokens for _, tokens in sample.rows]
