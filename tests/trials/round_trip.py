"""Traffic of every kind through a service, over HTTP, and what its log of decisions must then say.

The rewards, costs and propensities are computed here from what was sent and answered, by none of the code of
the service.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from typer.testing import CliRunner

from fairlead.api.cli.main import app
from tests.api.running import Running, running

ROUTE: Final = "shop"
METRICS: Final = (
    {"name": "solved", "low": 0, "high": 10, "weight": 2.0},
    {"name": "stars", "low": 1, "high": 5},
    {"name": "edits", "low": 0, "high": 20, "higher_is_better": False, "weight": 0.5},
)
SOURCES: Final = {"human": 3.0, "judge": 1.0}
LISTS: Final = {"small": (1.0, 4.0), "large": (5.0, 20.0), "third": (2.0, 8.0)}
"""USD per million tokens of input and output."""


@dataclass
class Expected:
    """What is in force for one decision."""

    selected: str
    propensities: Mapping[str, float]
    prices: Mapping[str, tuple[float, float]]
    outcome: dict[str, Any] | None = None
    values: dict[tuple[str, str], float | None] = field(default_factory=dict)

    @property
    def reward(self) -> float | None:
        """The mean of the metrics by their weights, each the mean of its sources by theirs."""
        total = weight = 0.0
        for metric in METRICS:
            low, high = float(metric["low"]), float(metric["high"])  # type: ignore[arg-type]
            scores = [
                (SOURCES[source], (value - low) / (high - low))
                for (name, source), value in self.values.items()
                if name == metric["name"] and value is not None
            ]
            if not scores:
                continue
            mean = sum(share * score for share, score in scores) / sum(share for share, _ in scores)
            own = float(metric.get("weight", 1.0))  # type: ignore[arg-type]
            total += own * (mean if metric.get("higher_is_better", True) else 1.0 - mean)
            weight += own
        return total / weight if weight else None

    @property
    def cost_usd(self) -> float | None:
        """As reported, or the usage at the list of the decision's time."""
        if self.outcome is None:
            return None
        if self.outcome.get("cost_usd") is not None:
            return float(self.outcome["cost_usd"])
        usage = self.outcome.get("usage")
        if usage is None:
            return None
        of_input, of_output = self.prices[self.served]
        return float(usage["input_tokens"] * of_input + usage["output_tokens"] * of_output) / 1e6

    @property
    def served(self) -> str:
        """Who served."""
        return self.selected if self.outcome is None else self.outcome.get("served_provider") or self.selected


def declare(service: Running) -> dict[str, tuple[float, float]]:
    """Create the route with its metrics, sources and two providers; returns the price lists."""
    for name in ("small", "large"):
        price(service, name, LISTS[name])
    service.post(
        "/v1/routes",
        {
            "name": ROUTE,
            "providers": ["small", "large"],
            "metrics": list(METRICS),
            "sources": SOURCES,
            "features": {"task": 8},
        },
        status=201,
    )
    return {name: LISTS[name] for name in ("small", "large")}


def price(service: Running, name: str, prices: tuple[float, float]) -> None:
    """Declare the price list of a provider."""
    body = {"provider": name, "input_usd_per_mtok": prices[0], "output_usd_per_mtok": prices[1]}
    service.post("/v1/prices", body, status=201)


def play(service: Running, decisions: int, *, seed: int = 0) -> dict[str, Expected]:
    """Ask for decisions and report of them late, twice, corrected and revoked; returns what is in force."""
    rng = np.random.default_rng(seed)
    prices = declare(service)
    everything: dict[str, Expected] = {}
    waiting: list[tuple[int, str]] = []
    for i in range(decisions):
        if i == decisions // 3:
            service.post("/v1/providers", {"name": "third"}, status=201)
            price(service, "third", LISTS["third"])
            _use(service, ["small", "large", "third"])
            prices = {**prices, "third": LISTS["third"]}
        if i == decisions // 2:
            price(service, "large", (4.0, 15.0))
            prices = {**prices, "large": (4.0, 15.0)}
        if i == 2 * decisions // 3:
            assert service.client.delete("/v1/providers/third").status_code == 200
        body = {"route": ROUTE, "id": f"d{i}", "task": f"kind{i % 3}"}
        if i % 7 == 0:
            body["candidates"] = ["small", "large"]
        answer = service.post("/v1/decisions", body, status=200)
        eligible = [item for item in answer["candidates"] if item["eligible"]]
        propensities = {item["provider"]: item["propensity"] for item in eligible}
        everything[f"d{i}"] = Expected(answer["selected"], propensities, prices)
        waiting += [(i + int(delay), f"d{i}") for delay in rng.geometric(0.1, size=rng.integers(0, 4))]
        for due in [each for each in waiting if each[0] <= i]:
            waiting.remove(due)
            _report(service, due[1], everything[due[1]], rng)
    for _, name in waiting:
        _report(service, name, everything[name], rng)
    return everything


