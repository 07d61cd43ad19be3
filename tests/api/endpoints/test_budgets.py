"""Budgets of routes over HTTP: a hard limit, alarms, and where the account stands."""

import logging

import pytest

from tests.api.running import Clock, running

USD = 1e-3
"""The unit of these budgets: a few calls, so that none is too dear to be believed."""

BUDGET = {"usd_per_day": USD, "time_zone": "Europe/Berlin", "start_hour": 5, "hard": True}


@pytest.fixture
def served(tmp_path):
    clock = Clock()
    with running(tmp_path, clock=clock) as service:
        patch = service.client.patch("/v1/routes/quickstart", json={"budget": BUDGET})
        assert patch.status_code == 200, patch.text
        yield service, clock


def pay(service, usd, name):
    """Let a decision cost so many units."""
    price = {"small": 0.4, "large": 10.0}[service.decide(id=name)["selected"]]
    usage = {"input_tokens": 0, "output_tokens": round(usd * USD * 1e6 / price)}
    service.post(f"/v1/decisions/{name}/outcome", {"usage": usage}, status=200)
    service.until(service.settled)


def test_a_hard_budget_answers_429_until_its_period_ends(served):
    service, clock = served
    pay(service, 2.0, "dear")
    body = {"route": "quickstart", "prompt": "Where is my parcel?"}
    refused = service.client.post("/v1/decisions", json=body)
    assert refused.status_code == 429
    assert refused.json()["type"] == "urn:fairlead:problem:budget-spent"
    assert "raise the budget" in refused.json()["detail"]
    wait_s = int(refused.headers["Retry-After"])
    assert 0 < wait_s <= 25 * 3_600
    batch = service.post("/v1/decisions/batch", {"decisions": [body]}, status=200)
    assert batch["decisions"][0]["problem"]["type"] == "urn:fairlead:problem:budget-spent"
    clock.ahead_s += wait_s + 1.0
    service.decide()


FREE = {"provider": "small", "input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0}


@pytest.mark.parametrize("shared", [False, True])
def test_a_hard_budget_stops_a_paused_or_broken_route_too_but_for_who_is_free(tmp_path, shared):
    with running(tmp_path) as service:
        if shared:
            service.post("/v1/budgets", {"name": "org", "routes": ["*"], **BUDGET}, status=201)
        else:
            service.client.patch("/v1/routes/quickstart", json={"budget": BUDGET})
        served = service.service.engine.fold.routes["quickstart"]
        body = {"route": "quickstart", "prompt": "Where is my parcel?"}

        def all_answers(status):
            for paused, broken in ((True, None), (False, "event 7 could not be learned")):
                service.client.patch("/v1/routes/quickstart", json={"paused": paused})
                served.broken = broken
                yield service.post("/v1/decisions", body, status=status)
            served.broken = None

        for answer in all_answers(200):
            assert answer["fallback_used"]
        pay(service, 2.0, "dear")
        for answer in all_answers(429):
            assert answer["type"] == "urn:fairlead:problem:budget-spent"
        service.post("/v1/prices", FREE, status=201)
        service.until(service.settled)
        for answer in all_answers(200):
            large = next(entry for entry in answer["candidates"] if entry["provider"] == "large")
            assert answer["selected"] == "small" and answer["fallback_used"]
            assert large["reason"].startswith("is expected to cost something, but $0 is left of the budget")


def test_alarms_are_shown_counted_and_logged(served, caplog):
    service, clock = served
    service.until(lambda: service.service.budget_watch._counts is not None)
    with caplog.at_level(logging.WARNING, "fairlead.budgets"):
        pay(service, 0.9, "first")
        service.until(lambda: "80% or more" in caplog.text)
        assert "budget of route quickstart: $0.0009" in caplog.text
        state = service.get("/v1/routes/quickstart/state")
        (alarm,) = state["budget_alarms"]
        assert (alarm["reason"], alarm["level"], alarm["limit_usd"]) == ("spent", 0.8, USD)
        budget = state["budget"]
        assert budget["spent_usd"] == pytest.approx(0.9 * USD, rel=0.01)
        assert budget["utilisation"] == pytest.approx(0.9, rel=0.01)
        assert budget["requests"] == 1
        assert budget["forecast_usd"] >= budget["spent_usd"]
        assert alarm["period_end"] == budget["period_end"] > budget["period_start"]
        text = service.client.get("/metrics").text
        assert 'fairlead_budget_alarms_total{budget="",level="80",route="quickstart"} 1.0' in text
        assert 'fairlead_budget_limit_usd{budget="",route="quickstart"} 0.001' in text
        assert 'fairlead_budget_spent_usd{budget="",route="quickstart"} 0.0009' in text
        clock.ahead_s += 25 * 3_600.0
        assert service.get("/v1/routes/quickstart/state")["budget"]["spent_usd"] == 0.0
        assert len(service.get("/v1/routes/quickstart/state")["budget_alarms"]) == 1


def test_a_change_keeps_the_account_and_a_restart_too(tmp_path):
    with running(tmp_path) as service:
        service.client.patch("/v1/routes/quickstart", json={"budget": {"usd_per_day": USD}})
        pay(service, 0.5, "first")
        service.client.patch("/v1/routes/quickstart", json={"budget": {"usd_per_day": 1.01 * USD}})
        assert service.get("/v1/routes/quickstart/state")["budget"]["spent_usd"] == pytest.approx(
            0.5 * USD, rel=0.01
        )
    with running(tmp_path) as service:
        service.client.patch(
            "/v1/routes/quickstart", json={"budget": {"usd_per_day": None, "usd": 9, "window": "week"}}
        )
        budget = service.get("/v1/routes/quickstart/state")["budget"]
        assert (budget["spent_usd"], budget["limit_usd"]) == (pytest.approx(0.5 * USD, rel=0.01), 9.0)
        service.client.patch("/v1/routes/quickstart", json={"budget": None})
        assert service.get("/v1/routes/quickstart/state")["budget"] is None


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"usd_per_day": 0}, "pause the route"),
        ({"usd_per_day": 1, "time_zone": "Nowhere"}, "time_zone is 'Nowhere'"),
        ({"usd": 1, "window": "calendar_month", "start_day": 31}, "less than or equal to 28"),
        ({"usd": 1, "window": "fortnight"}, "'day', 'week' or 'calendar_month'"),
        ({"usd_per_day": 1, "usd_per_request": 1}, "exactly one"),
        ({}, "no limit"),
        ({"usd_per_request": 1, "hard": True}, "no period at whose limit"),
    ],
)
def test_what_no_operator_can_mean_gets_422_with_a_remedy(tmp_path, budget, words):
    with running(tmp_path) as service:
        refused = service.client.patch("/v1/routes/quickstart", json={"budget": budget})
        assert refused.status_code == 422
        assert words in refused.text


