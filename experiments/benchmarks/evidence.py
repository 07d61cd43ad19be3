"""Warm starts: what some labelled prompts are worth, and what false ones cost.

    python -m fairlead.experiments.benchmarks.evidence

The router is told all outcomes of a few prompts before the first request; the others are the stream. It is
compared with itself, untold, on the same stream. Told falsely, it sees the same prompts with the outcomes of
each shuffled among providers, with those of every provider under another's name, or prompts and outcomes of
another table under the providers' names. A standard error is that of the paired differences.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.tables import THREE, DataMissing, Options, data_folder, per_seed, value
from fairlead.experiments.simulation.run import simulate
from fairlead.experiments.simulation.scenario import Settings
from fairlead.experiments.tables.outcome_table import OutcomeTable

TABLES: Final = ("routerbench", "paretobandit", "logparse", "lookahead")
KINDS: Final = ("own", "shuffled", "renamed", "another table's")
_MEASURED: Final = ("lift", "lift_second_half")
_LEAST: Final = {"lift": 0.008, "lift_second_half": 0.014}
_MOST_HARM: Final = 0.003
_MOST_LOSS: Final = 0.001


def warm_starts(
    options: Options, name: str, *, prompts: int, kinds: Sequence[str] = KINDS, seeds: int = 10
) -> Section:
    """Measure lift with each kind of warm start, and what it adds to that of a cold start."""
    table = _table(options, name)
    other = _table(options, TABLES[(TABLES.index(name) + 1) % len(TABLES)]) if KINDS[3] in kinds else table
    measured: dict[str, list[dict[str, float]]] = {kind: [] for kind in ("nothing", *kinds)}
    started = time.perf_counter()
    for seed in range(seeds):
        rng = np.random.default_rng([seed, prompts])
        order = rng.permutation(len(table))
        evidence, rest = table.take(np.sort(order[:prompts])), table.take(np.sort(order[prompts:]))
        some = rng.permutation(len(other))[:prompts]
        by_kind = {
            "own": evidence,
            "shuffled": shuffled(evidence, rng, renamed=False),
            "renamed": shuffled(evidence, rng, renamed=True),
            "another table's": borrowed(other.take(some), table.providers, rng),
        }
        for kind in measured:
            settings = Settings(
                seeds=1, first_seed=seed, supervised=False, warm_start=by_kind.get(kind), budget_count=None
            )
            records = simulate(rest, settings, jobs=options.jobs).records
            measured[kind].append({each: per_seed(records, value(each))[0] for each in _MEASURED})
    section = Section(number=2, title=f"Warm starts from {prompts} prompts of {name}, {seeds} seeds")
    for kind, values in measured.items():
        _add_rows(section, kind, (values, measured["nothing"]), name=name)
    section.seconds = time.perf_counter() - started
    return section


def _add_rows(
    section: Section,
    kind: str,
    measured: tuple[list[dict[str, float]], list[dict[str, float]]],
    *,
    name: str,
) -> None:
    """Add what was ``measured`` with this warm start, and what without any, seed by seed."""
    for what, words in zip(_MEASURED, ("whole-stream lift", "second-half lift"), strict=True):
        numbers = [each[what] for each in measured[0]]
        added = [each[what] - cold[what] for each, cold in zip(*measured, strict=True)]
        if kind == "own" and name == "routerbench":
            section.at_least(f"told {kind}: {words}", numbers, _LEAST[what])
        else:
            section.show(f"told {kind}: {words}", numbers)
        if kind == "own":
            section.at_least("... more than told nothing", added, -_MOST_LOSS)
        elif kind != "nothing" and what == "lift":
            section.at_least("... more than told nothing", added, -_MOST_HARM)
        elif kind != "nothing":
            section.show("... more than told nothing", added)


def _table(options: Options, name: str) -> OutcomeTable:
    return options.table(name, providers=THREE if name == "paretobandit" else None, distinct=True)


def shuffled(table: OutcomeTable, rng: np.random.Generator, *, renamed: bool) -> OutcomeTable:
    """Exchange outcomes among providers: for each prompt anew, or ``renamed`` once for all."""
    n, k = table.quality.shape
    order = np.tile(rng.permutation(k), (n, 1))
    columns = order if renamed else rng.permuted(order, axis=1)
    return table.with_outcomes(table.providers, lambda matrix: np.take_along_axis(matrix, columns, axis=1))


def borrowed(other: OutcomeTable, names: Sequence[str], rng: np.random.Generator) -> OutcomeTable:
    """Give these names to the outcomes of another table; with too few providers, some twice."""
    columns = rng.permutation(len(names)) % len(other.providers)
    return other.with_outcomes(names, lambda matrix: matrix[:, columns])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one section per table, as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m fairlead.experiments.benchmarks.evidence")
    parser.add_argument("--prompts", type=int, default=300, help="told before the first request (300)")
    parser.add_argument("--seeds", type=int, default=10, help="streams per table (10)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--table", choices=TABLES, action="append", help="only these")
    parser.add_argument("--told", choices=KINDS, action="append", help="only these")
    asked = parser.parse_args(arguments)
    if asked.prompts < 1 or asked.seeds < 1:
        parser.error("give at least 1 prompt and 1 seed")
    options = Options(data=data_folder(), jobs=asked.jobs)
    for name in asked.table or TABLES:
        try:
            section = warm_starts(
                options, name, prompts=asked.prompts, kinds=asked.told or KINDS, seeds=asked.seeds
            )
        except DataMissing as missing:
            print(f"{name} is left out: {missing}")
            continue
        print(section.markdown(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