@dataclass
class RoundTrip:
    """What became of the traffic."""

    decisions: int
    reports: int
    """Outcomes and pieces of feedback that are in force, or were."""
    lines: int
    problems: list[str]


def round_trip(folder: Path, url: str, *, decisions: int, seed: int) -> RoundTrip:
    """Play traffic through a service, and export its log while it still runs."""
    out = folder / "log.jsonl"
    with running(folder, url, durability="relaxed", requests_per_s=1e6) as service:
        everything = play(service, decisions, seed=seed)
        service.until_ready()
        arguments = ["export-log", url, "--route", ROUTE, "--out", str(out)]
        exported = CliRunner().invoke(app, arguments)
    if exported.exit_code:
        return RoundTrip(decisions, 0, 0, [exported.output])
    with out.open(encoding="utf-8") as file:
        lines = {line["decision_id"]: line for line in map(json.loads, file)}
    reports = sum(len(each.values) + (each.outcome is not None) for each in everything.values())
    return RoundTrip(decisions, reports, len(lines), differences(lines, everything))


def _use(service: Running, names: Sequence[str]) -> None:
    answer = service.client.patch(f"/v1/routes/{ROUTE}", json={"providers": list(names)})
    assert answer.status_code == 200, answer.text


def _report(service: Running, name: str, expected: Expected, rng: np.random.Generator) -> None:
    if rng.random() < 0.4:
        _report_outcome(service, name, expected, rng)
        return
    metric = METRICS[int(rng.integers(len(METRICS)))]
    key = (str(metric["name"]), str(rng.choice(list(SOURCES))))
    value = float(rng.integers(int(metric["low"]), int(metric["high"]) + 1))  # type: ignore[call-overload]
    is_revoked = key in expected.values and rng.random() < 0.3
    body = {"decision_id": name, "metric": key[0], "source": key[1], "value": None if is_revoked else value}
    service.post("/v1/feedback", body, status=200)
    expected.values[key] = body["value"]  # type: ignore[assignment]
    if rng.random() < 0.1:  # outside its range: refused, and nothing of it counts
        service.post("/v1/feedback", {**body, "value": 1e3}, status=422)


def _report_outcome(service: Running, name: str, expected: Expected, rng: np.random.Generator) -> None:
    usage = {"input_tokens": int(rng.integers(50, 900)), "output_tokens": int(rng.integers(100, 900))}
    outcome: dict[str, Any] = {"status": "ok", "latency_s": round(float(rng.uniform(0.4, 2.0)), 6)}
    kind = rng.random()
    if kind < 0.1:
        outcome = {"status": str(rng.choice(["error", "timeout", "refused"]))}
    elif kind < 0.2:
        outcome["served_provider"] = "small" if expected.selected == "large" else "large"
    if kind >= 0.1 and rng.random() < 0.8:
        outcome["usage"] = usage
        served = outcome.get("served_provider", expected.selected)
        of_input, of_output = expected.prices[served]
        if rng.random() < 0.5:
            listed = (usage["input_tokens"] * of_input + usage["output_tokens"] * of_output) / 1e6
            outcome["cost_usd"] = listed * float(rng.uniform(0.9, 1.1))
    service.post(f"/v1/decisions/{name}/outcome", outcome, status=200)
    expected.outcome = outcome


def differences(lines: Mapping[str, Mapping[str, Any]], everything: Mapping[str, Expected]) -> list[str]:
    """Say where lines, by decision, are not as expected, to 1e-12."""
    wrong = [f"{name} is missing" for name in everything.keys() - lines.keys()]
    wrong += [f"{name} was never made" for name in lines.keys() - everything.keys()]
    for name in everything.keys() & lines.keys():
        line, expected = lines[name], everything[name]
        logged = dict(zip(line["providers"], line["propensities"], strict=True))
        if logged != expected.propensities:
            wrong.append(f"{name}: propensities {logged}, not {expected.propensities}")
        served = line.get("served_provider") or line["provider"]
        if (line["provider"], served) != (expected.selected, expected.served):
            wrong.append(f"{name}: {served} served, not {expected.served}")
        status = expected.outcome["status"] if expected.outcome else "ok"
        if (line.get("status") or "ok") != status:
            wrong.append(f"{name}: {line.get('status')}, not {status}")
        for column, value in (("reward", expected.reward), ("cost_usd", expected.cost_usd)):
            read = line.get(column)
            if (read is None) != (value is None) or (value is not None and abs(read - value) > 1e-12):  # type: ignore[operator]
                wrong.append(f"{name}: {column} {read}, not {value}")
    return wrong
