from fairlead.optimizer.models.recent import RECENT, RecentValues


def recent(*values) -> RecentValues:
    calls = RecentValues()
    for seq, value in enumerate(values):
        calls.add(seq, value)
    return calls


def test_the_latest_in_a_row_count_by_seq_whatever_came_when():
    calls = recent(5.0, 1.0, 1.0, 1.0)
    assert calls.in_a_row(1.0) == 3
    calls.add(0, 9.0)
    assert calls.in_a_row(1.0) == 3
    calls.add(10, 2.0)
    assert calls.in_a_row(1.0) == 0
    calls.remove(10, 2.0)
    calls.remove(10, 2.0)
    assert calls.in_a_row(1.0) == 3


def test_no_more_are_kept_than_are_needed():
    calls = recent(*[1.0] * 500)
    assert calls.in_a_row(1.0) == RECENT
    assert len(calls.state()["seqs"]) == 256
    assert RecentValues().in_a_row(1.0) == 0
