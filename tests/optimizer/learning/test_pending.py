"""Events that wait for their decision: bounded in number and time, joined in order, refused once closed."""

from __future__ import annotations

import pytest

from fairlead.optimizer.learning import pending as module
from fairlead.optimizer.learning.pending import PendingEvents


def parked(*pairs: tuple[str, str], limit: int = 10, wait_s: float = 60.0) -> PendingEvents[str]:
    pending = PendingEvents[str](limit=limit, wait_s=wait_s)
    for at_s, (decision_id, event) in enumerate(pairs):
        pending.park(decision_id, event, at_s=at_s)
    return pending


def test_events_join_their_decision_in_the_order_of_their_arrival_and_once() -> None:
    pending = parked(("a", "2"), ("b", "x"), ("a", "1"), ("a", "2"))
    assert len(pending) == 3
    assert list(pending) == ["2", "1", "x"]
    assert list(pending.waiting("a")) == ["2", "1"]
    assert list(pending.join("a")) == ["2", "1"]
    assert (list(pending.join("a")), list(pending.waiting("a")), len(pending)) == ([], [], 1)
    assert list(pending.groups()) == [("b", ["x"])]


def test_the_decision_waited_for_longest_is_given_up_when_too_many_events_wait() -> None:
    pending = parked(("a", "1"), ("b", "x"), ("a", "2"), limit=2)
    assert pending.expire() == ["1", "2"]
    assert pending.is_given_up("a") and not pending.is_given_up("b")
    assert (list(pending), len(pending), pending.given_up) == (["x"], 1, ["a"])
    assert pending.expire() == []


def test_the_decision_waited_for_too_long_is_given_up() -> None:
    pending = parked(("a", "1"), ("b", "x"), wait_s=10.0)
    assert pending.expire(10.0) == []
    assert pending.expire(10.5) == ["1"]
    assert pending.expire(1e9) == ["x"]
    assert len(pending) == 0


def test_closing_drops_what_waits_and_remembers_the_latest_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED_IDS", 2)
    pending = parked(("a", "1"), ("b", "x"))
    for decision_id in ("a", "b", "c"):
        pending.close(decision_id)
    assert len(pending) == 0
    assert pending.closed == ["b", "c"]
    assert pending.is_closed("c") and not pending.is_closed("a")


def test_remembered_ids_are_restored() -> None:
    pending = parked()
    pending.remember(closed=["a", "b"], given_up=["c"])
    assert (pending.closed, pending.given_up) == (["a", "b"], ["c"])
    pending.remember(closed=[])
    assert not pending.is_closed("a") and not pending.is_given_up("c")
