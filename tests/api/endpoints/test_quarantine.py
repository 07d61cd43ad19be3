"""Outcomes that cannot be right: accepted, named in the answer, and shown until others confirm them."""

import logging
from pathlib import Path

import pytest

from tests.api.running import Running, running

PRICES = {"provider": "priced", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0}
USAGE = {"input_tokens": 100, "output_tokens": 300}
TRUE_USD = 0.0013


@pytest.fixture
def priced(service: Running) -> Running:
    service.post("/v1/providers", {"name": "priced"}, status=201)
    service.post("/v1/prices", PRICES, status=201)
    body = {"name": "r", "providers": ["priced"], "budget": {"usd_per_request": 0.002}}
    service.post("/v1/routes", body, status=201)
    return service


def decide(service: Running, name: str) -> None:
    service.post("/v1/decisions", {"route": "r", "prompt": "x" * 400, "id": name}, status=200)


def report(service: Running, name: str, **fields: object) -> dict[str, object]:
    answer: dict[str, object] = service.post(f"/v1/decisions/{name}/outcome", fields, status=200)
    service.until(service.settled)
    return answer


def test_a_cost_in_cents_is_named_shown_and_counted(
    priced: Running, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(20):
        decide(priced, f"d{i}")
        assert report(priced, f"d{i}", cost_usd=TRUE_USD)["quarantined"] == []
    before = priced.get("/v1/routes/r/state")
    assert before["quarantine"] == []
    # Of what was there before its first look the watch says nothing.
    priced.service.quarantine_watch.check()
    with caplog.at_level(logging.WARNING, "fairlead.quarantine"):
        for i in range(2):
            decide(priced, f"cents{i}")
            answer = report(priced, f"cents{i}", cost_usd=100 * TRUE_USD, usage=USAGE)
            assert (answer["quarantined"], answer["cost_usd"]) == (["cost_usd"], 100 * TRUE_USD)
            priced.service.quarantine_watch.check()
    state = priced.get("/v1/routes/r/state")
    (doubt,) = state["quarantine"]
    assert (doubt["provider"], doubt["quantity"], doubt["count"]) == ("priced", "cost", 2)
    assert doubt["likely_error"] == "cents for dollars"
    assert doubt["expected"] == pytest.approx(TRUE_USD)
    assert state["providers"]["priced"]["cost_usd"] == before["providers"]["priced"]["cost_usd"]
    # What the usage costs by the list is paid meanwhile.
    assert state["spent_usd"] == pytest.approx(22 * TRUE_USD)
    text = priced.client.get("/metrics").text
    assert 'fairlead_quarantined_total{provider="priced",quantity="cost",route="r"} 2.0' in text
    (warning,) = caplog.records
    assert warning.getMessage() == (
        "route r: a cost of priced is 1e+02 times what was expected (cents for dollars): it is in quarantine "
        "until others confirm it"
    )


def test_what_others_confirm_is_learned_and_paid(priced: Running) -> None:
    for i in range(5):
        decide(priced, f"d{i}")
        report(priced, f"d{i}", cost_usd=100 * TRUE_USD)
    state = priced.get("/v1/routes/r/state")
    assert {doubt["quantity"] for doubt in state["quarantine"]} <= {"prices"}
    assert state["spent_usd"] == pytest.approx(500 * TRUE_USD)
    for i in range(5, 12):
        decide(priced, f"d{i}")
        report(priced, f"d{i}", cost_usd=100 * TRUE_USD)
    (doubt,) = priced.get("/v1/routes/r/state")["quarantine"]
    assert (doubt["quantity"], doubt["decision_id"]) == ("prices", "")
    assert doubt["value"] == pytest.approx(100 * doubt["expected"])
    text = priced.client.get("/metrics").text
    assert 'fairlead_price_list_factor{provider="priced",route="r"} 100.0' in text
    assert "fairlead_quarantined_total{" not in text


def test_a_restart_changes_nothing_of_it(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        for i in range(8):
            service.decide(id=f"d{i}", candidates=["small"])
            service.post(f"/v1/decisions/d{i}/outcome", {"cost_usd": 10.0 if i == 4 else 1e-4}, status=200)
        service.until(service.settled)
        before = service.get("/v1/routes/quickstart/state")
        assert [doubt["value"] for doubt in before["quarantine"]] == [10.0]
    for damaged in (False, True):
        for path in (tmp_path / "state").rglob("*.npz") if damaged else ():
            path.write_bytes(b"damaged")
        with running(tmp_path) as service:
            after = service.get("/v1/routes/quickstart/state")
            assert {**after, "age_s": 0.0} == {**before, "age_s": 0.0}


@pytest.mark.parametrize("value", ["NaN", "1e308", "-1", "Infinity", "1e999", "true", '"1"'])
@pytest.mark.parametrize("field", ["cost_usd", "latency_s"])
def test_what_is_no_amount_is_refused(service: Running, field: str, value: str) -> None:
    service.decide(id="d")
    response = service.client.post(
        "/v1/decisions/d/outcome",
        content=f'{{"{field}": {value}}}',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code in (400, 422), response.text
