"""Trace one decision, one feedback and one replay: how many files and rooms each passes.

    python -m tests.architecture.trace

prints the table of docs/architecture.md, with the targets and the figures from before the packages were laid
along the path of the data. `trips.py` says what is counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send
from typer.testing import CliRunner

from fairlead.api.cli.main import app as command_line
from tests.api.running import Running, settings_for
from tests.architecture.trips import Recorder, Trip
from tests.experiments.logs.log_lines import drawn_lines, write_jsonl

ROUNDS: Final = 25
"""Feedback sent until the one that leads to the longest fit is taken."""

REPEATS: Final = 5
"""Decisions of which the middle one is taken: housekeeping may fall into any of them."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Figures of a trip, as measured or as wanted; None for what no target names."""

    files: int | None = None
    file_changes: int | None = None
    returns: int | None = None
    rooms: int | None = None
    room_changes: int | None = None


BEFORE: Final = {
    "decision": Limits(files=36, file_changes=89, returns=54, rooms=26, room_changes=81),
    "decision folded": Limits(files=16, file_changes=27, returns=12, rooms=12, room_changes=21),
    "feedback": Limits(files=19, file_changes=47, returns=29, rooms=16, room_changes=42),
    "feedback folded and fitted": Limits(files=20, file_changes=68, returns=49, rooms=13, room_changes=54),
    "replay": Limits(files=78, rooms=35, room_changes=132),
}
TARGETS: Final = {
    "decision": Limits(files=25, rooms=15, room_changes=45),
    "decision folded": Limits(rooms=6, room_changes=13),
    "feedback": Limits(rooms=11, room_changes=32),
    "feedback folded and fitted": Limits(rooms=7, room_changes=33),
    "replay": Limits(rooms=19, room_changes=78),
}
NAMES: Final = {
    "decision": "`POST /v1/decisions` to the answer, logged",
    "decision folded": "… folded afterwards",
    "feedback": "`POST /v1/feedback` to the answer",
    "feedback folded and fitted": "… folded and fitted into belief",
    "replay": "`fairlead replay` (kinds of passage)",
}


class _Marking:
    """The application, with a call just before and just after the next request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        before, after = self.before, self.after
        if scope["type"] != "http" or before is None or after is None:
            await self._app(scope, receive, send)
            return
        self.before = self.after = None
        before()
        await self._app(scope, receive, send)
        after()


class _Traced:
    """A running service whose next request can be recorded."""

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self._recorder = recorder
        self._marking: _Marking | None = None
        # Nothing else is to look at the log while a trip is recorded.
        self.running = Running(settings_for(folder, poll_s=300.0), wrap=self._wrap).until_ready()

    def _wrap(self, app: ASGIApp) -> ASGIApp:
        self._marking = _Marking(app)
        return self._marking

    def trips(self, request: Callable[[], Any]) -> tuple[Trip, Trip]:
        """Send a request; return the trip to its answer and the trip of its fold."""
        answered: list[Trip] = []

        def after() -> None:
            answered.append(self._recorder.stop())
            self._recorder.start()

        assert self._marking is not None
        self.running.until(self.running.settled)
        self._marking.before, self._marking.after = self._recorder.start, after
        request()
        self.running.until(self.running.settled)
        folded = self._recorder.stop()
        return answered[0].without_store_threads(), folded.without_store_threads()


def trace() -> dict[str, Trip]:
    """Record every trip once, of a service and a command line that have warmed up."""
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as name:
        # This thread only asks every few milliseconds whether the service has folded all.
        with recorder.installed(own_thread=False):
            trips = _service_trips(Path(name), recorder)
        with recorder.installed():
            return trips | {"replay": _replay_trip(Path(name), recorder)}


def _service_trips(folder: Path, recorder: Recorder) -> dict[str, Trip]:
    traced = _Traced(folder, recorder)
    running = traced.running
    try:
        feedback: list[tuple[Trip, Trip]] = []
        for i in range(ROUNDS):
            decision = running.decide()
            outcome = {"served_provider": decision["selected"], "cost_usd": 0.001, "latency_s": 1.0}
            running.post(f"/v1/decisions/{decision['id']}/outcome", outcome, status=200)
            body = {"decision_id": decision["id"], "value": float(i % 3 == 0)}
            feedback.append(traced.trips(partial(running.post, "/v1/feedback", body, status=200)))
        decisions = [traced.trips(running.decide) for _ in range(REPEATS)]
    finally:
        running.stop()
    decision_trip, decision_fold = sorted(decisions, key=lambda pair: pair[0].room_changes)[REPEATS // 2]
    answers = sorted((answer for answer, _ in feedback), key=lambda trip: trip.room_changes)
    return {
        "decision": decision_trip,
        "decision folded": decision_fold,
        "feedback": answers[ROUNDS // 2],
        "feedback folded and fitted": max((fold for _, fold in feedback), key=lambda trip: trip.files),
    }


def _replay_trip(folder: Path, recorder: Recorder) -> Trip:
    log = write_jsonl(folder / "log.jsonl", drawn_lines(120))
    command = ["replay", log, "--target", "default", "--wtp", 0.1, "--report", folder / "report.html"]
    trip = Trip(visits=())
    for _ in range(2):  # the first run imports, which is no part of the trip
        recorder.start()
        result = CliRunner().invoke(command_line, [str(word) for word in command])
        trip = recorder.stop()
        assert result.exit_code == 0, result.output
    return trip


def measured(trip: str, recorded: Trip) -> Limits:
    """Return the figures that the table shows; those of a replay are kinds of passage."""
    if trip == "replay":
        return Limits(files=recorded.files, rooms=recorded.rooms, room_changes=recorded.passages)
    return Limits(
        files=recorded.files,
        file_changes=recorded.file_changes,
        returns=recorded.returns,
        rooms=recorded.rooms,
        room_changes=recorded.room_changes,
    )


def table(trips: dict[str, Trip]) -> str:
    """Return the trips as Markdown: now, before and wanted."""
    columns = ("files", "file_changes", "returns", "rooms", "room_changes")
    heads = ("files", "changes of file", "returns to a file left", "rooms", "changes of room")
    lines = ["| trip | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for trip, recorded in trips.items():
        now, before, target = measured(trip, recorded), BEFORE[trip], TARGETS[trip]
        cells = []
        for column in columns:
            value, old, wanted = (getattr(limits, column) for limits in (now, before, target))
            limit = f", target ≤ {wanted}" if wanted is not None else ""
            cells.append("–" if value is None else f"{value} (was {old}{limit})")
        lines.append(f"| {NAMES[trip]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(trace()))
