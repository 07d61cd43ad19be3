"""Embeddings that no model should send: they are refused with 422, or served, and harm nobody else."""

from typing import Any

import pytest

from tests.api.running import Running

WIDTH = 1_536


@pytest.fixture
def wide(service: Running) -> Running:
    """Return a service with a route on wide embeddings."""
    route = {"name": "wide", "providers": ["small", "large"], "features": {"embedding": WIDTH}}
    service.post("/v1/routes", route, status=201)
    return service


def spike(size: float) -> list[float]:
    return [size if i == 7 else 0.001 for i in range(WIDTH)]


HARMLESS: list[list[float]] = [
    [0.0] * WIDTH,
    [0.25] * WIDTH,
    [-1e9] * WIDTH,
    [5e-324] * WIDTH,
    spike(1e9),
    spike(-1e9),
    [1e9 if i % 2 else -1e9 for i in range(WIDTH)],
]


@pytest.mark.parametrize(
    "embedding", HARMLESS, ids=["zero", "equal", "large", "tiny", "spike", "dip", "signs"]
)
def test_odd_embeddings_are_served_and_learned(wide: Running, embedding: list[float]) -> None:
    for number in range(30):
        # Every other request is an ordinary one.
        sent = embedding if number % 2 else [((i * number) % 7) - 3.0 for i in range(WIDTH)]
        body = {"route": "wide", "embedding": sent, "id": f"d{number}"}
        answer = wide.post("/v1/decisions", body, status=200)
        assert answer["fallback_used"] is None
        assert sum(entry["propensity"] for entry in answer["candidates"]) == pytest.approx(1.0)
        wide.post("/v1/feedback", {"decision_id": f"d{number}", "value": number % 2}, status=200)
    wide.until(wide.settled)
    state = wide.get("/v1/routes/wide/state")
    assert state["broken"] is None
    assert (state["decisions"], state["open_decisions"]) == (30, 30)
    assert all(0.0 <= belief["quality"] <= 1.0 for belief in state["providers"].values())


@pytest.mark.parametrize(
    "embedding",
    [[], [0.1], [0.1] * (WIDTH - 1), [0.1] * 3_073, [[0.1] * WIDTH], ["a"] * WIDTH, [1e308] * WIDTH, "x", {}],
    ids=["none", "one", "short", "long", "nested", "text", "huge", "word", "object"],
)
def test_what_is_no_embedding_of_the_route_is_refused(wide: Running, embedding: Any) -> None:
    answer = wide.post("/v1/decisions", {"route": "wide", "embedding": embedding}, status=422)
    assert len(str(answer)) < 2_000, "the embedding does not come back"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(wide: Running, number: str) -> None:
    content = f'{{"route": "wide", "embedding": [{",".join([number] * WIDTH)}]}}'
    headers = {"Content-Type": "application/json"}
    assert wide.client.post("/v1/decisions", content=content, headers=headers).status_code == 422


def test_wide_vectors_of_the_client_are_learned(service: Running) -> None:
    route = {"name": "own", "providers": ["small", "large"], "features": {"vector": 768}}
    service.post("/v1/routes", route, status=201)
    for number in range(12):
        vector = [((i * number) % 5) - 2.0 for i in range(768)]
        chosen = service.post("/v1/decisions", {"route": "own", "features": vector}, status=200)
        service.post("/v1/feedback", {"decision_id": chosen["id"], "value": 1.0}, status=200)
    service.until(service.settled)
    state = service.get("/v1/routes/own/state")
    assert state["decisions"] == 12
    assert sum(belief["feedback"] for belief in state["providers"].values()) == 12
