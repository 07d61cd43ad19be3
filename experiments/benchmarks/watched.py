"""How often verdicts are wrong when they are watched: `python -m fairlead.experiments.benchmarks.watched`.

Fixed splits whose truth is known, and logs that the default router wrote of outcome tables, each read again
and again. Counted are sequences that held the truth at every look, and promotions of what is not better.
`--only splits` needs no tables; the logs of the router take about 10 s each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.report import Row, Section
from fairlead.experiments.benchmarks.tables import DataMissing, Options, data_folder
from fairlead.experiments.ope.betting import ClusterSums, Trial, Wealth, gain_ends, value_ends
from fairlead.experiments.ope.moments import merge
from fairlead.experiments.ope.reward_models import predict_from_past
from fairlead.experiments.ope.validation import Integers, Matrix, Vector
from fairlead.experiments.simulation.run import play
from fairlead.experiments.simulation.scenario import Goal, Settings
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.types import FloatArray

WORLDS: Final = ("null", "logparse", "paretobandit", "cascade")
SIZES: Final = (500, 2_000, 8_000)
_LOOK: Final = 500
_LEVEL: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One target on one log, looked at every few decisions.

    ``held`` says whether both ends held the true gain at all looks, ``value_held`` the same of the value,
    ``promoted`` whether the lower end was above 0 at any look; ``wrong`` whether it was while the truth was
    not. ``widths`` are those of the gain's interval at `SIZES`.
    """

    held: bool
    value_held: bool
    promoted: bool
    wrong: bool
    widths: tuple[float, ...]


def watch(
    trial: Trial, target: Matrix, expected: Matrix, *, questions: int = 1, look: int = _LOOK
) -> Watched:
    """Look at the gain and the value of ``target`` (n, k); ``expected`` (n, k) are the true mean rewards."""
    n = len(trial.reward)
    count = np.arange(1, n + 1)
    gain = np.cumsum(((target - trial.logging) * expected).sum(axis=1)) / count
    value = np.cumsum((target * expected).sum(axis=1)) / count
    group = np.arange(n) // look
    looks = int(group[-1]) + 1
    parts = Wealth.by(gain_ends(trial, target=target, baseline=trial.logging), group, looks)
    values = Wealth.by(value_ends(trial, target=target), group, looks)
    gains = [merge(parts[: i + 1]).interval(level=_LEVEL, share=questions) for i in range(looks)]
    valued = [merge(values[: i + 1]).interval(level=_LEVEL) for i in range(looks)]
    promoted = [each.low > 0.0 for each in gains]
    return Watched(
        held=all(e.low <= gain[e.n - 1] + 1e-12 and gain[e.n - 1] - 1e-12 <= e.high for e in gains),
        value_held=all(e.low <= value[e.n - 1] <= e.high for e in valued),
        promoted=any(promoted),
        wrong=any(up and gain[e.n - 1] <= 0.0 for up, e in zip(promoted, gains, strict=True)),
        widths=tuple(e.high - e.low for e in gains if e.n in SIZES),
    )


def split(means: Sequence[float], shares: Sequence[float], *, n: int, seed: int) -> tuple[Trial, Matrix]:
    """Draw a log of a fixed split among providers of these mean rewards."""
    rng = np.random.default_rng(seed)
    quality, logging = np.tile(means, (n, 1)), np.tile(shares, (n, 1))
    action = (rng.random(n)[:, None] > np.cumsum(logging, axis=1)).sum(axis=1).clip(0, len(means) - 1)
    reward = (rng.random(n) < quality[np.arange(n), action]).astype(np.float64)
    return _trial(reward, action, logging=logging), quality


def _trial(reward: Vector, action: Integers, *, logging: Matrix, features: Matrix | None = None) -> Trial:
    q_hat = predict_from_past(
        features=np.zeros((len(reward), 1)) if features is None else features,
        reward=reward,
        action=action,
        providers=logging.shape[1],
        low=0.0,
        high=1.0,
    )
    return Trial(reward=reward, action=action, logging=logging, q_hat=q_hat)


def always(column: int, like: Trial) -> Matrix:
    """Return the policy that always chooses one provider, shape (n, k)."""
    target = np.zeros_like(like.logging)
    target[:, column] = 1.0
    return target


def _is_promoted(means: Sequence[float], *, n: int, look: int, seed: int) -> bool:
    """Say whether the second provider, chosen in a tenth of n decisions, is promoted at any look."""
    trial, quality = split(means, (0.9, 0.1), n=n, seed=seed)
    return watch(trial, always(1, trial), quality, look=look).promoted


def _any_of_ten(seed: int) -> bool:
    trial, quality = split([0.7] * 10, [0.1] * 10, n=2_000, seed=seed)
    return any(watch(trial, always(j, trial), quality, questions=10).promoted for j in range(10))


def _sticky(seed: int, sizes: Sequence[int]) -> bool:
    """Users who stay with what was drawn once for each, and of whom each has a mood of its own."""
    rng = np.random.default_rng(seed)
    user = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    choice, mood = rng.integers(2, size=len(sizes)), rng.random(len(sizes))
    reward = (rng.random(len(user)) < 0.4 + 0.6 * mood[user]).astype(np.float64)
    trial = _trial(reward, choice[user], logging=np.full((len(user), 2), 0.5))
    ends = gain_ends(trial, target=always(1, trial), baseline=trial.logging)
    return ClusterSums.of(ends, user.astype(np.uint64)).wealth().interval(level=_LEVEL).low > 0.0


