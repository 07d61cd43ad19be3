"""Changes of providers: how soon they are found, and how often one is found where nothing changed.

    python -m fairlead.experiments.benchmarks.drift

`llmdrift` holds the answers of two models to the same prompts in March and in June 2023, under the same
names. All prompts of one month are played in random order, then all of the other. False alarms are counted
where nothing changes: on five repeats of 80 tasks (`repeats`), on synthetic providers with rates near
certainty and heavy tails, and on tables that are played as in section 2 of the benchmarks.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import duckdb
import numpy as np

from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.tables import DataMissing, Options, data_folder
from fairlead.experiments.simulation.players import RouterPlayer
from fairlead.experiments.simulation.run import Trace, play
from fairlead.experiments.simulation.scenario import Goal, Settings, goals
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable, read_outcome_table
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Context, DriftAlarm, Feedback, Outcome, Provider, Route

MARCH: Final = "2023-03"
JUNE: Final = "2023-06"
CHANGED: Final = "gpt-4"
CALM: Final = ("paretobandit", "routerbench", "logparse", "lookahead")
_WINDOW: Final = 100
_SEEDS: Final = 10
_ROUNDS: Final = 4_000
_PER: Final = 10_000


class Call(NamedTuple):
    """What came of one call; None where nothing was reported."""

    quality: float
    tokens: float | None
    latency_s: float | None
    failed: bool = False


def file_of(options: Options, name: str) -> Path:
    """Return the file of a table; raises DataMissing if the folder lacks it."""
    path = options.data / "outcomes" / f"{name}.parquet"
    if not path.is_file():
        raise DataMissing(f"{name}.parquet is not in {path.parent}: set FAIRLEAD_DATA.")
    return path


def two_months(path: Path, task: str | None) -> OutcomeTable:
    """Read the prompts of a task (None: of all) once for each month, which becomes their split."""
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        copy = Path(folder) / "months.parquet"
        connection.execute(
            "COPY (SELECT prompt_id || '@' || period AS prompt_id, period AS split, task, prompt, model, "
            "quality, cost_usd, input_tokens, output_tokens, latency_s FROM read_parquet($path) "
            f"WHERE $task IS NULL OR task = $task) TO '{copy}'",
            {"path": str(path), "task": task},
        )
        return read_outcome_table(copy)


def changes_found(options: Options, *, tasks: Sequence[str | None] = (None, "prime")) -> Section:
    """Measure the share of the provider that changed, and the decisions until the first alarm about it."""
    seeds = options.seed_count(_SEEDS)
    section = Section(number=1, title=f"The same names in March and in June, {seeds} seeds")
    path = file_of(options, "llmdrift")
    for task in tasks:
        table = two_months(path, task)
        column = table.providers.index(CHANGED)
        for first, second in ((MARCH, JUNE), (JUNE, MARCH)):
            settings = Settings(warmup_split=first, score_split=second, seeds=seeds, supervised=False)
            rows = []
            for seed in settings.seed_list:
                stream = make_stream(table, settings, seed)
                trace = play(table, settings, stream, policy="default", goal=Goal())
                rows.append(_around(trace, column, stream.score_from))
            label = f"{task or 'all tasks'}, {first} → {second}"
            for name, values in zip(_AROUND, zip(*rows, strict=True), strict=True):
                section.show(f"{label}: {name}", list(values), digits=3)
    section.notes.append("Without a budget. Decisions until an alarm are 3,000 if there is none.")
    return section


_AROUND: Final = (
    f"share of {CHANGED} in the {_WINDOW} decisions before",
    f"... in the {_WINDOW} after",
    f"... in the next {_WINDOW}",
    "decisions until the first alarm",
    "decisions until one about quality",
)
_NEVER: Final = 3_000.0


def _around(trace: Trace, column: int, step: int) -> tuple[float, ...]:
    is_chosen = trace.columns == column
    waits = {
        alarm.quantity: float(alarm.at_seq - step + 1)
        for alarm in reversed(alarms_of(trace))
        if alarm.at_seq >= step and alarm.provider == CHANGED
    }
    shares = (is_chosen[step + at : step + at + _WINDOW].mean() for at in (-_WINDOW, 0, _WINDOW))
    return (*map(float, shares), min(waits.values(), default=_NEVER), waits.get("quality", _NEVER))


def alarms_of(trace: Trace) -> list[DriftAlarm]:
    """Return the alarms that the router of a run raised."""
    assert isinstance(trace.player, RouterPlayer), "only the router raises alarms"
    return trace.player.router.alarms


def alarms_alone(calls: Iterable[Call]) -> list[DriftAlarm]:
    """Serve a route of one provider with these calls; the alarms."""
    router = Router(Route(name="calm", providers=(Provider(name="only"),)))
    for i, call in enumerate(calls):
        decision = router.decide(Context(features=np.zeros(0)), decision_id=str(i), draw=0.5)
        router.learn(decision)
        outcome = Outcome(
            decision_id=decision.id,
            served_provider="only",
            status="error" if call.failed else "ok",
            output_tokens=None if call.tokens is None else round(call.tokens),
            latency_s=call.latency_s,
        )
        router.learn(outcome)
        if not call.failed:
            router.learn(Feedback(decision_id=decision.id, value=call.quality))
    return router.alarms


def repeated(path: Path, seed: int, *, rounds: int = _ROUNDS) -> Iterator[list[Call]]:
    """Yield the calls of each provider: every repeat of all tasks in an order of its own, again and again."""
    rng = np.random.default_rng(seed)
    with duckdb.connect() as connection:
        models = connection.execute("SELECT DISTINCT model FROM read_parquet(?) ORDER BY 1", [str(path)])
        for (model,) in models.fetchall():
            rows = connection.execute(
                "SELECT rep, quality, output_tokens, latency_s FROM read_parquet(?) WHERE model = ? "
                "ORDER BY rep, prompt_id",
                [str(path), model],
            ).fetchall()
            repeats = sorted({row[0] for row in rows})
            calls: list[Call] = []
            while len(calls) < rounds:
                for repeat in rng.permutation(repeats).tolist():
                    same = [Call(*row[1:]) for row in rows if row[0] == repeat]
                    calls += [same[i] for i in rng.permutation(len(same)).tolist()]
            yield calls[:rounds]


def synthetic(seed: int, *, rounds: int = _ROUNDS) -> Iterator[tuple[str, list[Call]]]:
    """Yield providers that do not change: rates near certainty, and amounts with and without a mean."""
    rng = np.random.default_rng(seed)
    for rate in (0.005, 0.5, 0.95, 0.995):
        quality = (rng.random(rounds) < rate).astype(float)
        tokens = np.minimum(20.0 * (1.0 + rng.pareto(1.0, rounds)), 1e5)
        latency = np.exp(rng.normal(0.5, 2.0, rounds))
        failed = rng.random(rounds) < 0.02
        columns = (quality.tolist(), tokens.tolist(), latency.tolist(), failed.tolist())
        yield f"rewards of 1 with p = {rate}", [Call(*row) for row in zip(*columns, strict=True)]


def false_alarms(options: Options, *, tables: Sequence[str] = CALM, rounds: int = _ROUNDS) -> Section:
    """Count alarms in 10,000 decisions where nothing changes."""
    seeds = options.seed_count(_SEEDS)
    section = Section(number=2, title=f"False alarms in {_PER:,} decisions, {seeds} seeds")
    path = file_of(options, "repeats")
    streams: dict[str, list[list[DriftAlarm]]] = {}
    for seed in range(seeds):
        for calls in repeated(path, seed, rounds=rounds):
            streams.setdefault("repeats, each provider alone", []).append(alarms_alone(calls))
        for name, calls in synthetic(seed, rounds=rounds):
            streams.setdefault(f"synthetic, {name}", []).append(alarms_alone(calls))
    for name, raised in streams.items():
        _count(section, name, raised, decisions=rounds)
    for name in tables:
        table = options.table(name, distinct=True)
        settings = Settings(seeds=seeds, supervised=False, budget_count=2)
        raised = []
        for seed in settings.seed_list:
            stream = make_stream(table, settings, seed)
            for goal in goals(table, settings):
                raised.append(alarms_of(play(table, settings, stream, policy="default", goal=goal)))
        _count(section, name, raised, decisions=len(table))
    return section


def _count(section: Section, name: str, raised: Sequence[Sequence[DriftAlarm]], *, decisions: int) -> None:
    section.at_most(name, [len(alarms) * _PER / decisions for alarms in raised], 1.0, digits=3)
    kinds = Counter(alarm.quantity for alarms in raised for alarm in alarms)
    total = f"{len(raised) * decisions:,} decisions"
    what = ", ".join(f"{quantity} {count}" for quantity, count in sorted(kinds.items()))
    section.notes.append(f"{name}: {total}; alarms: {what or 'none'}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both, and print the tables."""
    name = "python -m fairlead.experiments.benchmarks.drift"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    parser.add_argument("--seeds", type=int, default=None, metavar="N", help=f"default: {_SEEDS}")
    parser.add_argument("--tables", default=",".join(CALM), metavar="NAME[,NAME]", help="of false alarms")
    namespace = parser.parse_args(arguments)
    options = Options(data=data_folder(), seeds=namespace.seeds)
    started = time.perf_counter()
    try:
        for measured in (changes_found(options), false_alarms(options, tables=namespace.tables.split(","))):
            measured.seconds = time.perf_counter() - started
            print(measured.markdown(), flush=True)
    except DataMissing as missing:
        print(f"Skipped: {missing}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
