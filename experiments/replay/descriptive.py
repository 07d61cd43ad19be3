"""A description of a log without propensities: means of its traffic, and a biased estimate by a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from fairlead.experiments import files
from fairlead.experiments.logs.log import Log, ProviderFacts
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.ope.reward_models import cross_fit, random_folds
from fairlead.experiments.targets.learning import context_encoder, features_of

WARNING = (
    "The direct method trusts its model: if providers were chosen by the kind of request, or for reasons "
    "that the log does not hold, it is off by an unknown amount, and no interval says so."
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Description:
    """Means of the traffic; ``direct`` is the direct method's quality of always choosing each provider."""

    path: str
    rows: int
    providers: tuple[ProviderFacts, ...]
    mean_reward: float
    mean_cost_usd: float
    direct: Mapping[str, float]
    account: str
    notes: tuple[str, ...]


def describe(log: Log) -> Description:
    """Describe a log, with or without propensities; the model is cross-fitted ridge, part by part."""
    totals: np.ndarray[Any, Any] = np.zeros(len(log.providers))
    counted = 0
    with Reader(log) as reader:
        for number, part in enumerate(log.parts()):
            batch = reader.read(part, contexts=True)
            draws = np.random.default_rng(number).random(len(batch))
            valued = batch.select(batch.counted(("reward",), facts=log.facts, draws=draws))
            if len(valued) < 10:
                continue
            predicted = cross_fit(
                "ridge",
                features=features_of(valued, context_encoder()),
                reward=valued.reward,
                action=valued.provider,
                providers=len(log.providers),
                folds=random_folds(len(valued), seed=number),
            )
            totals += predicted.sum(axis=0)
            counted += len(valued)
    judged = [fact for fact in log.facts if math.isfinite(fact.mean_reward)]
    direct = dict(zip(log.providers, (totals / max(counted, 1)).tolist(), strict=True)) if counted else {}
    return Description(
        path=str(log.path),
        rows=log.rows,
        providers=log.facts,
        mean_reward=_mean([(fact.mean_reward, fact.chosen) for fact in judged]),
        mean_cost_usd=_mean([(fact.mean_cost_usd, fact.chosen) for fact in log.facts]),
        direct={fact.name: direct[fact.name] for fact in judged if direct},
        account=log.account(),
        notes=tuple(log.notes()),
    )


def _mean(pairs: list[tuple[float, int]]) -> float:
    finite = [(value, count) for value, count in pairs if math.isfinite(value)]
    total = sum(count for _, count in finite)
    return sum(value * count for value, count in finite) / total if total else math.nan


def json_text(description: Description) -> str:
    """Write everything as strict JSON."""
    return files.json_text({**asdict(description), "warning": WARNING})


def show(console: Console, description: Description) -> None:
    """Print the table of providers, and how far its last column can be trusted."""
    table = Table(title=f"{description.rows:,} decisions as they were", title_justify="left", box=SIMPLE)
    means = ("mean reward", "USD per 1,000", "latency s", "direct method (biased)")
    for name in ("provider", "chosen", "failed", *means):
        table.add_column(name, justify="left" if name == "provider" else "right")
    for fact in description.providers:
        table.add_row(
            fact.name, f"{fact.chosen:,}", f"{fact.failed:,}", _shown(fact.mean_reward),
            _shown(1000.0 * fact.mean_cost_usd), _shown(fact.mean_latency_s),
            _shown(description.direct.get(fact.name, math.nan)),
        )  # fmt: skip
    reward, cost = _shown(description.mean_reward), _shown(1000.0 * description.mean_cost_usd)
    failed = sum(fact.failed for fact in description.providers)
    table.add_row("all", f"{description.rows:,}", f"{failed:,}", reward, cost, "", "")
    console.print(table)
    for sentence in (
        description.account,
        *description.notes,
        WARNING if description.direct else "No reward is logged, so only costs are shown.",
    ):
        console.print(sentence, highlight=False)
    console.print("No policy is judged: that takes propensities.", style="bold", highlight=False)


def _shown(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "–"
