"""The settings of a simulation: policies, goals, splits, features, feedback, and changes on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.baselines.frontier import budget_grid, provider_means
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.types.evidence import MOST_ROWS

Matrix = NDArray[np.float64]

PEERS: Final = ("linucb", "thompson")
"""Plain bandits of the literature, played next to the router for comparison: see `players`."""

DEFAULT_BUDGETS: Final = 5
MOST_BUDGETS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A budget in USD per request, or a willingness to pay in USD per point of quality, or neither.

    A ValueError says which amount is not finite and above 0.

    >>> print(Goal(budget_usd=0.00123456))
    0.00123
    >>> print(Goal(wtp_usd=0.02))
    wtp 0.02
    >>> print(Goal())
    none
    """

    budget_usd: float | None = None
    wtp_usd: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("budget", self.budget_usd), ("willingness to pay", self.wtp_usd)):
            if value is not None and not (math.isfinite(value) and 1e-12 <= value <= 1e9):
                raise ValueError(
                    f"the {name} is {value} USD: give a finite amount of more than 0, up to 1e9."
                )

    def __str__(self) -> str:
        if self.budget_usd is not None:
            return f"{self.budget_usd:.3g}"
        return "none" if self.wtp_usd is None else f"wtp {self.wtp_usd:.3g}"


@dataclass(frozen=True, kw_only=True)
class PriceChange:
    """From `step` on, calls of the provider cost `factor` times as much; several changes compound.

    >>> PriceChange(provider="acme/large", factor=0.3, step=1200).factor
    0.3
    """

    provider: str
    factor: float
    step: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and 0.0 < self.factor <= 1e6):
            raise ValueError(
                f"the price of {self.provider!r} changes by a factor of {self.factor}: give a finite number "
                "of more than 0, such as 0.3."
            )
        _whole("the step of a price change", self.step, least=0)


@dataclass(frozen=True, kw_only=True)
class ListError:
    """The declared price list of a provider says `factor` times what its calls really cost.

    >>> ListError(provider="acme/large", factor=1000.0).factor
    1000.0
    """

    provider: str
    factor: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and 0.0 < self.factor <= 1e6):
            raise ValueError(
                f"the list of {self.provider!r} is wrong by a factor of {self.factor}: give a finite number "
                "of more than 0, such as 1000."
            )


@dataclass(frozen=True, kw_only=True)
class QualityChange:
    """In steps `from_step` until before `to_step`, the provider's quality is scaled to a mean of `value`."""

    provider: str
    value: float
    from_step: int
    to_step: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise ValueError(
                f"the quality of {self.provider!r} changes to {self.value}: give a number in [0, 1]."
            )
        _whole("the first step of a quality change", self.from_step, least=0)
        if self.to_step <= self.from_step:
            raise ValueError(
                f"a quality change runs from step {self.from_step} to {self.to_step}, which is no time: "
                "give a later end."
            )


