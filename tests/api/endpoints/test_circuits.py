"""Circuits over HTTP: opened by reported failures, shown, counted and logged, probed, and closed again."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.api.running import Running, running

WELL = {"usage": {"input_tokens": 100, "output_tokens": 100}, "latency_s": 0.5}
FAILED = {"status": "error"}
FAILURES = 4
"""In a row, of a provider that was well in twenty calls."""

METRIC = 'fairlead_circuit_{}{{provider="large",route="quickstart"}} {:.1f}'


def serve(service: Running, rounds: int, report: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    """Decide so often, and report so of ``large`` and that all is well of the other; the decisions."""
    decisions = []
    for _ in range(rounds):
        decision = service.decide(**fields)
        outcome = report if decision["selected"] == "large" else WELL
        service.post(f"/v1/decisions/{decision['id']}/outcome", outcome, status=200)
        service.until(service.settled)
        decisions.append(decision)
    return decisions


def circuit(service: Running) -> tuple[str, bool]:
    """Return the state of the circuit of ``large``, and whether a decision is named that brought it."""
    belief = service.get("/v1/routes/quickstart/state")["providers"]["large"]
    return belief["circuit"], belief["circuit_since_order"] is not None


def assert_metrics(service: Running, *, state: float, changes: float) -> None:
    text = service.client.get("/metrics").text
    assert METRIC.format("state", state) in text
    assert METRIC.format("changes_total", changes) in text


def until_watched(service: Running) -> None:
    """Wait for the first look at circuits: of those that were open before, nothing is said."""
    service.until(lambda: service.service.circuit_watch._seen is not None)


def entry(decision: dict[str, Any], provider: str) -> dict[str, Any]:
    (found,) = [each for each in decision["candidates"] if each["provider"] == provider]
    return dict(found)


def test_reported_failures_open_a_circuit_and_successes_of_probes_close_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    only = {"candidates": ["large"]}
    with running(tmp_path) as service, caplog.at_level(logging.WARNING, "fairlead.circuits"):
        serve(service, 20, WELL, **only)
        assert circuit(service) == ("closed", False)
        assert_metrics(service, state=0.0, changes=0.0)
        until_watched(service)
        serve(service, FAILURES, FAILED, **only)
        assert circuit(service) == ("open", True)
        assert_metrics(service, state=2.0, changes=1.0)
        service.until(lambda: "the circuit" in caplog.text)
        assert caplog.messages == ["route quickstart: the circuit of large is open"]
        (change,) = service.get("/v1/routes/quickstart/state")["circuit_changes"]
        assert change == {"provider": "large", "state": "open", "at_order": 23, "failures": FAILURES}
        decision = service.decide(dry_run=True)
        probed = entry(decision, "large")
        assert 0.0 < probed["propensity"] <= 0.04
        assert (probed["eligible"], decision["fallbacks"][-1:]) == (True, ["large"])
        assert probed["reason"] == "failed: its circuit is open since decision 23 of the route"
        # If there is no other provider, the one in an outage serves.
        states = []
        for _ in range(3):
            serve(service, 1, WELL, **only)
            states.append(circuit(service)[0])
        assert states == ["half_open", "half_open", "closed"]
        assert_metrics(service, state=0.0, changes=3.0)
        service.until(lambda: "is closed" in caplog.text)
        assert caplog.messages[-1] == "route quickstart: the circuit of large is closed"
        changes = service.get("/v1/routes/quickstart/state")["circuit_changes"]
        assert [each["state"] for each in changes] == ["open", "half_open", "closed"]
        assert entry(service.decide(dry_run=True), "large")["reason"] is None


def test_probes_of_ordinary_traffic_find_out_that_an_outage_is_over(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        serve(service, 12, WELL, candidates=["large"])
        serve(service, 6, FAILED, candidates=["large"])
        during = serve(service, 60, FAILED)
        assert circuit(service)[0] == "open"
        assert all(entry(decision, "large")["propensity"] <= 0.2 for decision in during)
        after: list[dict[str, Any]] = []
        while circuit(service)[0] != "closed":
            assert len(after) < 1_000, "no probe has found out"
            after += serve(service, 10, WELL)
        probes = [decision for decision in after if decision["selected"] == "large"]
        assert len(probes) >= 3
        assert all(entry(decision, "large")["eligible"] for decision in after)


def test_a_circuit_survives_a_restart_and_is_old_news_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path) as service:
        serve(service, 20, WELL, candidates=["large"])
        serve(service, FAILURES, FAILED, candidates=["large"])
        before = service.get("/v1/routes/quickstart/state")
    for damaged in (False, True):
        for path in (tmp_path / "state").rglob("*.npz") if damaged else ():
            path.write_bytes(b"damaged")
        caplog.clear()
        with running(tmp_path) as service, caplog.at_level(logging.WARNING, "fairlead.circuits"):
            until_watched(service)
            assert "the circuit" not in caplog.text
            assert circuit(service) == ("open", True)
            after = service.get("/v1/routes/quickstart/state")
            assert {**after, "age_s": 0.0} == {**before, "age_s": 0.0}


def test_an_outage_is_forgotten_with_its_provider_and_found_again_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def use(*providers: str) -> None:
        response = service.client.patch("/v1/routes/quickstart", json={"providers": providers})
        assert response.status_code == 200, response.text
        service.until(service.settled)

    with running(tmp_path) as service, caplog.at_level(logging.WARNING, "fairlead.circuits"):
        until_watched(service)
        serve(service, 20, WELL, candidates=["large"])
        serve(service, FAILURES, FAILED, candidates=["large"])
        service.until(lambda: "is open" in caplog.text)
        use("small")
        assert service.service.engine.fold.routes["quickstart"].router.circuits == {}
        assert 'fairlead_circuit_state{provider="large"' not in service.client.get("/metrics").text
        use("small", "large")
        assert circuit(service) == ("open", True)
        assert entry(service.decide(dry_run=True), "large")["propensity"] <= 0.04
    assert "is closed" not in caplog.text


def test_a_corrected_outcome_closes_the_circuit_that_it_had_opened(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        serve(service, 20, WELL, candidates=["large"])
        failed = serve(service, FAILURES, FAILED, candidates=["large"])
        assert circuit(service) == ("open", True)
        for decision in failed:
            service.post(f"/v1/decisions/{decision['id']}/outcome", WELL, status=200)
        service.until(service.settled)
        assert circuit(service) == ("closed", False)
        assert service.get("/v1/routes/quickstart/state")["providers"]["large"]["failure"] == 0.0


def test_failed_calls_count_although_another_provider_served_after_them(tmp_path: Path) -> None:
    only = {"candidates": ["large"]}
    with running(tmp_path) as service:
        serve(service, 20, WELL, **only)
        for _ in range(FAILURES):
            decision = service.decide(**only)
            for report in (FAILED, {**WELL, "served_provider": "small"}):
                service.post(f"/v1/decisions/{decision['id']}/outcome", report, status=200)
                service.until(service.settled)
        assert circuit(service) == ("open", True)
        assert_metrics(service, state=2.0, changes=1.0)
    with running(tmp_path) as service:
        assert circuit(service) == ("open", True)
