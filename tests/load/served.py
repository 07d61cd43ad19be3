"""The service under load: a route of 20 providers and 64 features, and requests for it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final, NamedTuple

PROVIDERS: Final = tuple(f"vendor{i % 4}/model{i}" for i in range(20))
FEATURES: Final = 64
ROUTE: Final = "load"
BODIES: Final = 500
"""Bodies of each stream that are encoded beforehand; later requests take them in turn."""


class Asked(NamedTuple):
    """One request, encoded before its time comes."""

    method: str
    path: str
    body: bytes | None


def settings(
    folder: Path, url: str | None = None, *, open_decisions: int = 20_000, **more: Any
) -> dict[str, Any]:
    """Return settings as in production, but without a limit per key."""
    return {
        "database_url": url or f"sqlite:///{folder.absolute()}/log.db",
        "state_dir": str(folder.absolute() / "state"),
        "requests_per_s": 1_000_000.0,
        "feedback_per_minute": 100_000_000,
        "outcomes_per_minute": 100_000_000,
        "snapshot_every_s": 1_000_000.0,
        "providers": [{"name": name} for name in PROVIDERS],
        "prices": [
            {"provider": name, "input_usd_per_mtok": 0.1 * (i + 1), "output_usd_per_mtok": 0.4 * (i + 1)}
            for i, name in enumerate(PROVIDERS)
        ],
        "routes": [
            {
                "name": ROUTE,
                "providers": list(PROVIDERS),
                "features": {"vector": FEATURES},
                "budget": {"usd_per_request": 0.001},
                "max_open_decisions": open_decisions,
            }
        ],
        **more,
    }


def empty() -> Iterator[Asked]:
    """Yield requests for the endpoint that does nothing."""
    while True:
        yield Asked("GET", "/livez", None)


def decisions(seed: int, *, prefix: str = "") -> Iterator[Asked]:
    """Return requests for decisions, with ids of the client's if there is a ``prefix``.

    As in the other streams, bodies are encoded when this is called, before any clock has started: the time
    that a client takes to encode them is time that a service on the same processor lacks.
    """
    bodies = [json.dumps(_body(random.Random(seed * 1_000 + i))).encode() for i in range(BODIES)]
    if not prefix:
        return cycle([Asked("POST", "/v1/decisions", body) for body in bodies])
    return (
        Asked("POST", "/v1/decisions", b'{"id": "%s%d", %s' % (prefix.encode(), i, bodies[i % BODIES][1:]))
        for i in count()
    )


def _body(rng: random.Random) -> dict[str, Any]:
    features = [round(rng.gauss(0.0, 1.0), 4) for _ in range(FEATURES)]
    return {"route": ROUTE, "features": features, "input_tokens": 600}


def outcomes(seed: int, *, prefix: str, behind: int) -> Iterator[Asked]:
    """Return outcomes of the decisions that were requested ``behind`` requests before."""
    rng = random.Random(seed)
    bodies = [
        json.dumps(
            {"cost_usd": round(rng.uniform(0.0, 0.002), 6), "latency_s": round(rng.uniform(0.2, 3.0), 3)}
        ).encode()
        for _ in range(BODIES)
    ]
    return (
        Asked("POST", f"/v1/decisions/{prefix}{max(i - behind, i // 2)}/outcome", bodies[i % BODIES])
        for i in count()
    )


def feedback(seed: int, *, prefix: str, behind: int) -> Iterator[Asked]:
    """Return feedback on the decisions that were requested ``behind`` requests before."""
    rng = random.Random(seed)
    ends = [b'", "value": %.1f}' % float(rng.random() < 0.7) for _ in range(BODIES)]
    start = b'{"decision_id": "%s' % prefix.encode()
    return (
        Asked("POST", "/v1/feedback", b"%s%d%s" % (start, max(i - behind, i // 2), ends[i % BODIES]))
        for i in count()
    )