@dataclass(frozen=True, kw_only=True)
class Newcomer:
    """A provider that joins the route at `step`."""

    provider: str
    step: int

    def __post_init__(self) -> None:
        _whole("the step of a newcomer", self.step, least=0)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that determines a simulation, apart from the table and how many processes play it.

    Exactly one of `budgets_usd`, `budget_count` and `wtp_usd` may be given. Steps of changes count from the
    first scored decision, which is the first of all without a `score_split`. `feedback_delay` counts the
    decisions between a choice and its feedback, `feedback_rate` is the share that ever gets one; tokens and
    latency are known at once, and so are the costs of `invoice_rate` of the calls, as a share; those of the
    others are not reported. Before the first request the router is told all outcomes of `warm_start`, another
    table, or of `warm_start_prompts` prompts, drawn by the seed, which are then not played; peers are told
    nothing. `seeds` is how many seeds are played, from `first_seed` on. A ValueError says which setting
    cannot be.

    >>> Settings(budgets_usd=(0.001, 0.002), seeds=2, first_seed=5).seed_list
    [5, 6]
    >>> Settings(feedback_rate=2.0)
    Traceback (most recent call last):
    ValueError: the feedback rate is 2.0: give a share in [0, 1].
    """

    policies: tuple[str, ...] = ("default",)
    budgets_usd: tuple[float, ...] = ()
    budget_count: int | None = None
    wtp_usd: tuple[float, ...] = ()
    warmup_split: str | None = None
    score_split: str | None = None
    task_labels: bool = False
    features: Literal["surface", "projection"] = "projection"
    feedback_delay: int = 0
    feedback_rate: float = 1.0
    seeds: int = 5
    first_seed: int = 0
    price_list: bool = True
    supervised: bool = True
    price_changes: tuple[PriceChange, ...] = ()
    quality_changes: tuple[QualityChange, ...] = ()
    newcomers: tuple[Newcomer, ...] = ()
    warm_start: OutcomeTable | None = None
    warm_start_prompts: int = 0
    list_errors: tuple[ListError, ...] = ()
    invoice_rate: float = 1.0

    def __post_init__(self) -> None:
        if not self.policies or len(set(self.policies)) != len(self.policies):
            raise ValueError(f"the policies are {list(self.policies)}: name one or more, each once.")
        if sum(map(bool, (self.budgets_usd, self.budget_count is not None, self.wtp_usd))) > 1:
            raise ValueError(
                "budgets, a number of budgets and a willingness to pay exclude each other: "
                "give one kind of goal."
            )
        for goal in (*self.budgets_usd, *self.wtp_usd):
            Goal(budget_usd=goal)
        if len(set(self.budgets_usd)) != len(self.budgets_usd) or len(set(self.wtp_usd)) != len(self.wtp_usd):
            raise ValueError(
                f"a goal is given twice in {[*self.budgets_usd, *self.wtp_usd]}: give each once."
            )
        if self.budget_count is not None:
            _whole("the number of budgets", self.budget_count, least=1)
            if self.budget_count > MOST_BUDGETS:
                raise ValueError(f"{self.budget_count} budgets, each a run: give at most {MOST_BUDGETS}.")
        if self.warmup_split is not None and self.score_split is None:
            raise ValueError(f"warm-up split {self.warmup_split!r} without a score split: name both.")
        if self.warmup_split is not None and self.warmup_split == self.score_split:
            raise ValueError(
                f"the warm-up split {self.warmup_split!r} is also scored, and what was learned from would "
                "be judged by: name two splits."
            )
        if self.warm_start is not None and self.warm_start_prompts:
            raise ValueError(
                f"a warm start from a table and from {self.warm_start_prompts} prompts of the stream: choose."
            )
        if self.features not in ("surface", "projection"):
            raise ValueError(f"features are {self.features!r}: choose 'surface' or 'projection'.")
        if not 0.0 <= self.feedback_rate <= 1.0:
            raise ValueError(f"the feedback rate is {self.feedback_rate}: give a share in [0, 1].")
        if not 0.0 <= self.invoice_rate <= 1.0:
            raise ValueError(f"the invoice rate is {self.invoice_rate}: give a share in [0, 1].")
        _whole("the feedback delay", self.feedback_delay, least=0)
        _whole("the number of seeds", self.seeds, least=1)
        _whole("the first seed", self.first_seed, least=0)
        _whole("the number of prompts for a warm start", self.warm_start_prompts, least=0)

    @property
    def seed_list(self) -> list[int]:
        """The seeds that are played."""
        return list(range(self.first_seed, self.first_seed + self.seeds))


def _whole(name: str, value: int, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}: give a whole number of at least {least}.")


def split_rows(table: OutcomeTable, settings: Settings) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the rows of the table to warm up on and those to score, both in the order of the file.

    A prompt that only newcomers can serve has no provider before they join, and is left out.
    """
    joining = {newcomer.provider for newcomer in settings.newcomers}
    from_start = [j for j, name in enumerate(table.providers) if name not in joining]
    rows = np.flatnonzero(table.available[:, from_start].any(axis=1))
    if settings.score_split is None:
        return rows[:0], rows
    names = sorted({str(split) for split in table.splits if split is not None})

    def within(split: str | None) -> NDArray[np.intp]:
        if split is not None and split not in names:
            raise ValueError(f"no prompt is of split {split!r}: choose among {', '.join(names) or 'none'}.")
        return rows[table.splits[rows] == split] if split is not None else rows[:0]

    return within(settings.warmup_split), within(settings.score_split)


def check_scenario(table: OutcomeTable, settings: Settings) -> None:
    """Raise a ValueError if something does not fit the table: policies, changes, steps, splits."""
    scored = _check_warm_start(table, settings)
    if scored < 2:
        raise ValueError(f"only {scored} prompts are left to score: give at least 2.")
    changes = [(c.provider, c.step) for c in settings.price_changes]
    changes += [(c.provider, c.step) for c in settings.newcomers]
    changes += [(c.provider, c.from_step) for c in settings.quality_changes]
    fixed = [policy.removeprefix("fixed:") for policy in settings.policies if policy.startswith("fixed:")]
    wrong = [error.provider for error in settings.list_errors]
    for name in (*(name for name, _ in changes), *fixed, *wrong):
        if name not in table.providers:
            raise ValueError(f"no provider is called {name!r}: choose among {', '.join(table.providers)}.")
    for name, step in changes:
        if step >= scored:
            raise ValueError(
                f"a change of {name!r} at step {step} never happens, as {scored} prompts are scored: "
                f"give a step from 0 to {scored - 1}."
            )
    for change in settings.quality_changes:
        if change.to_step > scored:
            raise ValueError(
                f"a change of {change.provider!r} lasts to step {change.to_step}, but {scored} prompts are "
                f"scored: give an end of at most {scored}."
            )
    joining = [newcomer.provider for newcomer in settings.newcomers]
    if len(set(joining)) != len(joining):
        raise ValueError(f"a provider is added twice in {joining}: add each once.")
    if set(joining) == set(table.providers):
        raise ValueError(
            f"every provider is added later ({', '.join(joining)}): leave one that is there at the start."
        )


