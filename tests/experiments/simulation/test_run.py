"""Playing: who hears what when, and whether players learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from fairlead.experiments.simulation import run as module
from fairlead.experiments.simulation.players import FixedPlayer
from fairlead.experiments.simulation.records import measure
from fairlead.experiments.simulation.run import play, simulate
from fairlead.experiments.simulation.scenario import Goal, Newcomer, PriceChange, QualityChange, Settings
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.types import Feedback, Outcome, Prices

FREE = Goal()


def two_kinds(n: int = 600) -> OutcomeTable:
    """Code is solved by `a`, translation by `b`; `c` is dear and half right."""
    rng = np.random.default_rng(2)
    kind = rng.integers(2, size=n)
    chance = np.column_stack([0.95 - 0.9 * kind, 0.05 + 0.9 * kind, np.full(n, 0.5)])
    openings = ("def sort(x): return", "Translate into French the sentence")
    return OutcomeTable(
        providers=("a", "b", "c"),
        prompt_ids=tuple(map(str, range(n))),
        splits=np.full(n, None, dtype=object),
        tasks=tuple(f"t{i}" for i in kind),
        prompts=tuple(f"{openings[i]} {rng.integers(10**6)}" for i in kind),
        quality=(rng.random((n, 3)) < chance).astype(float),
        cost_usd=np.tile([1e-3, 1e-3, 1e-2], (n, 1)),
        latency_s=np.full((n, 3), 0.5),
        input_tokens=np.full((n, 3), 20.0),
        output_tokens=np.full((n, 3), np.nan),
    )


class Listener(FixedPlayer):
    """Writes down all that it is told."""

    def __init__(self) -> None:
        super().__init__(0)
        self.now = -1
        self.heard: list[tuple[int, int]] = []
        self.costs: list[float | None] = []
        self.offers: list[tuple[int, tuple[int, ...], tuple[Prices | None, ...]]] = []

    def offer(self, columns: Sequence[int], prices: Sequence[Prices | None]) -> None:
        super().offer(columns, prices)
        self.offers.append((self.now + 1, tuple(columns), tuple(prices)))

    def choose(self, step: int, absent: tuple[int, ...]) -> int:
        self.now = step
        return super().choose(step, absent)

    def outcome(self, step: int, column: int, outcome: Outcome) -> None:
        assert step == self.now
        assert (outcome.input_tokens, outcome.output_tokens, outcome.latency_s) == (20, None, 0.5)
        self.costs.append(outcome.cost_usd)

    def feedback(self, step: int, column: int, feedback: Feedback) -> None:
        self.heard.append((step, self.now))


def listen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Listener:
    listener = Listener()
    monkeypatch.setattr(module, "_make_player", lambda *_, **__: listener)
    table = two_kinds()
    play(table, settings, make_stream(table, settings, 0), policy="default", goal=FREE)
    return listener


def test_feedback_comes_late_and_not_always(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen(Settings(features="surface", feedback_delay=7, feedback_rate=0.5), monkeypatch)
    assert all(now == step + 7 for step, now in listener.heard)
    assert 0.4 < len(listener.heard) / 593 < 0.6
    assert len(listener.costs) == 600


def test_offers_change_at_their_very_step(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        price_changes=(PriceChange(provider="a", factor=2.0, step=130),),
        newcomers=(Newcomer(provider="b", step=50),),
    )
    listener = listen(settings, monkeypatch)
    assert [(step, columns) for step, columns, _ in listener.offers] == [
        (0, (0, 2)), (50, (0, 1, 2)), (130, (0, 1, 2)),
    ]  # fmt: skip
    before, after = (offer[2][0] for offer in listener.offers[1:])
    assert before is not None and after is not None
    assert after.per_call_usd == pytest.approx(2.0 * before.per_call_usd)
    assert listener.costs[129:131] == pytest.approx([1e-3, 2e-3])


@pytest.mark.parametrize("policy", ["default", "linucb", "thompson"])
def test_players_learn_who_is_good_at_what(policy: str) -> None:
    table, settings = two_kinds(), Settings()
    stream = make_stream(table, settings, 0)
    goal = Goal(budget_usd=2e-3)
    trace = play(table, settings, stream, policy=policy, goal=goal)
    record = measure(table, settings, stream, policy=policy, goal=goal, columns=trace.columns)
    assert (record.values["lift_second_half"] or 0.0) > 0.2
    assert (record.values["utilisation_second_half"] or 0.0) < 1.1


def test_measures_by_hand() -> None:
    table = two_kinds(4)
    settings = Settings(
        features="surface",
        quality_changes=(QualityChange(provider="c", value=1.0, from_step=0, to_step=1),),
    )
    stream = dataclasses.replace(
        make_stream(table, settings, 0),
        quality=np.array([[0, 0.5, 1], [0, 0.5, 1], [0.2, 0.5, 1], [0.2, np.nan, 0.8]]),
        cost_usd=np.array([[1, 2, 3], [1, 2, 3], [1, 2, 5], [1, np.nan, 5]]) * 1e-3,
    )
    columns = np.array([0, 1, 0, 2], dtype=np.intp)
    record = measure(table, settings, stream, policy="x", goal=Goal(budget_usd=2e-3), columns=columns)
    result = record.values
    assert result["mean_quality"] == pytest.approx((0 + 0.5 + 0.2 + 0.8) / 4)
    assert result["mean_cost_usd"] == pytest.approx(9e-3 / 4)
    assert result["utilisation"] == pytest.approx(9 / 8)
    # From a (0.1 at 1) over b (0.5 at 2) to c (0.95 at 4): b lies below neither neighbour's chord.
    assert result["best_fixed_mix_at_spend"] == pytest.approx(0.5 + 0.25 / 2 * 0.45)
    assert result["mean_cost_usd_second_half"] == pytest.approx(3e-3)
    assert result["best_fixed_mix_at_spend_second_half"] == pytest.approx(0.5 + (3 - 2) / (5 - 2) * 0.4)
    assert record.share == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert record.phase_quality == pytest.approx((0.25, 0.2, 0.8))


def test_a_policy_that_does_not_exist_is_refused_before_playing() -> None:
    with pytest.raises(ValueError, match="no policy 'magic'"):
        simulate(two_kinds(), Settings(policies=("magic",)))
