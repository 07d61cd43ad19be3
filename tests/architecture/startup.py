"""Measure how long the command line and the library take to start, beside an empty interpreter.

    python -m tests.architecture.startup

prints, for each, the shortest of several runs and its ratio to an interpreter that does nothing in the same
minute. The goals are stated for a quiet machine: help within .5 s, `import fairlead` within .3 s of numpy.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter
from typing import Final

RUNS: Final = 7
PROGRAMS: Final = {
    "empty interpreter": ["-c", ""],
    "import numpy": ["-c", "import numpy"],
    "import fairlead": ["-c", "import fairlead"],
    "from fairlead import Router": ["-c", "from fairlead import Router"],
    "fairlead --help": ["-c", "from fairlead.api.cli.main import main; main()", "--help"],
}


def shortest_s(arguments: list[str]) -> float:
    """Return the seconds of the quickest of several runs."""
    durations = []
    for _ in range(RUNS):
        begin = perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        durations.append(perf_counter() - begin)
    return min(durations)


def table() -> str:
    """Return the durations and their ratios as Markdown."""
    seconds = {name: shortest_s(arguments) for name, arguments in PROGRAMS.items()}
    empty = seconds["empty interpreter"]
    lines = ["| start | seconds | × empty |", "|---|---|---|"]
    lines += [f"| {name} | {value:.3f} | {value / empty:.1f} |" for name, value in seconds.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
