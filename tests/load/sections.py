"""The sections of the benchmark: throughput, latency, overload, soak."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, Final

from fairlead.experiments.benchmarks.report import Section
from tests.load import served
from tests.load.load import Loaded, closed_loop, open_loop, probe
from tests.trials.servers import Server, serving
from tests.trials.wire import run

CONNECTIONS: Final = 32
ROUNDS: Final = 3
_BASELINE: Final = "import sys; from tests.load.baseline import main; main(sys.argv[-1])"
_MOST_REQUESTS: Final = 60_000
"""Of one overload, so that it is bounded in count."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long each measurement takes, and on which store."""

    folder: Path
    url: str | None
    seconds: float
    minutes: float
    rate: float

    def settings(self, name: str, **more: Any) -> dict[str, Any]:
        """Return the settings of a server of a section."""
        folder = self.folder / name
        return served.settings(folder, self.url, **more)


async def _warm(server: Server, seconds: float) -> None:
    await server.until_ready()
    await closed_loop(server.port, served.decisions(9), connections=8, seconds=max(seconds / 2, 1.0))


def throughput(options: Options) -> Section:
    """Run closed loops at 32 connections in turns: the empty endpoint, decisions, the baseline."""
    section = Section(number=1, title=f"Throughput at {CONNECTIONS} connections")
    goodput: dict[str, list[float]] = {"empty": [], "decisions": [], "baseline": []}
    with (
        serving(options.folder / "one", options.settings("one")) as service,
        serving(
            options.folder / "base",
            served.settings(options.folder / "base"),
            environment={},
            command=_BASELINE,
        ) as baseline,
    ):

        async def measure() -> None:
            await _warm(service, options.seconds)
            await closed_loop(baseline.port, served.decisions(9), connections=8, seconds=1.0)
            for i in range(ROUNDS):
                for name, port, asked in (
                    ("empty", service.port, served.empty()),
                    ("decisions", service.port, served.decisions(i)),
                    ("baseline", baseline.port, served.decisions(i)),
                ):
                    loaded = await closed_loop(
                        port, asked, connections=CONNECTIONS, seconds=options.seconds / ROUNDS
                    )
                    goodput[name].append(loaded.goodput)
                    _note_errors(section, name, loaded)

        run(measure())
    _compare_goodput(section, goodput)
    return section


def _compare_goodput(section: Section, goodput: dict[str, list[float]]) -> None:
    for name, values in goodput.items():
        section.show(f"{name}, answers/s", values, digits=0)
    pairs = list(zip(goodput["decisions"], goodput["empty"], goodput["baseline"], strict=True))
    section.at_least(
        "decisions / empty endpoint", [median(decisions / empty for decisions, empty, _ in pairs)], 0.5
    )
    section.at_least(
        "decisions / baseline",
        [median(decisions / baseline for decisions, _, baseline in pairs)],
        5.0,
        digits=1,
    )


def _note_errors(section: Section, name: str, loaded: Loaded) -> None:
    wrong = {status: n for status, n in loaded.statuses.items() if not 200 <= status < 300}
    if wrong:
        section.notes.append(f"{name}: answers other than 2xx, by status (0: none came): {wrong}")


def latency(options: Options) -> Section:
    """Open loops: decisions, and outcomes and feedback at the same rate each."""
    section = Section(
        number=2, title="Latency under open-loop arrivals, feedback and outcomes at the same rate"
    )
    with serving(options.folder / "two", options.settings("two")) as service:

        async def measure() -> None:
            await _warm(service, options.seconds)
            for per_s, bound_ms in ((200.0, 10.0), (1_000.0, 30.0)):
                prefix = f"l{per_s:g}-"
                streams: list[Iterator[served.Asked]] = [
                    served.decisions(1, prefix=prefix),
                    served.outcomes(2, prefix=prefix, behind=int(per_s)),
                    served.feedback(3, prefix=prefix, behind=int(per_s)),
                ]
                decisions, *others = await open_loop(
                    service.port, streams, per_s=per_s, seconds=options.seconds, most=64
                )
                section.show(f"decisions at {per_s:g}/s: sent/s", [decisions.rate], digits=0)
                section.show(f"decisions at {per_s:g}/s: p50, ms", [decisions.accepted_ms(50)], digits=1)
                section.at_most(
                    f"decisions at {per_s:g}/s: p99, ms", [decisions.accepted_ms(99)], bound_ms, digits=1
                )
                section.show(
                    "outcomes and feedback: p99, ms",
                    [max(loaded.accepted_ms(99) for loaded in others)],
                    digits=1,
                )
                for loaded in (decisions, *others):
                    _note_errors(section, f"at {per_s:g}/s", loaded)

        run(measure())
    return section


