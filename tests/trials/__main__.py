"""`python -m tests.trials`: kill the service, cut its power, damage it, and count what it acknowledged."""

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
from tests.trials.power import power_cuts
from tests.trials.rebuild import rebuild
from tests.trials.replicas import replicas


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one trial and print what came of it; 1 where something was lost, 2 where it cannot be run."""
    given = _parser().parse_args(arguments)
    logging.getLogger("fairlead").setLevel(logging.ERROR)  # damages are announced a hundred times otherwise
    try:
        with TemporaryDirectory(prefix="fairlead-trial-") as name:
            result = given.run(given, Path(name))
    except InvalidInput as error:
        print(f"trials: {error}", file=sys.stderr)
        return 2
    _clear()
    text = json.dumps(asdict(result), indent=2, allow_nan=False)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")
    return 1 if result.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.trials", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything drawn (default: 1)")
    parser.add_argument(
        "--postgres", metavar="URL", help="a server to make databases on; else one of a wheel"
    )
    kinds = parser.add_subparsers(required=True, metavar="TRIAL")

    def trial(name: str, run: Any, told: str) -> argparse.ArgumentParser:
        made = kinds.add_parser(name, help=told)
        made.set_defaults(run=run)
        return made

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
    return parser


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 on")
    return int(text)


@contextlib.contextmanager
def _database(given: argparse.Namespace, folder: Path) -> Iterator[str]:
    if given.postgres:
        yield new_database(given.postgres)
        return
    with postgres(folder / "server") as url:
        yield new_database(url)


def _show(result: object) -> None:
    told = {name: value for name, value in asdict(result).items() if name != "problems"}  # type: ignore[call-overload]
    line = ", ".join(
        f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in told.items()
    )
    _progress(line)


def _progress(line: str) -> None:
    # Where nobody looks, a line that is written over again and again is noise.
    if sys.stderr.isatty():
        print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)


def _clear() -> None:
    _progress("")


def _kill(given: argparse.Namespace, folder: Path) -> object:
    if given.store == "sqlite":
        return kill_cycles(folder, cycles=given.cycles, seed=given.seed, told=_show)
    with _database(given, folder) as url:
        return kill_cycles(folder, cycles=given.cycles, seed=given.seed, url=url, told=_show)


def _power(given: argparse.Namespace, folder: Path) -> object:
    return power_cuts(folder, cuts=given.cuts, seed=given.seed, synchronous=given.synchronous, told=_show)


def _damage(given: argparse.Namespace, folder: Path) -> object:
    return damaged_snapshots(folder, times=given.times, seed=given.seed, told=_show)


def _replicas(given: argparse.Namespace, folder: Path) -> object:
    with _database(given, folder) as url:
        return replicas(folder, url, seconds=given.seconds, kill_every_s=given.kill_every, seed=given.seed)


def _rebuild(given: argparse.Namespace, folder: Path) -> object:
    tune_for_serving()  # as `fairlead serve` does
    return rebuild(
        folder,
        rounds=given.rounds,
        seed=given.seed,
        told=lambda done: _progress(f"{done:,} rounds written"),
    )


if __name__ == "__main__":
    sys.exit(main())
