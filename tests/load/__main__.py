"""`python -m tests.load`: the service under load, all ratios in one run, as markdown and JSON."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.files import json_text
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.atomic_file import write_atomically
from tests.load.sections import Options, latency, overload, soak, throughput
from tests.trials.databases import new_database, postgres

SECTIONS: Final[dict[str, Callable[[Options], Section]]] = {
    "throughput": throughput,
    "latency": latency,
    "overload": overload,
    "soak": soak,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen sections, print each as soon as it is done, and write the JSON at the end."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.json is not None and not chosen.json.parent.is_dir():
        parser.error(f"--json {chosen.json}: there is no folder {chosen.json.parent}; make it first")
    print(f"Load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.\n", flush=True)
    sections = []
    try:
        with TemporaryDirectory(prefix="fairlead-load-") as name, contextlib.ExitStack() as stack:
            server = None
            if chosen.store == "postgres":
                server = chosen.postgres or stack.enter_context(postgres(Path(name) / "server"))
            for title in chosen.only or SECTIONS:
                options = Options(
                    folder=Path(name) / title,
                    url=None if server is None else new_database(server),
                    seconds=chosen.seconds,
                    minutes=chosen.minutes,
                    rate=chosen.rate,
                )
                started = time.perf_counter()
                sections.append(SECTIONS[title](options))
                sections[-1].seconds = time.perf_counter() - started
                print(sections[-1].markdown(), flush=True)
    except InvalidInput as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    if chosen.json is not None:
        content = {"store": chosen.store, "sections": [section.plain() for section in sections]}
        write_atomically(chosen.json, json_text(content))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--only", choices=tuple(SECTIONS), action="append", help="a section; repeatable")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument(
        "--postgres", metavar="URL", help="a server to make databases on; else one of a wheel"
    )
    parser.add_argument("--seconds", type=_positive, default=10.0, metavar="S", help="of each measurement")
    parser.add_argument("--minutes", type=_positive, default=1.0, metavar="M", help="of the soak")
    parser.add_argument("--rate", type=_positive, default=200.0, metavar="R", help="decisions/s of the soak")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
