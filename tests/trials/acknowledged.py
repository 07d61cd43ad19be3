"""A client's record of requests and answers, to be compared with the log.

An event that was answered with 2xx is *acknowledged* and must be in the log as it was answered, once. An
event whose answer never came is *open*: it may be in the log, once, or not. Nothing else may be there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import msgspec

from fairlead.api.service.answers import logged_decision
from fairlead.api.store.base import Row
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Feedback, Outcome

MOST_SHOWN: Final = 20
_FEEDBACK: Final = ("decision_id", "metric", "value", "source")
_OUTCOME: Final = ("decision_id", "cost_usd", "latency_s", "served_provider", "status")


@dataclass(frozen=True)
class Sent:
    """One event as it was sent. ``uid`` is its uid in the log; empty if the service chooses it."""

    kind: str
    path: str
    body: Mapping[str, Any]
    uid: str


@dataclass
class Ledger:
    """Everything that was sent, and what was answered."""

    acknowledged: dict[str, tuple[Sent, Mapping[str, Any]]] = field(default_factory=dict)
    """By uid: what was sent, and the first answer to it."""
    open: dict[str, Sent] = field(default_factory=dict)
    """By uid: what was sent and not answered."""
    nameless: int = 0
    """Decisions without an id of the client's whose answer never came."""
    problems: list[str] = field(default_factory=list)
    """Answers that must not be."""

    def sending(self, sent: Sent) -> None:
        """Note that an event is on its way: from here on it may be in the log."""
        if not sent.uid:
            self.nameless += 1
        elif sent.uid not in self.acknowledged:
            self.open[sent.uid] = sent

    def answered(self, sent: Sent, status: int, answer: Mapping[str, Any]) -> None:
        """Note the answer to an event."""
        if status in (429, 503):
            return  # refused for now; it stays open, since a 503 can follow a commit whose answer was lost
        if status != 200:
            self._problem(f"{sent.kind} {sent.uid!r} was answered with {status}: {answer}")
            return
        uid = sent.uid
        if not uid:
            self.nameless -= 1
            uid = f"d:{answer['id']}"
        self.open.pop(uid, None)
        before = self.acknowledged.setdefault(uid, (sent, answer))[1]
        same = ("selected", "created_at", "candidates") if sent.kind == "decision" else ("seq",)
        for name in same:
            if before[name] != answer[name]:
                self._problem(f"{sent.kind} {uid!r} was answered with another {name} when it was repeated")

    def _problem(self, text: str) -> None:
        if len(self.problems) < MOST_SHOWN:
            self.problems.append(text[:400])

    def compare(self, rows: Sequence[Row], *, since: int = 0) -> list[str]:
        """Return what is wrong with the log, in sentences; none if every acknowledged event is there, once.

        The content of rows up to the seq ``since`` was compared before.
        """
        problems = list(self.problems)
        by_uid = {row.uid: row for row in rows}
        if len(by_uid) != len(rows):
            problems.append("an event is in the log twice")
        if any(after.seq <= before.seq for before, after in pairwise(rows)):
            problems.append("the seqs of the log do not rise")
        lost = [uid for uid in self.acknowledged if uid not in by_uid]
        problems += [f"lost: {uid}" for uid in lost[:MOST_SHOWN]]
        if len(lost) > MOST_SHOWN:
            problems.append(f"lost: {len(lost)} altogether")
        unknown = 0
        for row in rows:
            entry = self.acknowledged.get(row.uid)
            if entry is not None:
                problems += _differences(row, *entry) if row.seq > since else []
            elif row.kind == "decision" and row.uid not in self.open:
                unknown += 1
            elif row.kind != "config" and row.uid not in self.open:
                problems.append(f"in the log and never sent: {row.uid}")
        if unknown > self.nameless:
            problems.append(
                f"{unknown} decisions in the log that were never answered, and {self.nameless} that may be"
            )
        return problems[: 2 * MOST_SHOWN]


def _differences(row: Row, sent: Sent, answer: Mapping[str, Any]) -> list[str]:
    """Return how a row of the log differs from what was sent and answered."""
    if sent.kind == "decision":
        if msgspec.json.decode(msgspec.json.encode(logged_decision(row))) != answer:
            return [f"decision {row.uid} is in the log otherwise than it was answered"]
        return []
    event = decode(row.line)
    assert isinstance(event, Outcome | Feedback)
    names = _FEEDBACK if sent.kind == "feedback" else _OUTCOME
    wrong = [name for name in names if name in sent.body and getattr(event, name) != sent.body[name]]
    if row.seq != answer["seq"]:
        wrong.append("seq")
    return [f"{sent.kind} {row.uid} is in the log with another {name} than was sent" for name in wrong]


@dataclass
class Effect:
    """What is in force for one decision, by a model that shares nothing with the service's."""

    values: dict[str, float | None] = field(default_factory=dict)
    outcome: Outcome | None = None


def in_force(rows: Sequence[Row]) -> dict[str, Effect]:
    """Return by decision the last value of each metric and source, and the last outcome, in log order."""
    effects: dict[str, Effect] = {row.decision_id or "": Effect() for row in rows if row.kind == "decision"}
    for row in rows:
        if row.kind not in ("outcome", "feedback") or row.decision_id not in effects:
            continue
        event, effect = decode(row.line), effects[row.decision_id]
        if isinstance(event, Feedback):
            effect.values[f"{event.metric}/{event.source}"] = event.value
        else:
            assert isinstance(event, Outcome)
            effect.outcome = event
    return effects
