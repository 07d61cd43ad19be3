"""Embeddings of ordinary width: what fits, the event loop and the fold take, and what is learned from them.

Times are processor time, which other work on the machine changes little.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead import (
    Attributes,
    CallerEmbedding,
    Context,
    Encoder,
    Feedback,
    Outcome,
    Provider,
    Route,
    Router,
    SurfaceFeatures,
    TaskLabel,
)
from fairlead.optimizer.models.beliefs import Fitted
from tests.api.running import Running, running
from tests.trials.operations.result import Figure, Progress, Result, at_least, at_most, reported, result_of

Floats = NDArray[np.float64]

FITTED: Final = ((1_536, 20), (3_072, 20), (64, 200))
"""Widths and numbers of providers whose fits are timed."""

SERVED: Final = (256, 768, 1_536)
"""Widths of the embeddings that the service gets."""

_ROUNDS: Final = 300
_TOPICS: Final = 20


def run(seeds: Sequence[int], progress: Progress) -> Result:
    """Time fits and decisions, then the service, and compare what is learned with other models."""
    figures: list[Figure] = []
    for width, providers in FITTED:
        progress(f"fits at {width} numbers, {providers} providers")
        figures += fits(width, providers, seeds)
    for width in SERVED:
        progress(f"the service at {width} numbers")
        figures += service(width, seeds[0])
    return result_of([*figures, *creation(), *learning(seeds, progress)])


class Topics:
    """Embeddings around the centres of topics, each with its own good providers."""

    def __init__(self, width: int, providers: int, *, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._centres = self._rng.normal(size=(_TOPICS, width)) / np.sqrt(width)
        self._quality = self._rng.beta(2.0, 2.0, size=(_TOPICS, providers))

    def sample(self, n: int) -> tuple[Floats, Floats]:
        """Draw n embeddings, as much noise as topic, and the mean reward of each provider for each."""
        topic = self._rng.integers(_TOPICS, size=n)
        noise = self._rng.normal(size=(n, self._centres.shape[1])) / np.sqrt(self._centres.shape[1])
        return self._centres[topic] + noise, self._quality[topic]


def new_router(width: int, providers: int) -> Router:
    """Make a router with the default features and an embedding."""
    parts = [
        SurfaceFeatures(),
        TaskLabel(width=16),
        Attributes(width=16),
        CallerEmbedding(width=width),
    ]
    names = tuple(Provider(name=f"p{i}") for i in range(providers))
    return Router(Route(name="wide", providers=names), encoder=Encoder(parts))


def fits(width: int, providers: int, seeds: Sequence[int], *, rounds: int = _ROUNDS) -> list[Figure]:
    """Measure the processor time of fits, decisions and learning, in a route's first rounds."""
    fitted, decided, learned = [], [], []
    for seed in seeds:
        router, rng = new_router(width, providers), np.random.default_rng(seed)
        rows, quality = Topics(width, providers, seed=seed).sample(rounds)
        for i in range(rounds):
            started = time.thread_time()
            context = Context(embedding=rows[i], task="a")
            decision = router.decide(context, decision_id=f"d{i}", draw=rng.random())
            decided.append(time.thread_time() - started)
            mean = quality[i, decision.providers.index(decision.selected)]
            outcome = Outcome(decision_id=decision.id, served_provider=decision.selected, cost_usd=0.001)
            for event in (decision, outcome, Feedback(decision_id=decision.id, value=float(mean > 0.5))):
                started = time.thread_time()
                router.learn(event, refit=False)
                learned.append(time.thread_time() - started)
                while router.needs_refit:
                    started = time.thread_time()
                    step = router.next_refit()
                    if isinstance(step, Fitted):
                        fitted.append(time.thread_time() - started)
                    router.apply_refit(step)
    name = f"{width:,} numbers, {providers} providers"
    return [
        at_most(f"median fit, {name}", 1e3 * float(np.median(fitted)), 50.0, unit="ms"),
        at_most(f"median decision, {name}", 1e6 * float(np.median(decided)), 1_000.0, unit="us"),
        reported(f"median event learned, {name}", 1e6 * float(np.median(learned)), unit="us"),
    ]


