"""Every number in a body over HTTP: one that no model may see gets 422, and nothing of it is kept."""

import json
from typing import Any

import pytest

from tests.api.running import Running

NEVER = ["NaN", "Infinity", "-Infinity", "1e308", "-1e308", "1e999", "-1", '"1"', "true", "[1]"]
MARK = 987_654_321.5
ASK = {"route": "quickstart", "prompt": "x"}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/decisions", {**ASK, "constraints": {"max_cost_usd": MARK}}),
    ("/v1/decisions", {**ASK, "constraints": {"max_latency_s": MARK}}),
    ("/v1/decisions", {**ASK, "objective": {"willingness_to_pay_usd": MARK}}),
    ("/v1/decisions", {**ASK, "objective": {"latency_weight": MARK}}),
    ("/v1/decisions", {**ASK, "objective": {"dial": MARK}}),
    ("/v1/decisions", {**ASK, "input_tokens": MARK}),
    ("/v1/decisions/d/outcome", {"cost_usd": MARK}),
    ("/v1/decisions/d/outcome", {"latency_s": MARK}),
    ("/v1/decisions/d/outcome", {"ttft_s": MARK}),
    ("/v1/decisions/d/outcome", {"usage": {"input_tokens": MARK, "output_tokens": 1}}),
    ("/v1/decisions/d/outcome", {"usage": {"input_tokens": 1, "output_tokens": MARK}}),
    ("/v1/decisions/d/outcome", {"usage": {"input_tokens": 1, "output_tokens": 1, "cached_tokens": MARK}}),
    ("/v1/feedback", {"decision_id": "d", "value": MARK}),
    ("/v1/prices", {"provider": "small", "input_usd_per_mtok": MARK, "output_usd_per_mtok": 1.0}),
    ("/v1/prices", {"provider": "small", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": MARK}),
    ("/v1/providers", {"name": "p", "context_window_tokens": MARK}),
    ("/v1/keys", {"name": "k", "scopes": ["admin"], "requests_per_s": MARK}),
    ("/v1/keys", {"name": "k", "scopes": ["admin"], "feedback_per_minute": MARK}),
    ("/v1/keys", {"name": "k", "scopes": ["admin"], "outcomes_per_minute": MARK}),
    *(
        ("/v1/routes", {"name": "r", "providers": ["small"], **field})
        for field in (
            {"budget": {"usd_per_request": MARK}},
            {"budget": {"usd_per_day": MARK}},
            {"objective": {"willingness_to_pay_usd": MARK}},
            {"objective": {"latency_weight": MARK}},
            {"constraints": {"max_cost_usd": MARK}},
            {"constraints": {"max_latency_s": MARK}},
            {"constraints": {"max_tail_latency_s": MARK}},
            {"metrics": [{"weight": MARK}]},
            {"sources": {"human": MARK}},
            {"reward_wait_s": MARK},
            {"reward_default": MARK},
            {"max_open_decisions": MARK},
            {"newcomer_share": MARK},
            {"exploration_share": MARK},
            {"features": {"task": MARK}},
            {"features": {"embedding": MARK}},
            {"features": {"vector": MARK}},
        )
    ),
]


def place(body: Any) -> str:
    """Return the path of the mark in a body."""
    if isinstance(body, list):
        return place(body[0])
    name, value = list(body.items())[-1]
    return name if not isinstance(value, dict | list) else f"{name}.{place(value)}"


@pytest.mark.parametrize(("path", "body"), BODIES, ids=[f"{path}-{place(body)}" for path, body in BODIES])
def test_a_number_that_cannot_be_is_refused(service: Running, path: str, body: dict[str, Any]) -> None:
    service.decide(id="d")
    before = service.service.store.last_seq()
    for value in NEVER:
        if value == "true" and path.startswith("/v1/feedback"):
            continue  # a thumb
        content = json.dumps(body).replace(str(MARK), value)
        response = service.client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 422, f"{value}: {response.status_code} {response.text}"
        assert response.headers["content-type"] == "application/problem+json"
    assert service.service.store.last_seq() == before, "nothing was logged"