def splits(logs: int) -> Section:
    """Measure fixed splits: false promotions, and the power at a true gain of .05."""
    section, started = Section(number=8, title="Verdicts that are watched: fixed splits"), time.perf_counter()
    cases: dict[str, Callable[[int], bool]] = {
        "equal (.7), p = .1, read every 500 up to 20,000": lambda s: _is_promoted(
            (0.7, 0.7), n=20_000, look=500, seed=s
        ),
        "equal (.99), p = .1, read every 100 up to 1,200": lambda s: _is_promoted(
            (0.99, 0.99), n=1_200, look=100, seed=s
        ),
        "ten equal targets, read every 500 up to 2,000: any": _any_of_ten,
        "sticky users, 500 of 20 decisions, by cluster": lambda s: _sticky(s, [20] * 500),
        "sticky users, 200 of 50 decisions, by cluster": lambda s: _sticky(s, [50] * 200),
        "one of 1,001 sticky users is half of 2,000, by cluster": lambda s: _sticky(s, [1_000, *[1] * 1_000]),
        "power: gain .05, quality .7, p = .1, read every 500 up to 8,000": lambda s: _is_promoted(
            (0.7, 0.7556), n=8_000, look=500, seed=s
        ),
    }
    for name, promoted in cases.items():
        share = float(np.mean([promoted(seed) for seed in range(logs)]))
        error = float(np.sqrt(share * (1.0 - share) / logs))
        section.rows.append(Row(name=f"{name}: promoted", measured=share, error=error, digits=3))
    section.seconds = time.perf_counter() - started
    return section


def router_log(
    table: OutcomeTable, world: str, *, with_budget: bool, seed: int, n: int
) -> tuple[Trial, Matrix]:
    """Let the default router serve n drawn prompts, and return what happened and all true rewards."""
    rng = np.random.default_rng([seed, 77])
    complete = np.flatnonzero(table.available.all(axis=1))
    traffic = table.take(complete[rng.integers(len(complete), size=n)])
    if world == "null":
        traffic = _all_equal(traffic, rng)
    traffic = replace(traffic, prompt_ids=tuple(f"p{i}" for i in range(n)))
    means, best = traffic.cost_usd.mean(axis=0), traffic.quality.mean(axis=0).argmax()
    budget_usd = float(np.sqrt(means.min() * means[best])) if with_budget else None
    settings = Settings(policies=("default",), supervised=False)
    if budget_usd is not None:
        settings = replace(settings, budgets_usd=(budget_usd,))
    stream = make_stream(traffic, settings, seed)
    logging: FloatArray = np.zeros((n, len(traffic.providers)))

    def note(step: int, probabilities: Mapping[int, float]) -> None:
        for column, probability in probabilities.items():
            logging[step, column] = probability

    track = play(traffic, settings, stream, policy="default", goal=Goal(budget_usd=budget_usd), watch=note)
    logging /= logging.sum(axis=1, keepdims=True)
    reward = stream.quality[np.arange(n), track.columns]
    features = stream.segments[-1].features
    return _trial(reward, track.columns, logging=logging, features=features), stream.quality


def _all_equal(table: OutcomeTable, rng: np.random.Generator) -> OutcomeTable:
    """Return four providers of the same cost and latency, whose quality is 1 with probability .7."""

    def first(columns: FloatArray) -> FloatArray:
        return np.repeat(columns[:, :1], 4, axis=1)

    return replace(
        table,
        providers=table.providers[:4],
        quality=(rng.random((len(table), 4)) < 0.7).astype(np.float64),
        cost_usd=first(table.cost_usd),
        latency_s=first(table.latency_s),
        input_tokens=first(table.input_tokens),
        output_tokens=first(table.output_tokens),
    )


def router_logs(world: str, table: OutcomeTable, *, with_budget: bool, logs: int) -> Section:
    """Measure logs of the default router, with the first four providers and a uniform mix as targets."""
    budget = "a budget" if with_budget else "no budget"
    section = Section(number=8, title=f"Verdicts that are watched: the router's own log, {world}, {budget}")
    watched: list[Watched] = []
    started = time.perf_counter()
    for seed in range(logs):
        trial, quality = router_log(table, world, with_budget=with_budget, seed=seed, n=SIZES[-1])
        watched += [watch(trial, target, quality) for target in _targets(trial)]
    shares = {
        "both ends of the gain held at all looks": [each.held for each in watched],
        "both ends of the value held at all looks": [each.value_held for each in watched],
        "promoted though not better": [each.wrong for each in watched],
    }
    for name, values in shares.items():
        section.rows.append(Row(name=name, measured=float(np.mean(values)), digits=3))
    for i, size in enumerate(SIZES):
        width = float(np.median([each.widths[i] for each in watched]))
        section.rows.append(Row(name=f"median width of the gain at {size:,}", measured=width, digits=3))
    section.seconds = time.perf_counter() - started
    return section


def _targets(trial: Trial) -> Iterator[Matrix]:
    k = trial.logging.shape[1]
    yield from (always(column, trial) for column in range(min(k, 4)))
    yield np.full_like(trial.logging, 1.0 / k)


def main(arguments: Sequence[str]) -> None:
    """Print all sections."""
    parser = argparse.ArgumentParser(prog="watched", description=__doc__)
    parser.add_argument("--logs", type=int, default=250, help="fixed splits per row")
    parser.add_argument("--router-logs", type=int, default=40, help="logs of the router per world")
    parser.add_argument("--only", choices=("splits", "router"), help="leave out the other half")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS, help="of the router's logs")
    asked = parser.parse_args(arguments)
    if asked.only != "router":
        print(splits(asked.logs).markdown(), flush=True)
    if asked.only == "splits":
        return
    options = Options(data=data_folder())
    for world in asked.worlds:
        table = options.table("logparse" if world == "null" else world, distinct=True)
        for with_budget in (False, True):
            section = router_logs(world, table, with_budget=with_budget, logs=asked.router_logs)
            print(section.markdown(), flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except DataMissing as error:
        sys.exit(str(error))
