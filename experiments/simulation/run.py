"""Playing an outcome table as a stream with bandit feedback: only the chosen provider's row is revealed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.baselines.supervised import SupervisedReference, supervised_reference
from fairlead.experiments.logs.recorder import time_text
from fairlead.experiments.logs.write import Line
from fairlead.experiments.simulation.players import (
    FixedPlayer,
    Player,
    RidgePlayer,
    RouterPlayer,
    UniformPlayer,
    Watch,
)
from fairlead.experiments.simulation.pool import LocalPool, ProcessPool, Tick, ignore
from fairlead.experiments.simulation.records import Record, measure, oracle_quality
from fairlead.experiments.simulation.scenario import (
    PEERS,
    Goal,
    Matrix,
    Settings,
    check_scenario,
    goals,
    split_rows,
)
from fairlead.experiments.simulation.stream import Stream, encoder_parts, make_stream, text_features
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.experiments.tables.price_list import PriceEstimate, price_list
from fairlead.optimizer.features import Encoder
from fairlead.optimizer.policies.presets import policy_from_name
from fairlead.optimizer.types import Context, Feedback, Outcome, Prices
from fairlead.optimizer.types.evidence import MOST_ROWS

_TICK_EVERY: Final = 256
_START_S: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z. Any time will do, as long as every run has the same."""

_EVERY_S: Final = 60.0
_INVOICES: Final = 4
"""Number of the generator that draws which calls have an invoice; `stream` has those before."""

Plays = Sequence[tuple[str, Goal]]
"""Policies by name, each with its goal."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """The choices of one run, a column of the table per step, (n,), and the player in its final state."""

    columns: NDArray[np.intp]
    player: Player


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """A simulation: one record per policy, goal and seed, and what they are compared with.

    `oracle` holds the oracle's mean quality per goal, averaged over seeds. `supervised` is None if it does
    not apply; `notes` say why, and whatever else a reader should know.

    >>> from fairlead.experiments.files import bundled_path
    >>> from fairlead.experiments.tables.outcome_table import read_outcome_table
    >>> table = read_outcome_table(bundled_path("synthetic_support.parquet"))
    >>> settings = Settings(policies=("fixed:synthetic/mini",), wtp_usd=(0.01,), seeds=1, supervised=False)
    >>> result = simulate(table, settings)
    >>> round(result.records[0].values["mean_quality"], 3), round(result.oracle[0], 3)
    (0.568, 0.827)
    """

    settings: Settings
    goals: tuple[Goal, ...]
    records: tuple[Record, ...]
    oracle: tuple[float, ...]
    supervised: SupervisedReference | None
    prices: dict[str, PriceEstimate]
    table: OutcomeTable
    notes: tuple[str, ...]


def simulate(table: OutcomeTable, settings: Settings, *, jobs: int = 1, progress: Tick = ignore) -> Result:
    """Play every policy and goal for every seed, in `jobs` processes.

    `progress` is called with the rounds that have just been played. A ValueError says what does not fit.
    """
    check_scenario(table, settings)
    for policy in settings.policies:
        if policy not in PEERS:
            policy_from_name(policy, providers=table.providers)
    goal_list = goals(table, settings)
    plays: Plays = [(policy, goal) for policy in settings.policies for goal in goal_list]
    parts = min(len(plays), -(-jobs // settings.seeds)) if jobs > settings.seeds else 1
    tasks = [((seed, plays[part::parts]),) for seed in settings.seed_list for part in range(parts)]
    pool = ProcessPool(jobs) if jobs > 1 else LocalPool()
    results = pool.map(play_seed, tasks, progress, shared=(table, settings), reports=True)
    rank = {play: i for i, play in enumerate(plays)}
    records = [record for seed_records, _ in results for record in seed_records]
    records.sort(key=lambda record: (rank[record.policy, record.goal], record.seed))
    oracles: dict[Goal, list[float]] = {goal: [] for goal in goal_list}
    for _, oracle in results:
        for goal, value in oracle.items():
            oracles[goal].append(value)
    supervised, note = _supervised(table, settings, goal_list)
    return Result(
        settings=settings,
        goals=goal_list,
        records=tuple(records),
        oracle=tuple(float(np.mean(oracles[goal])) for goal in goal_list),
        supervised=supervised,
        prices=_price_list(table) if settings.price_list else {},
        table=table,
        notes=(*table.notes, *_notes_on_prompts(table, settings), *_notes_on_prices(table, settings), *note),
    )


def _notes_on_prompts(table: OutcomeTable, settings: Settings) -> list[str]:
    count = len(table) - int(table.available.any(axis=1).sum())
    if settings.newcomers:
        joining = [table.providers.index(newcomer.provider) for newcomer in settings.newcomers]
        count = len(table) - int(np.delete(table.available, joining, axis=1).any(axis=1).sum())
    notes = [f"{count} prompts have no provider from the start; they are left out."] if count else []
    prompts = len(settings.warm_start) if settings.warm_start is not None else 0
    if prompts > MOST_ROWS:
        notes.append(f"Of {prompts:,} prompts for the warm start, each seed draws {MOST_ROWS:,} at random.")
    return notes


def _notes_on_prices(table: OutcomeTable, settings: Settings) -> list[str]:
    """Say of whom not all prices could be told."""
    estimates = _price_list(table) if settings.price_list else {}
    notes = {estimate.note for estimate in estimates.values() if estimate.note}
    by_note = {
        note: [name for name, each in estimates.items() if each.note == note] for note in sorted(notes)
    }
    return [f"Of {', '.join(names)} {note}." for note, names in by_note.items()]


SeedResult = tuple[list[Record], dict[Goal, float]]
"""The records of one seed, and the oracle's mean quality by goal."""


