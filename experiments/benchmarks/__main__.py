"""Measure every number that Fairlead is judged by, and write them as markdown and JSON.

Run with `python -m fairlead.experiments.benchmarks`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from fairlead.experiments.benchmarks.changes import changes
from fairlead.experiments.benchmarks.cold import cold
from fairlead.experiments.benchmarks.coverage import coverage
from fairlead.experiments.benchmarks.feedback import feedback
from fairlead.experiments.benchmarks.off_policy_speed import off_policy_speed
from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.speed import speed
from fairlead.experiments.benchmarks.tables import DataMissing, Options, data_folder, obp_python, peers_python
from fairlead.experiments.benchmarks.warm import warm
from fairlead.experiments.files import json_text
from fairlead.optimizer.persistence.atomic_file import write_atomically

SECTIONS: Final[dict[int, tuple[str, Callable[[Options], Section]]]] = {
    1: ("ParetoBandit's protocol", warm),
    2: ("Cold start on four tables", cold),
    3: ("A world that changes", changes),
    4: ("Scarce and late feedback", feedback),
    5: ("Speed, single thread", speed),
    6: ("Coverage of 95 % intervals", coverage),
    7: ("Speed of off-policy estimates", off_policy_speed),
}


def run(number: int, options: Options) -> Section:
    """One section with its time; where its data is missing, it holds nothing but a note that says so."""
    title, measure = SECTIONS[number]
    started = time.perf_counter()
    try:
        section = measure(options)
    except DataMissing as missing:
        section = Section(number=number, title=title, notes=[f"Skipped: {missing}"])
    section.seconds = time.perf_counter() - started
    return section


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections that are asked for, print each as soon as it is there, write the JSON at the end."""
    parser = argparse.ArgumentParser(prog="python -m fairlead.experiments.benchmarks", description=__doc__)
    parser.add_argument("--only", type=_numbers, default=tuple(SECTIONS), metavar="N[,N]", help="sections")
    parser.add_argument("--seeds", type=_count, metavar="N", help="instead of each section's own number")
    parser.add_argument("--budgets", type=_count, metavar="N", help="only the N dearest, in sections 1 and 2")
    parser.add_argument("--rounds", type=_count, default=20_000, metavar="N", help="of the synthetic task")
    parser.add_argument("--jobs", type=_count, default=2, metavar="N", help="processes (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    namespace = parser.parse_args(arguments)
    if namespace.json is not None and not namespace.json.parent.is_dir():
        parser.error(f"--json {namespace.json}: there is no folder {namespace.json.parent}; make it first")
    options = Options(
        data=data_folder(),
        seeds=namespace.seeds,
        jobs=namespace.jobs,
        peers=peers_python(),
        obp=obp_python(),
        budgets=namespace.budgets,
        rounds=namespace.rounds,
    )
    sections = []
    for number in namespace.only:
        sections.append(run(number, options))
        print(sections[-1].markdown(), flush=True)
    total = sum(section.seconds for section in sections)
    print(f"Total: {total:.1f} s.")
    if namespace.json is not None:
        content = {"sections": [section.plain() for section in sections], "seconds": round(total, 2)}
        write_atomically(namespace.json, json_text(content))
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) in SECTIONS for part in parts):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give section numbers from 1 to {len(SECTIONS)}, such as 1,5"
        )
    return tuple(sorted({int(part) for part in parts}))


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
