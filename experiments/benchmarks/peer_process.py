"""Plays the peers in an interpreter that has them: `python peer_process.py paced|task GIVEN.npz ANSWER.json`.

It stands alone, on numpy and the peers. Their settings are explained in docs/benchmarks.md.
"""

from __future__ import annotations

import importlib
import json
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TABULA_RASA = {"alpha": 0.05, "init_lambda": 1.0, "forgetting_factor": 0.997}
TASK_ALPHA, TASK_RIDGE = 0.2, 0.1
REGCB = "--regcbopt --cb_type mtr --mellowness 0.001"
SQUARECB = "--squarecb --cb_type mtr --gamma_scale 100 --gamma_exponent 0.5"
SETTLE = 200


def paced(arrays: Any) -> dict[str, Any]:
    """ParetoBandit's router with its budget pacer, one run per budget: the column chosen at every step."""
    budgets = arrays["budgets_usd"].tolist()
    return {"paretobandit": {"chosen": [_paced_run(arrays, budget) for budget in budgets]}}


def _router(names: list[str], rates: Any, width: int, *, seed: int, budget: float) -> Any:
    module = importlib.import_module("pareto_bandit.router")
    features = importlib.import_module("pareto_bandit.feature_service")
    pacing = importlib.import_module("pareto_bandit.budget_pacer")
    shipped = Path(module.__file__ or "").parent / "config" / "models.json"
    shipped_models = json.loads(shipped.read_text(encoding="utf-8"))
    registry = {
        name: {"input_cost_per_m": float(rate[0]), "output_cost_per_m": float(rate[1])}
        for name, rate in zip(names, rates, strict=True)
    }
    if set(names) <= set(shipped_models):
        registry = {name: shipped_models[name] for name in names}
    return module.BanditRouter.create(
        model_registry=registry,
        priors="none",
        feature_service=features.FeatureService.for_precomputed(dimension=width),
        bandit_seed=seed,
        cost_penalty=0.0,
        budget_pacer=pacing.BudgetPacer(target_avg_spend_usd=budget),
        **TABULA_RASA,
    )


def _paced_run(arrays: Any, budget: float) -> list[int]:
    names = [str(name) for name in arrays["names"]]
    places = {name: j for j, name in enumerate(names)}
    quality, cost = arrays["quality"], arrays["cost_usd"]
    pacer: Any = None
    chosen: list[int] = []
    for i, stop in enumerate(arrays["stops"].tolist()):
        rows = arrays[f"features_{i}"]
        rows = np.hstack([rows, np.ones((len(rows), 1))])
        router = _router(names, arrays["rates"], rows.shape[1], seed=int(arrays["seed"]), budget=budget)
        if pacer is not None:
            router.budget_pacer = pacer
        pacer = router.budget_pacer
        for step, column in enumerate(chosen):  # what it learned so far, folded into the new features
            router.bandit.mark_selected(names[column])
            router.bandit.update(names[column], rows[step], float(quality[step, column]), advance_time=False)
        for step in range(len(chosen), stop):
            name, log = router.route(rows[step])
            column = places[name]
            if np.isnan(quality[step, column]):  # it cannot serve this prompt: the cheapest that can does
                column = int(np.nanargmin(cost[step]))
                log.selected_model = names[column]
            chosen.append(column)
            log.cost_usd = float(cost[step, column])  # so that the pacer hears of money really spent
            router.process_feedback(log.request_id, float(quality[step, column]))
    return chosen


Engine = tuple[Callable[[Any], tuple[int, float]], Callable[[Any, tuple[int, float], float], None]]


def _vowpal(k: int, d: int, seed: int, *, flags: str) -> Engine:
    """Vowpal Wabbit through its fastest public text path; propensities are its own."""
    library = importlib.import_module("vowpalwabbit")
    workspace = library.Workspace(
        f"--cb_explore_adf {flags} -q xa --ignore_linear x -b 18 --random_seed {seed + 1} --quiet -l 0.5",
        enable_logging=False,
    )
    shared = "shared |x " + " ".join(f"{i}:%.6g" for i in range(d))
    actions = [f"|a {i}" for i in range(k)]
    draw = random.Random(seed).random

    def decide(x: Any) -> tuple[int, float]:
        scores = workspace.predict([shared % tuple(x.tolist()), *actions])
        left = draw() * sum(scores)
        for i, probability in enumerate(scores):
            left -= probability
            if left < 0.0:
                return i, probability
        return k - 1, scores[-1]

    def update(x: Any, choice: tuple[int, float], reward: float) -> None:
        chosen, probability = choice
        lines = [shared % tuple(x.tolist()), *actions]
        lines[chosen + 1] = f"0:{1.0 - reward:.6g}:{probability:.6g} {actions[chosen]}"
        workspace.learn(lines)

    return decide, update


def _pareto(k: int, d: int, seed: int) -> Engine:
    """ParetoBandit's policy alone, without its router around it: the faster of the two."""
    names = [f"m{i}" for i in range(k)]
    policy = importlib.import_module("pareto_bandit.policy").DisjointLinUCBPolicy(
        names, dim=d, alpha=TASK_ALPHA, init_lambda=TASK_RIDGE, forgetting_factor=1.0, seed=seed
    )

    def decide(x: Any) -> tuple[int, float]:
        name = policy.select_arm(x)[0]
        policy.mark_selected(name)
        return int(name[1:]), 1.0

    def update(x: Any, choice: tuple[int, float], reward: float) -> None:
        policy.update(names[choice[0]], x, reward, advance_time=False)

    return decide, update


def task(arrays: Any) -> dict[str, Any]:
    """Every peer that is installed: its choices, and the median microseconds of a decision."""
    features, observed, seed = arrays["features"], arrays["observed"], int(arrays["seed"])
    k, d = observed.shape[1], features.shape[1]
    makers: dict[str, Callable[[], Engine]] = {
        "paretobandit": lambda: _pareto(k, d, seed),
        "vw regcb": lambda: _vowpal(k, d, seed, flags=REGCB),
        "vw squarecb": lambda: _vowpal(k, d, seed, flags=SQUARECB),
    }
    answer: dict[str, Any] = {"notes": []}
    for name, make in makers.items():
        try:
            decide, update = make()
        except ImportError as error:
            answer["notes"].append(f"{name} is left out: {error}.")
            continue
        answer[name] = _play(features, observed, decide, update=update)
    return answer


def _play(features: Any, observed: Any, decide: Any, *, update: Any) -> dict[str, Any]:
    spent = np.zeros(len(features))
    chosen = []
    for step, x in enumerate(features):
        start = time.perf_counter_ns()
        column, probability = decide(x)
        spent[step] = time.perf_counter_ns() - start
        chosen.append(column)
        update(x, (column, probability), float(observed[step, column]))
    settled = spent[min(SETTLE, len(spent) // 5) :]
    return {"chosen": chosen, "decide_p50_us": float(np.median(settled)) / 1e3}


def main(mode: str, arrays_path: str, answer_path: str) -> None:
    """Read the arrays, play, write the answer."""
    logging.disable(logging.CRITICAL)
    with np.load(arrays_path) as content:
        arrays = {name: content[name] for name in content.files}
    answer = {"paced": paced, "task": task}[mode](arrays)
    Path(answer_path).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
