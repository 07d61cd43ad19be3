"""The service under load: a route of 20 providers and 64 features, and requests for it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

PROVIDERS: Final = tuple(f"vendor{i % 4}/model{i}" for i in range(20))
FEATURES: Final = 64
ROUTE: Final = "load"


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
    """Yield requests for decisions; with a ``prefix`` they have ids of the client's."""
    # Encoded beforehand, since the client shares the processor with the service.
    bodies = [json.dumps(_body(random.Random(seed * 1_000 + i))).encode() for i in range(500)]
    for i in count():
        body = bodies[i % len(bodies)]
        named = b'{"id": "%s%d", %s' % (prefix.encode(), i, body[1:]) if prefix else body
        yield Asked("POST", "/v1/decisions", named)


def _body(rng: random.Random) -> dict[str, Any]:
    features = [round(rng.gauss(0.0, 1.0), 4) for _ in range(FEATURES)]
    return {"route": ROUTE, "features": features, "input_tokens": 600}


def outcomes(seed: int, *, prefix: str, behind: int) -> Iterator[Asked]:
    """Yield outcomes of the decisions that were requested ``behind`` requests before."""
    rng = random.Random(seed)
    for i in count():
        body = {"cost_usd": round(rng.uniform(0.0, 0.002), 6), "latency_s": round(rng.uniform(0.2, 3.0), 3)}
        path = f"/v1/decisions/{prefix}{max(i - behind, i // 2)}/outcome"
        yield Asked("POST", path, json.dumps(body).encode())


def judgements(seed: int, *, prefix: str, behind: int) -> Iterator[Asked]:
    """Yield feedback on the decisions that were requested ``behind`` requests before."""
    rng = random.Random(seed)
    for i in count():
        body = {"decision_id": f"{prefix}{max(i - behind, i // 2)}", "value": float(rng.random() < 0.7)}
        yield Asked("POST", "/v1/feedback", json.dumps(body).encode())
