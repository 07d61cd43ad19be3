"""`python -m tests.trials`: kill the service, cut its power, damage it, and put its decisions to the test."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fairlead.api.state.runtime import tune_for_serving
from fairlead.optimizer.errors import InvalidInput
from tests.trials.damage import damaged_snapshots
from tests.trials.databases import new_database, postgres
from tests.trials.kills import kill_cycles
from tests.trials.operations import registry, table
from tests.trials.power import power_cuts
from tests.trials.rebuild import rebuild
from tests.trials.replicas import replicas
from tests.trials.round_trip import round_trip
from tests.trials.served_table import served_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one trial and print its result; returns 1 if it found a problem, 2 if it cannot be run."""
    arguments = _parser().parse_args(arguments)
    logging.getLogger("fairlead").setLevel(logging.ERROR)  # damages are announced a hundred times otherwise
    try:
        with TemporaryDirectory(prefix="fairlead-trial-") as name:
            result = arguments.run(arguments, Path(name))
    except InvalidInput as error:
        print(f"trials: {error}", file=sys.stderr)
        return 2
    _clear()
    text = json.dumps(asdict(result), indent=2, allow_nan=False)
    print(text)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if result.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.trials", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything drawn (default: 1)")
    parser.add_argument(
        "--postgres", metavar="URL", help="a server to make databases on; else one of a wheel"
    )
    kinds = parser.add_subparsers(required=True, metavar="TRIAL")

    def trial(name: str, run: Any, summary: str) -> argparse.ArgumentParser:
        subparser = kinds.add_parser(name, help=summary, allow_abbrev=False)
        subparser.set_defaults(run=run)
        return subparser

    kill = trial("kill", _kill, "kill -9 at random moments under load")
    kill.add_argument("--cycles", type=_count, default=200, metavar="N")
    kill.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    power = trial("power", _power, "only what was synced survives")
    power.add_argument("--cuts", type=_count, default=50, metavar="N")
    power.add_argument("--synchronous", choices=("FULL", "NORMAL"), default="FULL", help="NORMAL must lose")
    damage = trial("snapshots", _damage, "flip bits of snapshots and cut them short")
    damage.add_argument("--times", type=_count, default=100, metavar="N")
    several = trial("replicas", _replicas, "three processes on one log, one of them dying all the time")
    several.add_argument("--seconds", type=float, default=300.0, metavar="S")
    several.add_argument("--kill-every", type=float, default=5.0, metavar="S")
    again = trial("rebuild", _rebuild, "fold a long log from nothing, and start from a snapshot")
    again.add_argument("--rounds", type=_count, default=100_000, metavar="N")
    there_and_back = trial("round-trip", _round_trip, "traffic of every kind over HTTP, exported again")
    there_and_back.add_argument("--decisions", type=_count, default=20_000, metavar="N")
    there_and_back.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    served = trial("served", _served, "an outcome table played through the service, and by simulate")
    served.add_argument("table", type=Path, metavar="TABLE", help="a file of outcomes")
    served.add_argument("--seeds", type=_count, default=3, metavar="N")
    served.add_argument("--budgets", type=_count, default=5, metavar="N", help="the tightest so many")
    served.add_argument("--providers", metavar="A,B", help="these alone")
    served.add_argument("--rate", type=float, metavar="N", help="decisions per second; else one by one")
    summary = "; ".join(f"{name}: {text}" for name, text in registry.TRIALS.items()).replace("%", "%%")
    operation = trial("operations", _operations, "what goes wrong in ordinary operation")
    operation.add_argument("name", choices=(*registry.TRIALS, "all"), metavar="NAME", help=summary)
    operation.add_argument(
        "--seeds", type=_count, default=20, metavar="N", help="worlds played, of the seeds from --seed on"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 on")
    return int(text)


@contextlib.contextmanager
def _database(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    if arguments.postgres:
        yield new_database(arguments.postgres)
        return
    with postgres(folder / "server") as url:
        yield new_database(url)


def _show(result: object) -> None:
    values = {name: value for name, value in asdict(result).items() if name != "problems"}  # type: ignore[call-overload]
    line = ", ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )
    _progress(line)


def _progress(line: str) -> None:
    # In a file, a line that is overwritten again and again is noise.
    if sys.stderr.isatty():
        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    _progress("")


def _kill(arguments: argparse.Namespace, folder: Path) -> object:
    if arguments.store == "sqlite":
        return kill_cycles(folder, cycles=arguments.cycles, seed=arguments.seed, progress=_show)
    with _database(arguments, folder) as url:
        return kill_cycles(folder, cycles=arguments.cycles, seed=arguments.seed, url=url, progress=_show)


def _power(arguments: argparse.Namespace, folder: Path) -> object:
    return power_cuts(
        folder, cuts=arguments.cuts, seed=arguments.seed, synchronous=arguments.synchronous, progress=_show
    )


def _damage(arguments: argparse.Namespace, folder: Path) -> object:
    return damaged_snapshots(folder, times=arguments.times, seed=arguments.seed, progress=_show)


def _replicas(arguments: argparse.Namespace, folder: Path) -> object:
    with _database(arguments, folder) as url:
        return replicas(
            folder, url, seconds=arguments.seconds, kill_every_s=arguments.kill_every, seed=arguments.seed
        )


def _rebuild(arguments: argparse.Namespace, folder: Path) -> object:
    tune_for_serving()  # as `fairlead serve` does
    return rebuild(
        folder,
        rounds=arguments.rounds,
        seed=arguments.seed,
        progress=lambda done: _progress(f"{done:,} rounds written"),
    )


def _round_trip(arguments: argparse.Namespace, folder: Path) -> object:
    decisions, seed = arguments.decisions, arguments.seed
    if arguments.store == "sqlite":
        return round_trip(folder, f"sqlite:///{folder.absolute()}/log.db", decisions=decisions, seed=seed)
    with _database(arguments, folder) as url:
        return round_trip(folder, url, decisions=decisions, seed=seed)


def _served(arguments: argparse.Namespace, folder: Path) -> object:
    tune_for_serving()  # as `fairlead serve` does
    return served_table(
        folder,
        arguments.table,
        seeds=arguments.seeds,
        budgets=arguments.budgets,
        first_seed=arguments.seed - 1,
        rate=arguments.rate,
        providers=tuple(arguments.providers.split(",")) if arguments.providers else None,
        progress=_progress,
    )


def _operations(arguments: argparse.Namespace, folder: Path) -> object:
    tune_for_serving()  # as `fairlead serve` does
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    result = registry.run(arguments.name, seeds, _progress)
    _clear()
    table.show(result)
    return result


if __name__ == "__main__":
    sys.exit(main())
