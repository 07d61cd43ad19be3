"""The fold by itself: which reports wait for their decision, and what a snapshot keeps of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fairlead.api.schemas.declarations import ProviderIn, RouteIn
from fairlead.api.state import snapshots
from fairlead.api.state.configuration import Change
from fairlead.api.state.decide import decide
from fairlead.api.state.fold import CLOSE_EVERY, Fold
from fairlead.api.store import Row
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Context, Decision, Feedback, Outcome
from tests.api.state.folds import same

WAIT_S = 100.0
LIMIT = 3


def new_fold() -> Fold:
    return Fold(parked_wait_s=WAIT_S, parked_limit=LIMIT)


@dataclass
class Log:
    """A fold and the rows that it was folded from."""

    fold: Fold = field(default_factory=new_fold)
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row, event: Decision | Outcome | Feedback | None = None) -> None:
        self.rows.append(row._replace(seq=len(self.rows) + 1))
        self.fold.apply(self.rows[-1], event)

    def declare(self, route: RouteIn) -> None:
        for name in route.providers:
            body = ProviderIn(name=name).model_dump(mode="json")
            self.add(
                Row.config(Change("provider", name, "put", body).line(), uid=f"p{len(self.rows)}", at_s=0.0)
            )
        change = Change("route", route.name, "put", route.model_dump(mode="json"))
        self.add(Row.config(change.line(), uid=f"r{len(self.rows)}", at_s=0.0))

    def make(self, decision_id: str, at_s: float = 1.0, *, route: str = "chat") -> Decision:
        served = self.fold.routes[route]
        decision, fault = decide(served, Context(text="x"), decision_id=decision_id, draw=0.5, at_s=at_s)
        assert fault is None
        return decision

    def add_decision(self, decision: Decision, at_s: float) -> None:
        row = Row.decision(encode(decision), decision_id=decision.id, route=decision.route, at_s=at_s)
        self.add(row, decision)

    def decide(self, decision_id: str, at_s: float, *, route: str = "chat") -> Decision:
        decision = self.make(decision_id, at_s, route=route)
        self.add_decision(decision, at_s)
        return decision

    def judge(self, decision_id: str, at_s: float, value: float = 1.0) -> Feedback:
        feedback = Feedback(decision_id=decision_id, value=value)
        uid = f"f{len(self.rows)}"
        self.add(
            Row.report(
                encode(feedback), kind="feedback", uid=uid, decision_id=decision_id, route=None, at_s=at_s
            ),
            feedback,
        )
        return feedback


@pytest.fixture
def log() -> Log:
    log = Log()
    log.declare(RouteIn(name="chat", providers=("small", "large"), max_open_decisions=100))
    return log


def counts(log: Log) -> dict[str, int]:
    return {result: n for (kind, result), n in log.fold.counts.items() if kind == "feedback"}


def test_a_report_waits_for_its_decision_and_then_counts(log: Log) -> None:
    log.judge("d", 1.0)
    log.judge("d", 2.0, value=0.0)
    assert len(log.fold.pending) == 2
    log.decide("d", 3.0)
    assert counts(log) == {"parked": 2, "joined": 2}
    (feedback,) = log.fold.routes["chat"].open_decision("d").feedback
    assert (feedback.value, feedback.revision) == (0.0, log.rows[-2].seq), "the later of two is in force"
    assert log.fold.open["d"].by_key == {"": 2}


def test_too_many_reports_give_up_the_decision_that_is_waited_for_longest(log: Log) -> None:
    for decision_id in ("first", "first", "second", "third"):
        log.judge(decision_id, 1.0)
    assert counts(log) == {"parked": 4, "expired": 2}
    assert log.fold.pending.is_given_up("first")
    assert [decision_id for decision_id, _ in log.fold.pending.groups()] == ["second", "third"]


def test_reports_wait_no_longer_than_they_may(log: Log) -> None:
    log.judge("never", 1.0)
    log.judge("d", 1.0 + WAIT_S / 2)
    log.decide("other", 1.0 + WAIT_S + 1.0)
    assert counts(log) == {"parked": 2, "expired": 1}
    assert log.fold.pending.is_given_up("never") and not log.fold.pending.is_given_up("d")


def test_the_oldest_of_too_many_open_decisions_are_closed(log: Log) -> None:
    for i in range(CLOSE_EVERY):
        log.decide(f"d{i}", float(i))
    assert list(log.fold.open) == [f"d{i}" for i in range(CLOSE_EVERY - 100, CLOSE_EVERY)]
    assert [decision.id for decision in log.fold.routes["chat"].router.open_decisions()] == list(
        log.fold.open
    )
    log.judge("d0", 1000.0)
    assert counts(log) == {"late": 1}


def test_events_at_hand_fold_like_their_lines_and_are_not_written_to(log: Log, tmp_path: Path) -> None:
    made_together = [log.make("d0"), log.make("d1")]
    for decision in made_together:
        log.add_decision(decision, 1.0)
    feedback = log.judge("d1", 2.0)
    assert feedback.revision == 0 and [decision.seq for decision in made_together] == [0, 0]
    again = new_fold()
    for row in log.rows:
        again.apply(row)
    assert same(log.fold, again, tmp_path)


def test_the_seqs_of_a_route_count_its_own_decisions_and_configurations(log: Log, tmp_path: Path) -> None:
    log.declare(RouteIn(name="busy", providers=("small", "large")))
    for i in range(3):
        log.decide(f"d{i}", float(i))
        for j in range(10):
            log.decide(f"busy{i}-{j}", float(i), route="busy")
    log.declare(RouteIn(name="chat", providers=("small", "large"), exploration_share=0.1))
    log.decide("d3", 3.0)
    seqs = [decision.seq for decision in log.fold.routes["chat"].router.open_decisions()]
    assert seqs == [0, 1, 2, 4], "3 is the configuration"
    loaded = snapshots.load(snapshots.save(log.fold, tmp_path, log="log"), new_fold, log="log")
    log.decide("d4", 4.0)
    loaded.apply(log.rows[-1])
    for fold in (log.fold, loaded):
        assert fold.routes["chat"].open_decision("d4").seq == 5


def test_a_snapshot_keeps_what_waits_and_what_is_remembered(log: Log, tmp_path: Path) -> None:
    for i in range(CLOSE_EVERY):
        log.decide(f"d{i}", float(i))
    for i, decision_id in enumerate(("gone", "early", "early", "early")):
        log.judge(decision_id, 300.0 + i)
    path = snapshots.save(log.fold, tmp_path / "state", log="log")
    loaded = snapshots.load(path, new_fold, log="log")
    assert len(loaded.pending) == 3 and loaded.pending.is_given_up("gone") and loaded.pending.is_closed("d0")
    assert same(log.fold, loaded, tmp_path)
    log.decide("early", 310.0)
    loaded.apply(log.rows[-1])
    assert len(loaded.pending) == 0
    assert same(log.fold, loaded, tmp_path / "later")


def test_a_restored_fold_closes_the_same_decisions_whatever_they_are_called(log: Log, tmp_path: Path) -> None:
    for i in range(CLOSE_EVERY // 2):
        log.decide(f"d{(i * 89) % CLOSE_EVERY}", float(i))
    loaded = snapshots.load(snapshots.save(log.fold, tmp_path / "state", log="log"), new_fold, log="log")
    for i in range(CLOSE_EVERY // 2, CLOSE_EVERY):
        log.decide(f"d{(i * 89) % CLOSE_EVERY}", float(i))
        loaded.apply(log.rows[-1])
    latest = [f"d{(i * 89) % CLOSE_EVERY}" for i in range(CLOSE_EVERY - 100, CLOSE_EVERY)]
    assert list(loaded.open) == latest
    assert [decision.id for decision in loaded.routes["chat"].router.open_decisions()] == latest
    assert same(log.fold, loaded, tmp_path / "later")


def test_a_snapshot_of_another_release_is_not_used(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "FILE_FORMAT", 1)
        path = snapshots.save(log.fold, tmp_path, log="log")
    with pytest.raises(ValueError, match="format 1"):
        snapshots.load(path, new_fold, log="log")
