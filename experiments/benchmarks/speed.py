"""Section 5: microseconds per decision, growth with the number of providers, and the synthetic task."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from fairlead.experiments.benchmarks.peers import play_tasks
from fairlead.experiments.benchmarks.report import Row, Section, mean_and_error
from fairlead.experiments.benchmarks.tables import Options
from fairlead.experiments.benchmarks.task import PlainBandit, Task, make_task
from fairlead.experiments.simulation.scenario import Matrix
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Context, Decision, Feedback, Outcome
from fairlead.optimizer.types.route import Prices, Provider, Route

_SEEDS: Final = 2
_SETTLE: Final = 200
_SIZES: Final = ((3, 50, 120.0), (20, 64, 400.0))
_COUNTS: Final = (5, 10, 20, 40)
_ALPHA, _V, _RIDGE = 0.2, 0.06, 0.1
_EXACT: Final = "Fairlead"

Choose = Callable[[int, Matrix], int]
Learn = Callable[[Matrix, int, float], None]


def speed(options: Options) -> Section:
    """All of it in this process, on one thread; the peers each in one of their own, right after."""
    section = Section(number=5, title="Speed, single thread")
    for k, d, bound in _SIZES:
        decide, learn = _timed_router(k, d, options.speed_rounds)
        both = decide + learn
        section.at_most(f"decide + learn at k={k}, d={d}: mean µs", [float(both.mean())], bound, digits=0)
        section.show(f"decide + learn at k={k}, d={d}: p50 µs", [float(np.median(both))], digits=0)
        section.show(f"decide alone at k={k}, d={d}: p50 µs", [float(np.median(decide))], digits=0)
    times = []
    for k in _COUNTS:
        decide, learn = _timed_router(k, 64, options.speed_rounds)
        times.append(float(np.median(decide + learn)))
        section.show(f"decide + learn at k={k}, d=64: p50 µs", times[-1:], digits=0)
    slope = float(np.polyfit(np.log(_COUNTS[-3:]), np.log(times[-3:]), 1)[0])
    section.at_most("growth: exponent of k from 10 to 40 (1 is linear)", [slope], 1.1, digits=2)
    _tasks(section, options)
    return section


def _timed_router(k: int, d: int, rounds: int) -> tuple[Matrix, Matrix]:
    """Microseconds per `decide` and per `learn` (decision, outcome and feedback), once settled."""
    task = make_task(providers=k, width=d + 1, rounds=rounds, seed=0)
    cost = np.geomspace(1e-4, 1e-2, k)
    providers = tuple(
        Provider(
            name=f"p{i}",
            prices=Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=float(usd)),
        )
        for i, usd in enumerate(cost)
    )
    route = Route(name="speed", providers=providers, budget=Budget(usd_per_request=1e-3))
    router = Router(route, blocks=[Block("embedding", d, True)])
    draws = np.random.default_rng(0).random(rounds).tolist()
    places = {provider.name: i for i, provider in enumerate(providers)}
    decide, learn = np.zeros(rounds), np.zeros(rounds)
    # The hundreds of thousands of objects of what this process has imported are not the router's to look
    # through for garbage; its own are, as in any process.
    gc.collect()
    gc.freeze()
    for step in range(rounds):
        x = task.features[step, :-1]
        start = time.perf_counter_ns()
        decision = router.decide(Context(features=x), decision_id=str(step), draw=draws[step])
        chosen = time.perf_counter_ns()
        column = places[decision.selected]
        usd, reward = float(cost[column]), float(task.observed[step, column])
        asked = time.perf_counter_ns()
        router.learn(decision)
        router.learn(Outcome(decision_id=decision.id, served_provider=decision.selected, cost_usd=usd))
        router.learn(Feedback(decision_id=decision.id, value=reward))
        decide[step], learn[step] = chosen - start, time.perf_counter_ns() - asked
    gc.unfreeze()
    settled = min(_SETTLE, rounds // 5)
    return decide[settled:] / 1e3, learn[settled:] / 1e3


def _router_pair(k: int, d: int, seed: int, *, rounds: int) -> tuple[Choose, Learn]:
    """Play the router on the task: like every peer it receives the reward alone; the bias is its own."""
    names = tuple(f"p{i}" for i in range(k))
    route = Route(name="task", providers=tuple(Provider(name=name) for name in names))
    router = Router(route, blocks=[Block("embedding", d - 1, True)])
    draws = np.random.default_rng(seed).random(rounds).tolist()
    places = {name: i for i, name in enumerate(names)}
    last: list[Decision] = []

    def choose(step: int, x: Matrix) -> int:
        decision = router.decide(Context(features=x[:-1]), decision_id=str(step), draw=draws[step])
        last[:] = [decision]
        return places[decision.selected]

    def learn(x: Matrix, chosen: int, reward: float) -> None:
        router.learn(last[0])
        router.learn(Feedback(decision_id=last[0].id, value=reward))

    return choose, learn


def _plain_pair(k: int, d: int, alpha: float, *, rng: np.random.Generator | None) -> tuple[Choose, Learn]:
    bandit = PlainBandit(providers=k, width=d, alpha=alpha, ridge=_RIDGE, rng=rng)
    return lambda step, x: bandit.choose(x), bandit.learn


def _run(task: Task, choose: Choose, learn: Learn) -> tuple[float, float]:
    """Score, and the median microseconds of a decision."""
    spent = np.zeros(len(task.features))
    chosen = []
    for step, x in enumerate(task.features):
        start = time.perf_counter_ns()
        column = choose(step, x)
        spent[step] = time.perf_counter_ns() - start
        chosen.append(column)
        learn(x, column, float(task.observed[step, column]))
    return task.score(chosen), float(np.median(spent[min(_SETTLE, len(spent) // 5) :])) / 1e3


def _tasks(section: Section, options: Options) -> None:
    seeds = options.seed_count(_SEEDS)
    notes: list[str] = []
    for k, d in options.cells:
        scores: dict[str, list[float]] = {}
        micros: dict[str, list[float]] = {}
        for seed in range(seeds):
            task = make_task(providers=k, width=d, rounds=options.rounds, seed=seed)
            pairs = {
                _EXACT: _router_pair(k, d, seed, rounds=options.rounds),
                "plain LinUCB": _plain_pair(k, d, _ALPHA, rng=None),
                "plain Thompson": _plain_pair(k, d, _V, rng=np.random.default_rng(seed)),
            }
            results = {name: _run(task, *pair) for name, pair in pairs.items()}
            played, notes = play_tasks(options, task, seed)
            for name, (chosen, p50) in played.items():
                results[name] = (task.score(chosen), p50)
            for name, (score, p50) in results.items():
                scores.setdefault(name, []).append(score)
                micros.setdefault(name, []).append(p50)
        _task_rows(section, f"task k={k}, d={d}", scores, micros=micros)
    section.notes += notes


def _task_rows(
    section: Section, label: str, scores: dict[str, list[float]], *, micros: dict[str, list[float]]
) -> None:
    libraries = [name for name in scores if name != _EXACT and not name.startswith("plain")]
    best = max((mean_and_error(scores[name])[0] for name in libraries), default=None)
    limit = mean_and_error(micros["vw regcb"])[0] if "vw regcb" in micros else None
    for name in scores:
        score, error = mean_and_error(scores[name])
        p50, spread = mean_and_error(micros[name])
        ours = name == _EXACT
        compared = ours and best is not None
        section.rows.append(
            Row(
                name=f"{label}, {name}: score",
                measured=score,
                error=error,
                target=f"≥ {best:.4f} (best peer)" if compared else "",
                met=score >= best if ours and best is not None else None,
            )
        )
        faster = ours and limit is not None
        section.rows.append(
            Row(
                name=f"{label}, {name}: decide p50 µs",
                measured=p50,
                error=spread,
                digits=1,
                target=f"≤ {limit:.0f} (vw regcb)" if faster else "",
                met=p50 <= limit if ours and limit is not None else None,
            )
        )
