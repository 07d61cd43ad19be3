"""Teams that share a service meet neither in ids and sessions nor in what they are told."""

from pathlib import Path
from typing import Any

import pytest

from fairlead.api.state.fold import Fold
from fairlead.api.store.base import Query
from tests.api.running import Running, bearer, running

SCOPES = ["decide", "outcome", "feedback", "read"]


class Team:
    """A client whose key is limited to routes."""

    def __init__(self, service: Running, admin: str, *routes: str, **fields: Any) -> None:
        self.service = service
        _, key = service.make_key(admin, **{"scopes": SCOPES, "routes": list(routes), **fields})
        self.headers = bearer(key)
        self.route = routes[0]

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        response = self.service.client.post(path, json=body, headers=self.headers)
        return response.status_code, response.json()

    def get(self, path: str) -> tuple[int, Any]:
        response = self.service.client.get(path, headers=self.headers)
        return response.status_code, response.json()

    def decide(self, name: str, **fields: Any) -> Any:
        body = {"route": self.route, "prompt": f"{self.route} {name}", "id": name, **fields}
        status, answer = self.post("/v1/decisions", body)
        assert status == 200, answer
        return answer

    def judge(self, **fields: Any) -> tuple[int, Any]:
        return self.post("/v1/feedback", {"value": 1.0, **fields})


@pytest.fixture
def teams(service: Running, admin: str) -> tuple[Team, Team]:
    for name in ("red", "blue"):
        service.post("/v1/providers", {"name": f"{name}-model"}, status=201, **bearer(admin))
        body = {"name": name, "providers": [f"{name}-model", "small"]}
        service.post("/v1/routes", body, status=201, **bearer(admin))
        price = {"provider": f"{name}-model", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}
        service.post("/v1/prices", price, status=201, **bearer(admin))
    return Team(service, admin, "red"), Team(service, admin, "blue")


def told(status: int, answer: Any) -> tuple[int, Any]:
    """Return what an answer tells beside the ids that its report got."""
    return status, {name: value for name, value in answer.items() if name not in ("id", "seq")}


def test_two_teams_use_the_same_ids(service: Running, teams: tuple[Team, Team]) -> None:
    red, blue = teams
    for team in teams:
        answer = team.decide("order-1", session_id="chat")
        assert (answer["id"], answer["session_id"], answer["route"]) == ("order-1", "chat", team.route)
        assert team.decide("order-1", session_id="chat") == answer
    assert red.judge(decision_id="order-1", value=0.25)[1]["state"] == "joined"
    assert blue.judge(session_id="chat", value=0.75)[1]["decision_ids"] == ["order-1"]
    assert red.post("/v1/decisions/order-1/outcome", {"cost_usd": 0.25})[1]["decision_id"] == "order-1"
    values = {}
    for team in teams:
        status, answer = team.get("/v1/decisions/order-1")
        assert status == 200 and answer["decision"]["route"] == team.route
        values[team.route] = [event["body"].get("value") for event in answer["events"]]
    assert values == {"red": [0.25, None], "blue": [0.75]}
    service.until(service.settled)
    fold = service.service.engine.fold
    assert fold.counts["feedback", "joined"] == 2


def test_no_answer_tells_which_ids_another_team_has(
    service: Running, admin: str, teams: tuple[Team, Team]
) -> None:
    """Open, closed and absent ids of others are answered alike."""
    red, blue = teams
    red.decide("theirs", session_id="their-chat")
    service.post(
        "/v1/decisions", {"route": "red", "prompt": "x", "id": "of-admin"}, status=200, **bearer(admin)
    )
    service.until(service.settled)
    for name in ("theirs", "of-admin"):
        for path, body in (("feedback", {"value": 0.5}), ("outcome", {"cost_usd": 1.0})):
            answers = [
                blue.judge(decision_id=other, **body)
                if path == "feedback"
                else blue.post(f"/v1/decisions/{other}/outcome", body)
                for other in (name, f"{name}-not")
            ]
            first, second = (told(*answer) for answer in answers)
            assert str(first).replace(name, "X") == str(second).replace(f"{name}-not", "X")
        assert blue.get(f"/v1/decisions/{name}") == blue.get("/v1/decisions/none")
    assert told(*blue.judge(session_id="their-chat")) == told(*blue.judge(session_id="none"))
    # What was sent ahead does not show with them either.
    assert red.get("/v1/decisions/theirs")[1]["events"] == []
    service.until(service.settled)
    assert service.service.engine.fold.counts["feedback", "joined"] == 0


def test_feedback_sent_ahead_waits_for_the_own_decision(service: Running, teams: tuple[Team, Team]) -> None:
    red, blue = teams
    assert blue.judge(decision_id="later")[1]["state"] == "parked"
    red.decide("later")
    assert red.get("/v1/decisions/later")[1]["events"] == []
    blue.decide("later")
    assert len(blue.get("/v1/decisions/later")[1]["events"]) == 1
    service.until(service.settled)
    assert service.service.engine.fold.counts["feedback", "joined"] == 1