def play_seed(
    table: OutcomeTable, settings: Settings, share: tuple[int, Plays], *, tick: Tick = ignore
) -> SeedResult:
    """Play a seed and its plays: features once, then all of them on the same stream with the same dice."""
    seed, plays = share
    stream = make_stream(table, settings, seed)
    records = []
    for policy, goal in plays:
        trace = play(table, settings, stream, policy=policy, goal=goal, tick=tick)
        records.append(measure(table, settings, stream, policy=policy, goal=goal, columns=trace.columns))
    first = stream.score_from
    quality, cost = stream.quality[first:], stream.cost_usd[first:]
    return records, {goal: oracle_quality(quality, cost, goal) for goal in {goal for _, goal in plays}}


class _Answers:
    """The outcome and the feedback of any choice, as events."""

    def __init__(self, table: OutcomeTable, stream: Stream, *, invoice_rate: float) -> None:
        self._providers = table.providers
        luck = np.random.default_rng([stream.seed, _INVOICES]).random(len(stream))
        self._has_invoice = (luck < invoice_rate).tolist()
        self._quality, self._cost = stream.quality.tolist(), stream.cost_usd.tolist()
        matrices = (table.input_tokens, table.output_tokens, table.latency_s)
        self._usage = [matrix[stream.rows].tolist() for matrix in matrices]

    def outcome(self, step: int, column: int) -> Outcome:
        tokens_in, tokens_out, latency = (values[step][column] for values in self._usage)
        return Outcome(
            decision_id=str(step),
            served_provider=self._providers[column],
            cost_usd=self._cost[step][column] if self._has_invoice[step] else None,
            input_tokens=round(tokens_in) if tokens_in == tokens_in else None,
            output_tokens=round(tokens_out) if tokens_out == tokens_out else None,
            latency_s=latency if latency == latency else None,
        )

    def feedback(self, step: int, column: int) -> Feedback:
        return Feedback(decision_id=str(step), value=self._quality[step][column])


def play(
    table: OutcomeTable,
    settings: Settings,
    stream: Stream,
    *,
    policy: str,
    goal: Goal,
    tick: Tick = ignore,
    watch: Watch = lambda step, probabilities: None,
) -> Trace:
    """Play one run: choose, reveal the outcome at once and the quality after the delay.

    `watch` is called with the distribution of every choice.
    """
    player = _make_player(table, stream, policy=policy, goal=goal)
    offers = _offers(table, settings, stream.score_from)
    answers = _Answers(table, stream, invoice_rate=settings.invoice_rate)
    absent = [tuple(np.flatnonzero(row).tolist()) for row in ~table.available[stream.rows]]
    waiting: deque[tuple[int, int, Feedback]] = deque()
    columns: list[int] = []
    for segment in stream.segments:
        if segment.start == 0:
            player.offer(*offers.pop(0))
        player.start(segment)
        for step in range(segment.start, segment.stop):
            if step in offers:
                player.offer(*offers.pop(step))
            column = player.choose(step, absent[step])
            columns.append(column)
            watch(step, player.probabilities())
            player.outcome(step, column, answers.outcome(step, column))
            if stream.has_feedback[step]:
                waiting.append((step, column, answers.feedback(step, column)))
            while waiting and waiting[0][0] + settings.feedback_delay <= step:
                player.feedback(*waiting.popleft())
            if not step % _TICK_EVERY:
                tick(min(_TICK_EVERY, len(stream) - step))
    return Trace(columns=np.array(columns, dtype=np.intp), player=player)