def test_one_wrong_unit_ahead_of_its_decision_stops_no_route_of_a_shared_budget(tmp_path):
    with running(tmp_path) as service:
        service.post(
            "/v1/budgets", {"name": "org", "usd_per_day": 1.0, "routes": ["*"], "hard": True}, status=201
        )
        answer = service.post("/v1/decisions/early/outcome", {"cost_usd": 1e3}, status=200)
        assert (answer["state"], answer["quarantined"]) == ("parked", [])
        service.decide(id="early")
        service.until(service.settled)
        assert service.get("/v1/budgets/org")["state"]["spent_usd"] < 0.1
        service.decide()


def test_a_shared_budget_is_created_read_changed_and_removed(tmp_path):
    with running(tmp_path) as service:
        body = {"name": "org", "usd": USD, "window": "week", "routes": ["*"], "hard": True}
        service.post("/v1/budgets", body, status=201)
        service.post("/v1/budgets", body, status=409)
        pay(service, 0.9, "first")
        budget = service.get("/v1/budgets/org")
        assert budget["shared_by"] == ["quickstart"]
        assert budget["state"]["spent_usd"] == pytest.approx(0.9 * USD, rel=0.01)
        assert [alarm["level"] for alarm in budget["alarms"]] == [0.8]
        assert "fairlead_budget_spent_usd" in service.client.get("/metrics").text
        service.post("/v1/decisions", {"route": "quickstart", "prompt": "Hello"}, status=429)
        assert service.client.patch("/v1/budgets/org", json={"usd": 9.0 * USD}).status_code == 200
        assert service.get("/v1/budgets")["items"][0]["state"]["utilisation"] == pytest.approx(0.1, rel=0.05)
        service.decide()
        assert service.client.delete("/v1/budgets/org").status_code == 200
        service.get("/v1/budgets/org", status=404)
        nobody = service.post("/v1/budgets", {"name": "none", "usd_per_day": 1.0}, status=422)
        assert "the budget is of no route" in str(nobody)
