"""The event log of a router, which needs no option but the route: it says everything else itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fairlead.experiments.logs.from_events import served_lines
from fairlead.experiments.logs.importers.report import ImportReport
from fairlead.experiments.logs.write import Line, write_log
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import read_log


def import_events(path: Path, out: Path | None, *, route: str | None) -> ImportReport:
    """Write the decisions of one route of an event log, and report."""
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file: check the path.")
    tally = _Tally()
    lines = tally.counted(served_lines(read_log(path), route=route))
    if out is None:
        for _ in lines:
            pass
    else:
        write_log(out, lines)
    kept = tally.providers.total()
    return ImportReport(
        path=path,
        source="events",
        read=kept,
        kept=kept,
        first=tally.first,
        last=tally.last,
        providers=tally.providers,
        failed=tally.failed,
        judged=tally.judged,
        unpriced=kept - tally.priced,
        with_propensities=True,
    )


class _Tally:
    """Counts of the lines that went by."""

    def __init__(self) -> None:
        self.providers: Counter[str] = Counter()
        self.first = self.last = ""
        self.failed = self.judged = self.priced = 0

    def counted(self, lines: Iterable[Line]) -> Iterator[Line]:
        for line in lines:
            self.providers[line["provider"]] += 1
            self.first = self.first or line["decided_at"]
            self.last = line["decided_at"]
            self.failed += line.get("status") not in (None, "ok")
            self.judged += line.get("reward") is not None
            self.priced += line.get("cost_usd") is not None
            yield line