def simulated_lines(
    table: OutcomeTable, settings: Settings, *, policy: str, goal: Goal, seed: int
) -> Iterator[Line]:
    """Play the table once and yield its decisions as lines, a minute apart.

    A reward stays empty if its feedback is never revealed. The features of all lines are in the space of the
    last text projection, so that they can be compared.
    """
    check_scenario(table, settings)
    stream = make_stream(table, settings, seed)
    distributions: list[Mapping[int, float]] = []
    trace = play(
        table, settings, stream, policy=policy, goal=goal,
        watch=lambda step, probabilities: distributions.append(probabilities),
    )  # fmt: skip
    features = stream.segments[-1].features
    for step, row in enumerate(stream.rows.tolist()):
        chosen = int(trace.columns[step])
        chances = distributions[step]
        latency = float(table.latency_s[row, chosen])
        line: dict[str, Any] = {
            "decision_id": table.prompt_ids[row],
            "decided_at": time_text(_START_S + _EVERY_S * step),
            "route": "simulation",
            "context": {"task": table.tasks[row]} if table.tasks[row] else None,
            "features": features[step].tolist(),
            "providers": [table.providers[column] for column in chances],
            "propensities": list(chances.values()),
            "provider": table.providers[chosen],
            "served_provider": table.providers[chosen],
            "reward": float(stream.quality[step, chosen]) if stream.has_feedback[step] else None,
            "cost_usd": float(stream.cost_usd[step, chosen]),
            "latency_s": latency if latency == latency else None,
            "status": "ok",
        }
        yield line


def _make_player(table: OutcomeTable, stream: Stream, *, policy: str, goal: Goal) -> Player:
    if policy.startswith("fixed:"):
        return FixedPlayer(table.providers.index(policy.removeprefix("fixed:")))
    if policy == "uniform":
        return UniformPlayer(stream.draws)
    if policy in PEERS:
        noise = stream.noise if policy == "thompson" else None
        return RidgePlayer(goal=goal, n_providers=len(table.providers), noise=noise)
    return RouterPlayer(names=table.providers, goal=goal, policy=policy_from_name(policy), stream=stream)


Offer = tuple[tuple[int, ...], tuple[Prices | None, ...]]
"""The columns of the providers on the route, and the price of every column."""


def _offers(table: OutcomeTable, settings: Settings, score_from: int) -> dict[int, Offer]:
    """Find the offers by the step from which each holds; there is always one at step 0."""
    estimates = _price_list(table) if settings.price_list else {}
    prices = [_prices(estimates.get(name)) for name in table.providers]
    for error in settings.list_errors:
        j = table.providers.index(error.provider)
        prices[j] = None if (right := prices[j]) is None else right.scaled(error.factor)
    joins = {table.providers.index(newcomer.provider): newcomer.step for newcomer in settings.newcomers}
    steps = {0} | {score_from + step for step in joins.values()}
    steps |= {score_from + change.step for change in settings.price_changes}
    offers = {}
    for step in sorted(steps):
        now = list(prices)
        for change in settings.price_changes:
            if score_from + change.step <= step:
                j = table.providers.index(change.provider)
                now[j] = None if (before := now[j]) is None else before.scaled(change.factor)
        on_route = [j for j in range(len(prices)) if j not in joins or score_from + joins[j] <= step]
        offers[step] = (tuple(on_route), tuple(now))
    return offers


@lru_cache(maxsize=4)
def _price_list(table: OutcomeTable) -> dict[str, PriceEstimate]:
    return price_list(table)


def _prices(estimate: PriceEstimate | None) -> Prices | None:
    """Turn a price list entry into prices of the router; an unknown price stays unknown."""
    if estimate is None:
        return None
    parts = (estimate.usd_per_million_input, estimate.usd_per_million_output, estimate.usd_per_call)
    if parts == (None, None, None):
        return None
    by_input, by_output, by_call = (part or 0.0 for part in parts)
    return Prices(input_usd_per_mtok=by_input, output_usd_per_mtok=by_output, per_call_usd=by_call)


def _supervised(
    table: OutcomeTable, settings: Settings, goal_list: Sequence[Goal]
) -> tuple[SupervisedReference | None, list[str]]:
    """Compute the full-information reference on the scored prompts as in the table, before any change."""
    budgets = [goal.budget_usd for goal in goal_list if goal.budget_usd is not None]
    if not settings.supervised:
        return None, []
    if not budgets:
        return None, ["The supervised reference is left out: it is defined for budgets only."]
    rows = split_rows(table, settings)[1]
    contexts = [Context(text=table.prompts[row] or None, task=table.tasks[row] or None) for row in rows]
    features: Matrix = Encoder(encoder_parts(settings)).encode_many(contexts)
    coordinates = None
    if settings.features == "projection":
        coordinates = text_features([context.text or "" for context in contexts])
    if coordinates is not None:
        features = np.hstack([features, coordinates])
    try:
        reference = supervised_reference(features, table.quality[rows], table.cost_usd[rows], budgets=budgets)
    except ValueError as error:
        return None, [f"The supervised reference is left out: {error}"]
    changes = settings.price_changes or settings.quality_changes or settings.newcomers
    return reference, ["The supervised reference sees the table without the changes."] if changes else []
