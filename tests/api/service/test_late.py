"""What comes late, or in vain."""

import time
from pathlib import Path

import pytest

from tests.api.running import Clock, Running, running


def test_late_feedback_is_refused_and_the_declared_default_counts(service: Running, clock: Clock) -> None:
    body = {"name": "hasty", "providers": ["small"], "reward_wait_s": 60, "reward_default": 0.25}
    service.post("/v1/routes", body, status=201)
    ask = {"route": "hasty", "prompt": "x"}
    service.post("/v1/decisions", {**ask, "id": "first"}, status=200)
    clock.ahead_s = 61.0
    problem = service.post("/v1/feedback", {"decision_id": "first", "value": 1.0}, status=410)
    assert problem["type"] == "urn:fairlead:problem:too-late"
    assert service.get("/v1/decisions/first")["status"] == "closed"
    for _ in range(6):
        service.post("/v1/decisions/batch", {"decisions": [ask] * 50}, status=200)
    service.until(service.settled)
    served = service.service.engine.fold.routes["hasty"]
    assert "first" not in service.service.engine.fold.open
    summary = served.router.summary()["providers"]
    assert isinstance(summary, dict)
    assert summary["small"]["feedback"] == 1
    assert summary["small"]["quality"] == pytest.approx(0.25, abs=0.02)


def test_a_session_is_judged_though_some_of_its_decisions_are_too_old(service: Running, clock: Clock) -> None:
    body = {"name": "hasty", "providers": ["small"], "reward_wait_s": 60}
    service.post("/v1/routes", body, status=201)
    ask = {"route": "hasty", "prompt": "x", "session_id": "s"}
    service.post("/v1/decisions", {**ask, "id": "old"}, status=200)
    clock.ahead_s = 61.0
    service.post("/v1/decisions", {**ask, "id": "young"}, status=200)
    answer = service.post("/v1/feedback", {"session_id": "s", "value": 1.0}, status=200)
    assert answer["decision_ids"] == ["young"]
    service.until(service.settled)
    assert service.service.engine.fold.counts["feedback", "joined"] == 1
    clock.ahead_s = 122.0
    service.post("/v1/feedback", {"session_id": "s", "value": 1.0}, status=404)


def test_what_waits_in_vain_is_told_so(service: Running, clock: Clock) -> None:
    assert (
        service.post("/v1/feedback", {"decision_id": "never", "value": 1.0}, status=200)["state"] == "parked"
    )
    clock.ahead_s = 3_700.0
    service.decide()
    service.until(service.settled)
    problem = service.post("/v1/feedback", {"decision_id": "never", "value": 1.0}, status=404)
    assert "did not come" in problem["detail"]
    assert service.service.engine.fold.counts["feedback", "expired"] == 1


def test_what_was_answered_is_answered_again_though_it_would_be_refused_now(
    tmp_path: Path, store_url: str
) -> None:
    with running(tmp_path, store_url, feedback_per_decision=1) as service:
        service.post("/v1/providers", {"name": "third"}, status=201)
        service.client.patch("/v1/routes/quickstart", json={"providers": ["small", "large", "third"]})
        body = {"route": "quickstart", "prompt": "x", "id": "d", "candidates": ["third"]}
        first = service.post("/v1/decisions", body, status=200)
        assert service.client.delete("/v1/providers/third").status_code == 200
        assert service.post("/v1/decisions", body, status=200) == first
        service.post("/v1/decisions", {**body, "prompt": "y"}, status=422)
        judgement = {"decision_id": "d", "value": 1.0, "id": "f"}
        first = service.post("/v1/feedback", judgement, status=200)
        service.until(service.settled)
        assert service.post("/v1/feedback", judgement, status=200) == first
        service.post("/v1/feedback", {**judgement, "value": 0.5}, status=429)
        service.client.patch("/v1/routes/quickstart", json={"reward_wait_s": 1})
        time.sleep(1.0)
        assert service.post("/v1/feedback", judgement, status=200) == first
        service.post("/v1/feedback", {**judgement, "id": "g"}, status=410)