def overload(options: Options) -> Section:
    """Ten times what can be sustained, and what becomes of the rest."""
    section = Section(number=3, title="Ten times the sustainable load")
    with serving(options.folder / "three", options.settings("three")) as service:

        async def measure() -> None:
            await _warm(service, options.seconds)
            peak = 0.0
            for connections in (CONNECTIONS, 200):
                asked = served.decisions(connections)
                loaded = await closed_loop(
                    service.port, asked, connections=connections, seconds=options.seconds / 2
                )
                peak = max(peak, loaded.goodput)
            per_s = 10.0 * peak
            seconds = min(options.seconds, _MOST_REQUESTS / per_s)
            # Timed by a process of its own: the one that floods is late by itself.
            with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
                probing = pool.submit(probe, service.port, seconds)
                (flood,) = await open_loop(
                    service.port, [served.decisions(2)], per_s=per_s, seconds=seconds, most=512
                )
                recovered_s = await _recovery(service)
                probed = probing.result()
            section.show("peak goodput, decisions/s", [peak], digits=0)
            section.show("asked for, requests/s", [per_s], digits=0)
            section.show("sent by the client, requests/s", [flood.rate], digits=0)
            section.at_least("goodput / peak", [flood.goodput / peak], 0.8, digits=2)
            section.at_most(
                "refused, timed by a client beside it: p99, ms", [probed.refused_ms(99)], 50.0, digits=1
            )
            section.show("refused, as timed by the flood: p99, ms", [flood.refused_ms(99)], digits=0)
            missing = flood.without_retry_after + probed.without_retry_after
            section.at_most("refused without Retry-After", [missing], 0.0, digits=0)
            section.at_most("seconds until a decision takes ≤ 30 ms again", [recovered_s], 5.0, digits=2)
            section.notes.append(f"answers by status (0: none came): {dict(flood.statuses)}")

        run(measure())
    section.notes.append("The client shares the cores with the service, and answers with it for the rest.")
    return section


async def _recovery(service: Server) -> float:
    """Seconds until twenty decisions in a row are accepted within 30 ms each."""
    started = monotonic()
    while monotonic() - started < 30.0:
        after = monotonic() - started
        few = await closed_loop(service.port, served.decisions(3), connections=1, seconds=0.2)
        if few.accepted_s and set(few.statuses) == {200} and few.accepted_ms(95) <= 30.0:
            return after
    return float("inf")


def soak(options: Options) -> Section:
    """Keep up a steady load, and watch memory and files."""
    section = Section(number=4, title=f"Soak: {options.minutes:g} min at {options.rate:g} decisions/s")
    with serving(options.folder / "four", options.settings("four", open_decisions=2_000)) as service:
        memory_mb: list[float] = []
        sizes: list[int] = []

        async def measure() -> Loaded:
            await _warm(service, options.seconds)
            prefix = "s-"
            streams: list[Iterator[served.Asked]] = [
                served.decisions(1, prefix=prefix),
                served.outcomes(2, prefix=prefix, behind=int(options.rate)),
                served.feedback(3, prefix=prefix, behind=int(options.rate)),
            ]
            load = asyncio.ensure_future(
                open_loop(service.port, streams, per_s=options.rate, seconds=60 * options.minutes, most=64)
            )
            while not load.done():
                memory_mb.append(resident_mb(service.pid))
                sizes.append(_size(options.folder / "four"))
                await asyncio.sleep(1.0)
            asked, *others = await load
            for loaded in (asked, *others):
                _note_errors(section, "soak", loaded)
            return asked

        asked = run(measure())
    # The first third fills the open decisions and the window of the pacer.
    third = len(memory_mb) // 3
    tail = max(len(memory_mb) // 10, 1)
    before, after = median(memory_mb[third : third + tail]), median(memory_mb[-tail:])
    section.show("decisions", [len(asked.accepted_s)], digits=0)
    section.show("decisions: p99, ms", [asked.accepted_ms(99)], digits=1)
    section.show("resident memory after warm-up, MB", [before], digits=1)
    section.at_most("growth of memory after warm-up", [after / before - 1.0], 0.05)
    if options.url is None:
        grown = (sizes[-1] - sizes[third]) / (asked.rate * (len(sizes) - third))
        section.show("file growth per decision with outcome and feedback, bytes", [grown], digits=0)
    return section


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("log.db*"))
