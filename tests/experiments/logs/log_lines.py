"""Sound log lines that tests change one thing of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("a/cheap", "b/mid", "c/dear")


def line(i: int, **changes: Any) -> dict[str, Any]:
    """Decision ``i`` of a small log; a change to ... (Ellipsis) leaves a column out."""
    chosen = i % 3
    fields = {
        "decision_id": f"d{i}",
        "decided_at": f"2026-03-{1 + i // 24 % 28:02d}T{i % 24:02d}:00:00Z",
        "route": "chat",
        "context": {"task": f"t{i % 2}", "attributes": {"tier": "gold" if i % 5 else "free", "tools": i % 4}},
        "providers": list(NAMES),
        "propensities": [0.5, 0.3, 0.2],
        "provider": NAMES[chosen],
        "served_provider": NAMES[chosen],
        "reward": 0.25 * (i % 5),
        "cost_usd": 0.001 * 10**chosen,
        "latency_s": 0.5 + chosen,
        "status": "ok",
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def lines(n: int = 60, **changes: Any) -> list[dict[str, Any]]:
    return [line(i, **changes) for i in range(n)]


def write_jsonl(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in content), encoding="utf-8")
    return path


def drawn_lines(
    n: int, *, seed: int = 0, logging: tuple[float, ...] = (0.5, 0.3, 0.2)
) -> list[dict[str, Any]]:
    """Draw a log of a known policy in a known world.

    Mean rewards are .3, .5 and .8, and .1 off that by task.
    """
    rng = np.random.default_rng(seed)
    content = []
    for i in range(n):
        chosen = int(rng.choice(3, p=logging))
        mean = (0.3, 0.5, 0.8)[chosen] + (0.1 if i % 2 else -0.1) * (1 if chosen else -1)
        content.append(
            line(
                i,
                decided_at=f"2026-03-{1 + i * 27 // n:02d}T00:00:00Z",
                propensities=list(logging),
                provider=NAMES[chosen],
                served_provider=NAMES[chosen],
                reward=float(rng.random() < mean),
                cost_usd=0.001 * 10**chosen,
            )
        )
    return content
