"""Section 3: a provider gets worse, a price changes, a provider joins."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.tables import FLASH, MISTRAL, OURS, PRO, THREE, Options
from fairlead.experiments.simulation.run import play, simulate
from fairlead.experiments.simulation.scenario import Goal, Newcomer, QualityChange, Settings
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Feedback, Outcome
from fairlead.optimizer.types.route import Prices, Provider, Route

_SEEDS: Final = 20
_PHASE: Final = 608
_MIDDLE, _LOOSE = 6.6e-4, 1.9e-3
_FACTOR: Final = 0.01
_WINDOW: Final = 50


def changes(options: Options) -> Section:
    """Share and quality after a drop of quality, cost after a change of price, decisions until adoption."""
    table = options.table("paretobandit")
    three = options.table("paretobandit", providers=THREE)
    seeds = options.seed_count(_SEEDS)
    section = Section(number=3, title=f"A world that changes, {seeds} seeds")
    _drop(section, three, seeds, jobs=options.jobs)
    _price(section, three)
    _newcomer(section, table, seeds)
    return section


def _drop(section: Section, table: OutcomeTable, seeds: int, *, jobs: int) -> None:
    change = QualityChange(provider=MISTRAL, value=0.75, from_step=_PHASE, to_step=2 * _PHASE)
    settings = Settings(
        policies=(OURS, "linucb", "thompson"),
        budgets_usd=(_MIDDLE, _LOOSE),
        warmup_split="val",
        score_split="test",
        seeds=seeds,
        supervised=False,
        quality_changes=(change,),
    )
    records = simulate(table, settings, jobs=jobs).records
    for policy in settings.policies:
        name = "Fairlead" if policy == OURS else policy
        for budget in (_MIDDLE, _LOOSE):
            played = [r for r in records if r.policy == policy and r.goal.budget_usd == budget]
            shares = [r.share_after_change.get(MISTRAL) for r in played]
            values = [math.nan if share is None else share for share in shares]
            label = f"quality drop, {name}: share from 100 decisions after it, budget ${budget:.1e}"
            quality = f"quality drop, {name}: quality of phase two, budget ${budget:.1e}"
            phase = [r.phase_quality[1] for r in played]
            if policy == OURS and budget == _MIDDLE:
                section.at_most(label, values, 0.15, digits=3)
            else:
                section.show(label, values, digits=3)
            if policy == OURS and budget == _LOOSE:
                section.at_least(quality, phase, 0.81)
            else:
                section.show(quality, phase)
    section.notes.append("Published for paretobandit: share .50 at the budget of $6.6e-4.")


def _price(section: Section, table: OutcomeTable) -> None:
    """Compare the expected cost of one request just before and just after the price list changed."""
    settings = Settings(features="surface", warmup_split="val", score_split="test", seeds=1)
    stream = make_stream(table, settings, 0)
    means = stream.cost_usd[: stream.score_from].mean(axis=0)
    prices = [
        Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=float(mean)) for mean in means
    ]

    def route(listed: list[Prices]) -> Route:
        providers = tuple(
            Provider(name=name, prices=price) for name, price in zip(table.providers, listed, strict=True)
        )
        return Route(name="prices", providers=providers, budget=Budget(usd_per_request=_MIDDLE))

    router = Router(route(prices), blocks=stream.blocks, encoder_version=stream.version)
    for step in range(stream.score_from):
        decision = router.decide(
            Context(features=stream.fixed[step]), decision_id=str(step), draw=stream.draws[step]
        )
        column = table.providers.index(decision.selected)
        cost, quality = float(stream.cost_usd[step, column]), float(stream.quality[step, column])
        router.learn(decision)
        router.learn(Outcome(decision_id=decision.id, served_provider=decision.selected, cost_usd=cost))
        router.learn(Feedback(decision_id=decision.id, value=quality))
    probe = Context(features=stream.fixed[stream.score_from])
    j = table.providers.index(PRO)
    before = router.decide(probe, decision_id="before", draw=0.5)
    router.configure(route([price.scaled(_FACTOR if i == j else 1.0) for i, price in enumerate(prices)]))
    after = router.decide(probe, decision_id="after", draw=0.5)
    ratio = float(after.expected[2, j] / before.expected[2, j]) / _FACTOR
    section.at_most(
        "price cut to 1 %: |expected cost ÷ new price − 1| at the next decision", [abs(ratio - 1.0)], 0.01
    )
    section.show("price cut to 1 %: its probability before", [float(before.probabilities[j])], digits=3)
    section.show("price cut to 1 %: its probability after", [float(after.probabilities[j])], digits=3)


def _newcomer(section: Section, table: OutcomeTable, seeds: int) -> None:
    settings = Settings(
        warmup_split="val",
        score_split="test",
        seeds=seeds,
        supervised=False,
        newcomers=(Newcomer(provider=FLASH, step=_PHASE),),
    )
    waits, shares = [], []
    for seed in settings.seed_list:
        stream = make_stream(table, settings, seed)
        trace = play(table, settings, stream, policy=OURS, goal=Goal(budget_usd=_LOOSE))
        chosen = trace.columns[stream.score_from + _PHASE :] == table.providers.index(FLASH)
        waits.append(float(adoption(chosen)))
        shares.append(float(chosen[_PHASE:].mean()))
    section.at_most(f"newcomer: decisions until adopted, budget ${_LOOSE:.1e}", waits, 60, digits=1)
    section.show("newcomer: share in the last phase", shares, digits=3)
    section.notes.append(
        "Adopted: the first decision since joining from which the newcomer takes, over the next "
        f"{_WINDOW}, at least half of its share in the last phase. Published for paretobandit: 121 to 142."
    )


def adoption(chosen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int:
    """Find the first decision from which the share over the next ones is at least half the settled share.

    `chosen` says per decision since joining whether it was the newcomer; its second half counts as settled.
    """
    settled = float(chosen[len(chosen) // 2 :].mean())
    if settled == 0.0:
        return len(chosen)
    sums = np.concatenate([[0.0], np.cumsum(chosen)])
    rolling = (sums[_WINDOW:] - sums[:-_WINDOW]) / _WINDOW
    return int((rolling >= settled / 2.0).argmax())
