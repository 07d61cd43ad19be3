"""Options of a benchmark run, the outcome tables, and sums over records that several sections need."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from fairlead.experiments.simulation.records import Record
from fairlead.experiments.tables.outcome_table import OutcomeTable, read_outcome_table

OURS: Final = "default"
PLAIN: Final = ("linucb", "thompson", "uniform")
PEER: Final = "paretobandit"
LLAMA: Final = "meta-llama/llama-3.1-8b-instruct"
MISTRAL: Final = "mistralai/mistral-large-2512"
PRO: Final = "google/gemini-2.5-pro"
FLASH: Final = "google/gemini-2.5-flash"
THREE: Final = (LLAMA, MISTRAL, PRO)

_REPOSITORY: Final = Path(__file__).resolve().parents[2]


class DataMissing(Exception):
    """An outcome table that a section needs is not there."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to run: `seeds` None takes each section's own number; `peers` is an interpreter that has the peers.

    `budgets` keeps only the first so many, `rounds` is the length of the synthetic task, and `cells` are its
    sizes (providers, features); `obp` is an interpreter that has obp, and `estimated` and `resampled` are the
    decisions that it is timed on. Smaller values are for a quick look.
    """

    data: Path
    seeds: int | None = None
    jobs: int = 1
    peers: Path | None = None
    budgets: int | None = None
    rounds: int = 20_000
    speed_rounds: int = 3_000
    cells: tuple[tuple[int, int], ...] = ((5, 32), (5, 128), (20, 32), (20, 128))
    obp: Path | None = None
    estimated: int = 1_000_000
    resampled: int = 100_000

    def seed_count(self, usual: int) -> int:
        """Return the number of seeds for a section that usually takes `usual`."""
        return usual if self.seeds is None else self.seeds

    def table(
        self, name: str, *, providers: Sequence[str] | None = None, distinct: bool = False
    ) -> OutcomeTable:
        """Read the outcome table of this name; raises DataMissing if the folder lacks it."""
        path = self.data / "outcomes" / f"{name}.parquet"
        if not path.is_file():
            raise DataMissing(f"{name}.parquet is not in {self.data / 'outcomes'}: set FAIRLEAD_DATA.")
        return read_outcome_table(path, providers=providers, distinct_prompts=distinct)


def data_folder() -> Path:
    """Find the folder of the real tables: FAIRLEAD_DATA, else beside the repository."""
    return Path(os.environ.get("FAIRLEAD_DATA") or _REPOSITORY.parent / "shared" / "data")


def peers_python() -> Path | None:
    """Find an interpreter that has the peers: FAIRLEAD_PEERS_PYTHON, else that of `make peers`, else None."""
    named = os.environ.get("FAIRLEAD_PEERS_PYTHON")
    path = Path(named) if named else _REPOSITORY / ".venv-peers" / "bin" / "python"
    return path if path.is_file() else None


def obp_python() -> Path | None:
    """Find an interpreter that has obp: FAIRLEAD_OBP_PYTHON, else that of `make peers-ope`, else None."""
    named = os.environ.get("FAIRLEAD_OBP_PYTHON")
    path = Path(named) if named else _REPOSITORY / ".venv-obp" / "bin" / "python"
    return path if path.is_file() else None


def of(records: Sequence[Record], policy: str) -> list[Record]:
    """Select the records of one policy."""
    return [record for record in records if record.policy == policy]


def value(name: str) -> Callable[[Record], float]:
    """Make a function that reads one measured value of a record, NaN if it has none."""

    def read(record: Record) -> float:
        settled = name == "utilisation_after_1000"
        numbers = record.utilisation_after_1000 if settled else record.values[name]
        return float("nan") if numbers is None else numbers

    return read


def per_seed(records: Sequence[Record], read: Callable[[Record], float]) -> list[float]:
    """One number per seed: the mean over its goals."""
    seeds = sorted({record.seed for record in records})
    return [float(np.mean([read(record) for record in records if record.seed == seed])) for seed in seeds]


def per_budget(records: Sequence[Record], read: Callable[[Record], float]) -> dict[float, list[float]]:
    """Collect the numbers of all seeds by budget in USD."""
    numbers: dict[float, list[float]] = {}
    for record in records:
        numbers.setdefault(record.goal.budget_usd or 0.0, []).append(read(record))
    return numbers


def highest(by_budget: dict[float, list[float]]) -> tuple[float, list[float]]:
    """Find the budget whose mean is highest, with its numbers."""
    budget = max(by_budget, key=lambda key: float(np.nan_to_num(np.mean(by_budget[key]), nan=-np.inf)))
    return budget, by_budget[budget]
