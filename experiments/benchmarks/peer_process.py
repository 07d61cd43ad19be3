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


def paced(given: Any) -> dict[str, Any]:
    """ParetoBandit's router with its budget pacer, one run per budget: the column chosen at every step."""
    budgets = given["budgets_usd"].tolist()
    return {"paretobandit": {"chosen": [_paced_run(given, budget) for budget in budgets]}}


def _router(names: list[str], rates: Any, width: int, seed: int, budget: float) -> Any:
    module = importlib.import_module("pareto_bandit.router")
    features = importlib.import_module("pareto_bandit.feature_service")
    pacing = importlib.import_module("pareto_bandit.budget_pacer")
    shipped = Path(module.__file__ or "").parent / "config" / "models.json"
    known = json.loads(shipped.read_text(encoding="utf-8"))
    registry = {
        name: {"input_cost_per_m": float(rate[0]), "output_cost_per_m": float(rate[1])}
        for name, rate in zip(names, rates, strict=True)
    }
    if set(names) <= set(known):
        registry = {name: known[name] for name in names}
    return module.BanditRouter.create(
        model_registry=registry,
        priors="none",
        feature_service=features.FeatureService.for_precomputed(dimension=width),
        bandit_seed=seed,
        cost_penalty=0.0,
        budget_pacer=pacing.BudgetPacer(target_avg_spend_usd=budget),
        **TABULA_RASA,
    )


def _paced_run(given: Any, budget: float) -> list[int]:
    names = [str(name) for name in given["names"]]
    places = {name: j for j, name in enumerate(names)}
    quality, cost = given["quality"], given["cost_usd"]
    pacer: Any = None
    chosen: list[int] = []
    for i, stop in enumerate(given["stops"].tolist()):
        rows = given[f"features_{i}"]
        rows = np.hstack([rows, np.ones((len(rows), 1))])
        router = _router(names, given["rates"], rows.shape[1], int(given["seed"]), budget)
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


Engine = tuple[Callable[[Any], tuple[int, float]], Callable[[Any, int, float, float], None]]


def _vowpal(k: int, d: int, seed: int, flags: str) -> Engine:
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
        found = workspace.predict([shared % tuple(x.tolist()), *actions])
        left = draw() * sum(found)
        for i, probability in enumerate(found):
            left -= probability
            if left < 0.0:
                return i, probability
        return k - 1, found[-1]

    def update(x: Any, chosen: int, reward: float, probability: float) -> None:
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

    def update(x: Any, chosen: int, reward: float, probability: float) -> None:
        policy.update(names[chosen], x, reward, advance_time=False)

    return decide, update


def task(given: Any) -> dict[str, Any]:
    """Every peer that is installed: its choices, and the median microseconds of a decision."""
    features, observed, seed = given["features"], given["observed"], int(given["seed"])
    k, d = observed.shape[1], features.shape[1]
    makers: dict[str, Callable[[], Engine]] = {
        "paretobandit": lambda: _pareto(k, d, seed),
        "vw regcb": lambda: _vowpal(k, d, seed, REGCB),
        "vw squarecb": lambda: _vowpal(k, d, seed, SQUARECB),
    }
    answer: dict[str, Any] = {"notes": []}
    for name, make in makers.items():
        try:
            decide, update = make()
        except ImportError as error:
            answer["notes"].append(f"{name} is left out: {error}.")
            continue
        answer[name] = _play(features, observed, decide, update)
    return answer


def _play(features: Any, observed: Any, decide: Any, update: Any) -> dict[str, Any]:
    spent = np.zeros(len(features))
    chosen = []
    for step, x in enumerate(features):
        start = time.perf_counter_ns()
        column, probability = decide(x)
        spent[step] = time.perf_counter_ns() - start
        chosen.append(column)
        update(x, column, float(observed[step, column]), probability)
    settled = spent[min(SETTLE, len(spent) // 5) :]
    return {"chosen": chosen, "decide_p50_us": float(np.median(settled)) / 1e3}


def main(mode: str, given: str, answer: str) -> None:
    """Read the arrays, play, write the answer."""
    logging.disable(logging.CRITICAL)
    with np.load(given) as content:
        arrays = {name: content[name] for name in content.files}
    found = {"paced": paced, "task": task}[mode](arrays)
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
