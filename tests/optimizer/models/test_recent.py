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


def test_a_provider_has_turned_when_its_latest_calls_were_all_beyond():
    usual = [1.0] * 50
    assert recent(*usual, *[9.0] * 7).turned(4.0) is None
    assert recent(*usual, 8.5, *[9.0] * 6, 1e9).turned(4.0) == 8.5
    assert recent(*usual, *[9.0] * 40).turned(4.0) == 9.0
    assert recent(*usual, *[9.0] * 8).turned(9.0) is None
    assert recent(*[9.0] * 7).turned(4.0) is None
    assert RecentValues().turned(4.0) is None


def test_a_provider_that_has_turned_is_back_after_three_calls_in_a_row_within():
    assert recent(*[9.0] * 8, 1.0, 1.0).turned(4.0) == 9.0
    assert recent(*[9.0] * 8, 1.0, 1.0, 9.0, 1.0, 1.0).turned(4.0) == 9.0
    assert recent(*[9.0] * 8, 1.0, 1.0, 1.0).turned(4.0) is None
    assert recent(*[9.0] * 8, 1.0, 1.0, 1.0, *[9.0] * 7).turned(4.0) is None
    assert recent(*[9.0] * 8, *[1.0, 9.0] * RECENT).turned(4.0) is None


def test_whether_it_has_turned_follows_from_the_calls_and_not_from_when_they_came():
    calls = RecentValues()
    for seq in (9, 3, 5, 4, 7, 8, 6, 2):
        calls.add(seq, 9.0)
    assert calls.turned(4.0) == 9.0
    calls.add(0, 1.0)
    assert calls.turned(4.0) == 9.0
    calls.remove(5, 9.0)
    calls.add(5, 1.0)
    assert calls.turned(4.0) is None