def service(width: int, seed: int, *, rounds: int = _ROUNDS) -> list[Figure]:
    """Send rounds to a real service; measure how far the fold is behind, and how long its loop is held."""
    rows, quality = Topics(width, 20, seed=seed).sample(rounds)
    with _Serving() as (served, names):
        body = {"name": "wide", "providers": names[:20], "features": {"embedding": width}}
        served.post("/v1/routes", body, status=201)
        held = served.run(_watch())
        for i in range(rounds):
            ask = {"route": "wide", "embedding": rows[i].tolist(), "task": "a", "id": f"d{i}"}
            answer = served.post("/v1/decisions", ask, status=200)
            reward = float(quality[i, names.index(answer["selected"])] > 0.5)
            outcome = {"served_provider": answer["selected"], "cost_usd": 0.001, "latency_s": 1.0}
            served.post(f"/v1/decisions/d{i}/outcome", outcome, status=200)
            served.post("/v1/feedback", {"decision_id": f"d{i}", "value": reward}, status=200)
        started = time.perf_counter()
        served.until_ready()
        behind_s = time.perf_counter() - started
        longest = served.run(_longest(held))
    name = f"{width:,} numbers"
    return [
        at_most(f"fold behind after {rounds} rounds, {name}", behind_s, 1.0, unit="s"),
        at_most(f"longest hold of the loop, {name}", 1e3 * longest, 50.0, unit="ms"),
    ]


def creation() -> list[Figure]:
    """Measure for how long creating a route holds the loop."""
    figures = []
    with _Serving() as (served, names):
        for name, providers, features in (
            ("1,536 numbers, 20 providers", names[:20], {"embedding": 1_536}),
            ("3,072 numbers as features, 20 providers", names[:20], {"vector": 3_072}),
            ("200 providers", names, {}),
        ):
            body = {"name": f"r{len(figures)}", "providers": providers, "features": features}
            held = served.run(_watch())
            served.post("/v1/routes", body, status=201)
            longest = 1e3 * served.run(_longest(held))
            figures.append(at_most(f"creating a route, {name}", longest, 100.0, unit="ms"))
    return figures


def learning(seeds: Sequence[int], progress: Progress, *, rounds: int = 2_000) -> list[Figure]:
    """Compare a router on 1,536 numbers with the best provider and with what topics allow."""
    shares = []
    for seed in seeds:
        progress(f"learning, seed {seed}")
        rng, router = np.random.default_rng(seed), new_router(1_536, 4)
        rows, quality = Topics(1_536, 4, seed=seed).sample(rounds)
        earned = np.empty(rounds)
        for i in range(rounds):
            decision = router.decide(Context(embedding=rows[i]), decision_id=f"d{i}", draw=rng.random())
            earned[i] = quality[i, decision.providers.index(decision.selected)]
            router.learn(decision)
            router.learn(Feedback(decision_id=decision.id, value=float(rng.random() < earned[i])))
        later = slice(rounds // 2, None)
        best, oracle = quality[later].mean(axis=0).max(), quality[later].max(axis=1).mean()
        shares.append((earned[later].mean() - best) / (oracle - best))
    return [at_least("share of the way from the best provider to the oracle", float(np.mean(shares)), 0.5)]


class _Serving:
    """A service with 200 providers, and their names."""

    def __enter__(self) -> tuple[Running, list[str]]:
        self._folder = tempfile.TemporaryDirectory()
        self._running = running(Path(self._folder.name))
        served = self._running.__enter__()
        names = [f"p{i}" for i in range(200)]
        for name in names:
            served.post("/v1/providers", {"name": name}, status=201)
        return served, names

    def __exit__(self, *error: object) -> None:
        self._running.__exit__(*error)  # type: ignore[arg-type]
        self._folder.cleanup()


async def _watch() -> tuple[asyncio.Task[None], list[float]]:
    """Look at the loop's processor time every few milliseconds."""
    spent: list[float] = []

    async def look() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            spent.append(time.thread_time() - before)

    return asyncio.get_running_loop().create_task(look()), spent


async def _longest(watched: tuple[asyncio.Task[None], list[float]]) -> float:
    """Stop looking; the most processor time between two looks, in seconds."""
    task, spent = watched
    await asyncio.sleep(0.01)
    task.cancel()
    return max(spent)