def test_a_key_without_limits_reports_on_decisions_of_teams(
    service: Running, admin: str, teams: tuple[Team, Team]
) -> None:
    """Such as one job that reports what all calls cost; of two decisions with one id it means neither."""
    red, blue = teams
    red.decide("one")
    answer = service.post("/v1/decisions/one/outcome", {"cost_usd": 0.5}, status=200, **bearer(admin))
    assert (answer["state"], answer["decision_id"]) == ("joined", "one")
    assert len(service.get("/v1/decisions/one", **bearer(admin))["events"]) == 1
    blue.decide("one")
    service.until(service.settled)
    report = {"decision_id": "one", "value": 0.0}
    assert service.post("/v1/feedback", report, status=200, **bearer(admin))["state"] == "parked"
    for team in teams:
        assert len(team.get("/v1/decisions/one")[1]["events"]) == (team is red)


def test_keys_of_one_tenant_share_ids(service: Running, admin: str, teams: tuple[Team, Team]) -> None:
    backend = Team(service, admin, "red", "blue", tenant="shop", scopes=["decide", "read"])
    widget = Team(service, admin, "red", tenant="shop", scopes=["feedback"])
    assert widget.judge(decision_id="a")[1]["state"] == "parked"
    backend.decide("a", session_id="s")
    assert len(backend.get("/v1/decisions/a")[1]["events"]) == 1
    assert widget.judge(session_id="s")[1]["decision_ids"] == ["a"]


def test_decisions_from_before_tenants_stay_open_to_their_teams(
    service: Running, admin: str, teams: tuple[Team, Team]
) -> None:
    """In logs of older releases the ids of limited keys stand as they were sent, as those of others do."""
    red, blue = teams
    body = {"route": "red", "prompt": "x", "id": "old", "session_id": "s"}
    service.post("/v1/decisions", body, status=200, **bearer(admin))
    assert red.judge(decision_id="old")[1]["state"] == "joined"
    assert red.judge(session_id="s")[1]["decision_ids"] == ["old"]
    assert blue.judge(session_id="s")[0] == 404
    assert len(red.get("/v1/decisions/old")[1]["events"]) == 2


def test_lists_and_metrics_show_the_own_routes_only(
    service: Running, admin: str, teams: tuple[Team, Team]
) -> None:
    red, blue = teams
    budget = {"name": "all-of-us", "routes": ["*"], "usd": 5.0, "window": "day"}
    service.post("/v1/budgets", budget, status=201, **bearer(admin))
    red.decide("a")
    blue.decide("b")
    service.until(service.settled)
    for path in (
        "/v1/providers",
        "/v1/prices",
        "/v1/routes",
        "/v1/budgets",
        "/v1/providers/small",
        "/metrics",
    ):
        response = service.client.get(path, headers=blue.headers)
        assert response.status_code == 200, path
        for word in ("red", "quickstart", "large", "all-of-us"):
            assert f'"{word}' not in response.text, (path, word)
        assert word not in str(response.headers)
    price = next(
        item["id"]
        for item in service.get("/v1/prices", **bearer(admin))["items"]
        if item["provider"] == "red-model"
    )
    for path in ("providers/red-model", f"prices/{price}", "providers/large", "budgets/all-of-us"):
        missing = blue.get(f"/v1/{path.partition('/')[0]}/none")
        assert blue.get(f"/v1/{path}") == missing and missing[0] == 404
    assert 'route="blue"' in service.client.get("/metrics", headers=blue.headers).text
    assert 'route="red"' in service.client.get("/metrics", headers=bearer(admin)).text


def test_what_is_served_is_what_the_log_gives(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        _, admin = service.make_key(None, scopes=["admin"])
        red = Team(service, admin, "quickstart")
        red.judge(decision_id="a")
        for name in ("a", "b"):
            red.decide(name, session_id="s")
        red.judge(session_id="s")
        service.post("/v1/decisions/b/outcome", {"cost_usd": 0.0001}, status=200, **bearer(admin))
        service.until(service.settled)
        served = service.service.engine.fold
        settings = service.settings
        rebuilt = Fold(parked_wait_s=settings.parked_wait_s, parked_limit=settings.parked_limit)
        for row in service.service.store.rows(Query()):
            rebuilt.apply(row)
        assert rebuilt.state().open == served.state().open
        assert rebuilt.sessions == served.sessions == {"quickstart|s": ["quickstart|a", "quickstart|b"]}
        assert rebuilt.counts == served.counts
        assert rebuilt.routes["quickstart"].spent_usd == served.routes["quickstart"].spent_usd == 0.0001
