"""Limits over HTTP: what is refused, what is relaxed and who counts it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Running, running

RELAXED = 'fairlead_relaxed_decisions_total{constraint="max_cost_usd",route="quickstart"}'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("shared")) as service:
        yield service


@pytest.mark.parametrize("limit", [0, 1e-12])
def test_a_limit_below_every_provider_is_relaxed_or_with_strict_says_why_nobody_serves(
    shared: Running, limit: float
) -> None:
    limits: dict[str, Any] = {"max_cost_usd": limit}
    decision = shared.decide(constraints=limits, dry_run=True)
    assert decision["relaxed"] == ["max_cost_usd"]
    body = {"route": "quickstart", "prompt": "x", "constraints": {**limits, "strict": True}}
    problem = shared.post("/v1/decisions", body, status=422)
    assert problem["type"] == "urn:fairlead:problem:no-provider"
    for name in ("small", "large"):
        assert f"{name} is expected to cost" in problem["detail"]


def test_strict_does_not_serve_who_has_no_history_and_otherwise_all_are_tried(shared: Running) -> None:
    limits: dict[str, Any] = {"max_latency_s": 5.0, "max_tail_latency_s": 9.0}
    decision = shared.decide(constraints=limits, dry_run=True)
    assert decision["relaxed"] == ["max_latency_s", "max_tail_latency_s"]
    assert all(item["propensity"] > 0 for item in decision["candidates"])
    body = {"route": "quickstart", "prompt": "x", "constraints": {**limits, "strict": True}}
    assert "has no latency history" in shared.post("/v1/decisions", body, status=422)["detail"]


@pytest.mark.parametrize("limit", ["NaN", "1e999", "1e308", "-1", "-1e308", '"much"'])
@pytest.mark.parametrize("name", ["max_cost_usd", "max_latency_s", "max_tail_latency_s"])
def test_limits_that_are_no_limits_are_refused(shared: Running, name: str, limit: str) -> None:
    body = f'{{"route": "quickstart", "prompt": "x", "constraints": {{"{name}": {limit}}}}}'
    response = shared.client.post("/v1/decisions", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}, response.text


def test_relaxed_decisions_are_counted_also_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.decide()
        for _ in range(3):
            service.decide(constraints={"max_cost_usd": 0})
        service.decide(constraints={"max_cost_usd": 0}, dry_run=True)
        service.until_ready()
        assert f"{RELAXED} 3.0" in service.client.get("/metrics").text
    with running(tmp_path) as service:
        text = service.client.get("/metrics").text
        assert f"{RELAXED} 3.0" in text
        assert RELAXED.replace("cost_usd", "latency_s") + " 0.0" in text
