"""Measurements of a simulation: one record per run, means over seeds, and both as strict JSON and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments import files
from fairlead.experiments.baselines.frontier import Hull, best_fixed_mix, oracle_at, provider_means
from fairlead.experiments.files import finite_or_none, json_value
from fairlead.experiments.simulation.scenario import Goal, Matrix, Settings
from fairlead.experiments.simulation.stream import Stream
from fairlead.experiments.tables.outcome_table import OutcomeTable

MEASURED: Final = ("mean_quality", "mean_cost_usd", "utilisation", "best_fixed_mix_at_spend", "lift")
SECOND_HALF: Final = tuple(f"{name}_second_half" for name in MEASURED)
_SETTLED_AFTER: Final = 1000
_REACTION: Final = 100

Values = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run; costs are USD per request, `utilisation` is spend / budget and None without a budget.

    `values` are the measured ones by name, of all scored requests and of their second half.
    `share_after_change` is, per provider whose quality changes, its share of the decisions from the 100th
    after the change until its end; None if it ends sooner. `phase_quality` is the mean quality of each
    third of the scored requests.
    """

    policy: str
    goal: Goal
    seed: int
    n: int
    values: Values
    share: dict[str, float]
    utilisation_after_1000: float | None
    phase_quality: tuple[float, ...]
    share_after_change: dict[str, float | None] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """Return the record as in JSON."""
        return {
            "policy": self.policy,
            "budget_usd": self.goal.budget_usd,
            "wtp_usd": self.goal.wtp_usd,
            "seed": self.seed,
            "n": self.n,
            **self.values,
            "share": self.share,
            "utilisation_after_1000": self.utilisation_after_1000,
            "phase_quality": list(self.phase_quality),
            **({"share_after_change": self.share_after_change} if self.share_after_change else {}),
        }


def fixed_mix(quality: Matrix, cost_usd: Matrix) -> Hull:
    """Find the best fixed mix of the providers that have outcomes among these rows, shape (n, k)."""
    served = np.isfinite(quality).any(axis=0)
    return best_fixed_mix(*provider_means(quality[:, served], cost_usd[:, served]))


def oracle_quality(quality: Matrix, cost_usd: Matrix, goal: Goal) -> float:
    """Mean quality of a choice with full knowledge of every outcome, for the goal; shape (n, k) each."""
    if goal.budget_usd is not None:
        return oracle_at(quality, cost_usd, goal.budget_usd)
    price = 0.0 if goal.wtp_usd is None else 1.0 / goal.wtp_usd
    best = np.where(np.isnan(quality), -np.inf, quality - price * cost_usd).argmax(axis=1)
    return float(quality[np.arange(len(quality)), best].mean())


def measure(
    table: OutcomeTable,
    settings: Settings,
    stream: Stream,
    *,
    policy: str,
    goal: Goal,
    columns: NDArray[np.intp],
) -> Record:
    """Score the choices of one run, a column of the table per step, on the scored steps."""
    chosen = columns[stream.score_from :]
    n, scored = len(chosen), slice(stream.score_from, None)
    quality, cost = stream.quality[scored], stream.cost_usd[scored]
    earned, spent = quality[np.arange(n), chosen], cost[np.arange(n), chosen]
    late = slice(n // 2, None)
    second_half = _values(quality[late], cost[late], chosen[late], goal=goal)
    settled = None
    if goal.budget_usd is not None and n > _SETTLED_AFTER:
        settled = float(spent[_SETTLED_AFTER:].mean()) / goal.budget_usd
    counts = np.bincount(chosen, minlength=len(table.providers)) / n
    thirds = np.array_split(earned, 3)
    return Record(
        policy=policy,
        goal=goal,
        seed=stream.seed,
        n=n,
        values={
            **_values(quality, cost, chosen, goal=goal),
            **{f"{name}_second_half": value for name, value in second_half.items()},
        },
        share=dict(zip(table.providers, counts.tolist(), strict=True)),
        utilisation_after_1000=settled,
        phase_quality=tuple(float(third.mean()) if len(third) else math.nan for third in thirds),
        share_after_change=_shares_after_changes(table, settings, chosen),
    )


def _values(
    quality: Matrix, cost: Matrix, chosen: NDArray[np.intp], *, goal: Goal
) -> dict[str, float | None]:
    """Measure choices (n,) on outcomes (n, k), by the names in `MEASURED`."""
    every = np.arange(len(chosen))
    mean_quality, mean_cost = float(quality[every, chosen].mean()), float(cost[every, chosen].mean())
    mix = fixed_mix(quality, cost).quality_at(mean_cost)
    used = None if goal.budget_usd is None else mean_cost / goal.budget_usd
    return dict(zip(MEASURED, (mean_quality, mean_cost, used, mix, mean_quality - mix), strict=True))


def _shares_after_changes(
    table: OutcomeTable, settings: Settings, chosen: NDArray[np.intp]
) -> dict[str, float | None]:
    shares: dict[str, float | None] = {}
    for change in settings.quality_changes:
        window = chosen[change.from_step + _REACTION : change.to_step]
        column = table.providers.index(change.provider)
        shares[change.provider] = float((window == column).mean()) if len(window) else None
    return shares


def averaged(records: Sequence[Record]) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Mean and standard error over seeds of every measured value, goals of one seed averaged first.

    A value that some record lacks has no mean, and one seed has no standard error: None.
    """
    seeds = sorted({record.seed for record in records})
    means: dict[str, float | None] = {}
    errors: dict[str, float | None] = {}
    for name in (*MEASURED, *SECOND_HALF, "utilisation_after_1000"):
        per_seed = []
        for seed in seeds:
            values = [_value(record, name) for record in records if record.seed == seed]
            per_seed.append(
                math.nan if None in values else float(np.mean([v for v in values if v is not None]))
            )
        means[name] = finite_or_none(float(np.mean(per_seed)))
        error = float(np.std(per_seed, ddof=1)) / math.sqrt(len(seeds)) if len(seeds) > 1 else math.nan
        errors[name] = finite_or_none(error)
    return means, errors


def _value(record: Record, name: str) -> float | None:
    return record.utilisation_after_1000 if name == "utilisation_after_1000" else record.values[name]


def mean_share(records: Sequence[Record]) -> dict[str, float]:
    """Share of traffic per provider, averaged over records."""
    return {name: float(np.mean([record.share[name] for record in records])) for name in records[0].share}


def json_text(records: Sequence[Record], summary: Mapping[str, Any]) -> str:
    """Write `{"records": [...], "summary": {...}}`."""
    return files.json_text({"records": [record.flat() for record in records], "summary": summary})


def csv_text(records: Sequence[Record]) -> str:
    """One line per record; what is nested in JSON has a column per part, such as `share:NAME`."""
    rows = []
    for record in records:
        row: dict[str, Any] = {}
        for name, value in record.flat().items():
            if isinstance(value, dict):
                row |= {f"{name}:{part}": content for part, content in value.items()}
            elif isinstance(value, list):
                row |= {f"{name}:{i + 1}": content for i, content in enumerate(value)}
            else:
                row[name] = value
        rows.append(json_value(row))
    return files.csv_text([list(rows[0]), *([row.get(name) for name in rows[0]] for row in rows)])