def _check_warm_start(table: OutcomeTable, settings: Settings) -> int:
    """Return how many prompts are left to score beside a warm start that fits the table."""
    warm, scored = split_rows(table, settings)
    prompts = settings.warm_start_prompts
    if prompts > MOST_ROWS:
        raise ValueError(
            f"a warm start from {prompts:,} prompts: a route keeps {MOST_ROWS:,} of one source at most."
        )
    if len(warm) and prompts > len(warm):
        raise ValueError(
            f"a warm start from {prompts:,} prompts of the warm-up split, which has {len(warm):,}: give less."
        )
    for name in settings.warm_start.providers if settings.warm_start is not None else ():
        if name not in table.providers:
            raise ValueError(
                f"the warm start is about {name!r}, which is not in the table: leave it out, or name it as "
                f"the table does: {', '.join(table.providers)}."
            )
    return len(scored) if len(warm) else len(scored) - prompts


def check_one_run(table: OutcomeTable, settings: Settings) -> None:
    """Raise a ValueError if the log of one run would have to be of several policies or goals."""
    several = {"policies": settings.policies, "goals": goals(table, settings)}
    for name, some in several.items():
        if len(some) > 1:
            raise ValueError(
                f"a log holds one run, but there are {len(some)} {name}: give one --policy, and one "
                "--wtp or --budget."
            )


def goals(table: OutcomeTable, settings: Settings) -> tuple[Goal, ...]:
    """List the goals that are played, one run each per policy and seed.

    A number of budgets lies geometrically between the mean cost of the cheapest provider and the dearest, on
    the warm-up split if there is one, else on all prompts. By default there are five, from the mean cost of
    the cheapest to twice that of the provider of the best quality.
    """
    if settings.wtp_usd:
        return tuple(Goal(wtp_usd=value) for value in settings.wtp_usd)
    if settings.budgets_usd:
        return tuple(Goal(budget_usd=value) for value in settings.budgets_usd)
    warm, scored = split_rows(table, settings)
    rows = warm if len(warm) else scored
    served = table.available[rows].any(axis=0)
    cost, quality = provider_means(table.quality[rows][:, served], table.cost_usd[rows][:, served])
    if not cost.min() > 0.0:
        raise ValueError(
            "the cheapest provider costs 0 USD, where no geometric grid starts: name the budgets."
        )
    if settings.budget_count is None:
        grid: Sequence[float] = budget_grid(cost, quality, count=DEFAULT_BUDGETS).tolist()
    elif settings.budget_count == 1:
        grid = [math.sqrt(float(cost.min()) * float(cost.max()))]
    else:
        grid = np.geomspace(cost.min(), cost.max(), settings.budget_count).tolist()
    return tuple(Goal(budget_usd=value) for value in grid)


def changed_outcomes(
    table: OutcomeTable, settings: Settings, order: NDArray[np.intp], *, score_from: int
) -> tuple[Matrix, Matrix]:
    """Apply all changes to quality and cost in USD, (n, k), in the order of the stream; NaN where missing.

    A quality is scaled by VALUE / mean over the window and clipped to [0, 1], so that a rise of answers that
    are already right may fall short of VALUE. Before a newcomer's step its cells are missing.
    """
    quality, cost = table.quality[order].copy(), table.cost_usd[order].copy()
    absent = ~table.available[order]
    for price in settings.price_changes:
        cost[score_from + price.step :, table.providers.index(price.provider)] *= price.factor
    for change in settings.quality_changes:
        window = slice(score_from + change.from_step, score_from + change.to_step)
        cells = quality[window, table.providers.index(change.provider)]
        present = np.isfinite(cells)
        values = cells[present]
        mean = float(values.mean()) if len(values) else 0.0
        scaled = values * (change.value / mean) if mean > 0.0 else np.full(len(values), change.value)
        cells[present] = np.clip(scaled, 0.0, 1.0)
    for newcomer in settings.newcomers:
        absent[: score_from + newcomer.step, table.providers.index(newcomer.provider)] = True
    quality[absent], cost[absent] = np.nan, np.nan
    return quality, cost
