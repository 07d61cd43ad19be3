"""Providers, prices, routes and keys: what a change does, shows beforehand, and leaves behind."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from fairlead.api.service.keys import key_change
from fairlead.api.state.configuration import Change, Configuration
from fairlead.optimizer.errors import InvalidInput
from tests.api.running import Clock, Running


def at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def cost_of(service: Running, decision_id: str) -> Any:
    usage = {"input_tokens": 0, "output_tokens": 1_000_000}
    body = {"usage": usage, "served_provider": "small"}
    return service.post(f"/v1/decisions/{decision_id}/outcome", body, status=200)["cost_usd"]


def test_a_provider_is_created_put_on_a_route_paused_and_removed(service: Running) -> None:
    service.post("/v1/providers", {"name": "acme/new:1"}, status=201)
    patched = service.client.patch(
        "/v1/routes/quickstart", json={"providers": ["small", "large", "acme/new:1"]}
    )
    assert patched.status_code == 200, patched.text
    assert patched.json()["routes"] == ["quickstart"]
    answer = service.decide()
    assert "acme/new:1" in {item["provider"] for item in answer["candidates"]}
    assert service.client.patch("/v1/providers/acme/new:1", json={"paused": True}).status_code == 200
    (item,) = [item for item in service.decide()["candidates"] if item["provider"] == "acme/new:1"]
    assert (item["eligible"], item["propensity"]) == (False, 0.0)
    assert service.get("/v1/providers/acme/new:1")["routes"] == ["quickstart"]
    assert service.client.delete("/v1/providers/acme/new:1").status_code == 200
    assert "acme/new:1" not in {item["provider"] for item in service.decide()["candidates"]}
    assert service.client.delete("/v1/providers/acme/new:1").status_code == 404


def test_a_provider_removed_while_its_decision_is_open_breaks_nothing(service: Running) -> None:
    service.post("/v1/providers", {"name": "third"}, status=201)
    service.client.patch("/v1/routes/quickstart", json={"providers": ["small", "large", "third"]})
    service.decide(id="d", candidates=["third"])
    assert service.client.delete("/v1/providers/third").status_code == 200
    reply = service.post("/v1/decisions/d/outcome", {"cost_usd": 0.125, "latency_s": 1.0}, status=200)
    assert (reply["served_provider"], reply["state"]) == ("third", "joined")
    assert service.post("/v1/feedback", {"decision_id": "d", "value": 1.0}, status=200)["state"] == "joined"
    state = service.get("/v1/routes/quickstart/state")
    assert state["spent_usd"] == 0.125
    assert state["broken"] is None


def test_a_fallback_that_was_removed_meanwhile_can_still_be_told(service: Running) -> None:
    service.post("/v1/providers", {"name": "third"}, status=201)
    service.client.patch("/v1/routes/quickstart", json={"providers": ["small", "large", "third"]})
    answer = service.decide(id="d", constraints={"ignore": ["third"]})
    assert answer["selected"] != "third"
    assert service.client.delete("/v1/providers/third").status_code == 200
    body = {"served_provider": "third", "cost_usd": 0.125}
    reply = service.post("/v1/decisions/d/outcome", body, status=200)
    assert (reply["served_provider"], reply["state"]) == ("third", "joined")
    assert service.get("/v1/routes/quickstart/state")["spent_usd"] == 0.125
    service.post("/v1/decisions/d/outcome", {**body, "served_provider": "fourth"}, status=422)
    service.decide(id="later")
    service.post("/v1/decisions/later/outcome", body, status=422)


def test_the_only_provider_and_the_default_stay(service: Running) -> None:
    service.client.patch("/v1/routes/quickstart", json={"default_provider": "large"})
    refused = service.client.delete("/v1/providers/large")
    assert refused.status_code == 422
    assert "its default" in refused.json()["detail"]
    assert service.client.delete("/v1/providers/small").status_code == 200
    service.client.patch("/v1/routes/quickstart", json={"default_provider": None})
    assert "its only provider" in service.client.delete("/v1/providers/large").json()["detail"]


def test_a_price_counts_from_its_date_and_not_for_decisions_before(service: Running, clock: Clock) -> None:
    service.decide(id="before")
    later = {"provider": "small", "input_usd_per_mtok": 7.0, "output_usd_per_mtok": 7.0}
    answer = service.post("/v1/prices", {**later, "effective_at": at(time.time() + 3_600)}, status=201)
    service.decide(id="between")
    assert service.get(f"/v1/prices/{answer['id']}")["in_force"] is False
    clock.ahead_s = 3_700.0
    service.until(lambda: service.get(f"/v1/prices/{answer['id']}")["in_force"])
    service.decide(id="after")
    assert [cost_of(service, name) for name in ("before", "between", "after")] == pytest.approx(
        [0.4, 0.4, 7.0]
    )
    # In force, it stays; only another list can follow it.
    assert service.client.delete(f"/v1/prices/{answer['id']}").status_code == 422
    now = service.post("/v1/prices", {**later, "output_usd_per_mtok": 9.0}, status=201)
    assert service.get(f"/v1/prices/{now['id']}")["in_force"]
    service.decide(id="now")
    assert cost_of(service, "now") == pytest.approx(9.0)
    assert cost_of(service, "after") == pytest.approx(7.0)


def test_a_wrong_price_in_force_is_corrected_from_a_date_on(service: Running) -> None:
    """Of the lists whose time has come the latest date applies; decisions keep the price of their time."""
    since = time.time()
    price = {"provider": "small", "input_usd_per_mtok": 70.0, "output_usd_per_mtok": 70.0}
    service.post("/v1/prices", {**price, "effective_at": at(since + 1e-3)}, status=201)
    service.until(lambda: service.get("/v1/providers/small")["price_id"] is not None)
    right = {"provider": "small", "input_usd_per_mtok": 7.0, "output_usd_per_mtok": 7.0}
    corrected = service.post("/v1/prices", {**right, "effective_at": at(since + 2e-3)}, status=201)
    older = service.post("/v1/prices", {**price, "effective_at": at(since - 86_400)}, status=201)
    service.until(lambda: service.get(f"/v1/prices/{corrected['id']}")["in_force"])
    assert service.get(f"/v1/prices/{older['id']}")["in_force"] is False
    service.decide(id="after")
    assert cost_of(service, "after") == pytest.approx(7.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"objective": {"willingness_to_pay_usd": 0.5}}, {"objective": {"dial": 3.0}}),
        ({"objective": {"dial": 3.0}}, {"objective": {"willingness_to_pay_usd": 0.5}}),
        ({"budget": {"usd_per_day": 5.0}}, {"budget": {"usd_per_request": 0.01}}),
        ({"budget": {"usd_per_request": 0.01}}, {"budget": {"usd": 9.0, "window": "week"}}),
        ({"budget": {"usd": 9.0, "window": "week"}}, {"budget": {"usd_per_day": 5.0}}),
    ],
)
def test_a_patch_that_chooses_another_form_needs_no_nulls(
    service: Running, first: dict[str, Any], second: dict[str, Any]
) -> None:
    for patch in (first, second):
        response = service.client.patch("/v1/routes/quickstart", json=patch)
        assert response.status_code == 200, response.text
    ((field, forms),) = second.items()
    ((_, replaced),) = first.items()
    now = service.get("/v1/routes/quickstart")[field]
    assert {name: now[name] for name in forms} == forms
    assert all(now[name] is None for name in replaced)


def test_a_price_can_be_taken_back_before_its_date(service: Running) -> None:
    body = {"provider": "small", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}
    answer = service.post("/v1/prices", {**body, "effective_at": at(time.time() + 3_600)}, status=201)
    assert service.client.delete(f"/v1/prices/{answer['id']}").status_code == 200
    assert service.post("/v1/prices", {**body, "effective_at": "2030-01-01T00:00:00"}, status=422)
    assert service.post("/v1/prices", {**body, "provider": "nobody"}, status=422)
    # In UTC this is the year 10000, which no answer could be written with.
    assert service.post("/v1/prices", {**body, "effective_at": "9999-12-31T23:59:59-12:00"}, status=422)
    assert service.get("/v1/prices")["items"]


def test_a_preview_says_what_would_change_and_changes_nothing(service: Running) -> None:
    before = service.get("/v1/routes/quickstart")
    patch = {"budget": {"usd_per_request": 0.001}}
    reply = service.client.patch("/v1/routes/quickstart?preview=true", json=patch).json()
    assert (reply["preview"], reply["seq"], reply["routes"]) == (True, None, ["quickstart"])
    assert reply["before"]["budget"] is None
    budget = reply["after"]["budget"]
    assert (budget["usd_per_request"], budget["usd_per_day"], budget["hard"]) == (0.001, None, False)
    assert service.get("/v1/routes/quickstart") == before
    body = {"name": "another", "providers": ["small"]}
    assert service.client.post("/v1/routes?preview=true", json=body).status_code == 200
    assert service.client.get("/v1/routes/another").status_code == 404
    assert service.client.delete("/v1/routes/quickstart?preview=true").status_code == 200
    assert service.get("/v1/routes/quickstart") == before


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"providers": ["nobody"]}, "create that provider first"),
        ({"providers": []}, "error"),
        ({"name": "other"}, "cannot change"),
        ({"features": {"task": 8}}, "create another route"),
        ({"metrics": [{"name": "speed"}]}, "create another route"),
        ({"constraints": {"capabilities": ["vision"]}}, "no provider has it"),
        ({"objective": {"dial": 3.0, "willingness_to_pay_usd": 0.5}}, "set the same thing"),
        ({"colour": "red"}, "error"),
    ],
)
def test_a_change_that_cannot_be_is_refused_whole(
    service: Running, patch: dict[str, Any], reason: str
) -> None:
    before = service.get("/v1/routes/quickstart")
    refused = service.client.patch("/v1/routes/quickstart", json=patch)
    assert refused.status_code == 422, refused.text
    assert reason in refused.text
    assert service.get("/v1/routes/quickstart") == before


def test_changes_that_come_at_once_do_not_undo_one_another(service: Running) -> None:
    patches = [{"paused": True}, {"capabilities": ["vision"]}, {"tags": ["eu"]}, {"context_window_tokens": 9}]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for name in ("paused", "capabilities", "tags", "context_window_tokens"):
                service.client.patch("/v1/providers/small", json={name: None})
            codes = pool.map(
                lambda patch: service.client.patch("/v1/providers/small", json=patch).status_code, patches
            )
            assert list(codes) == [200] * 4
            results = service.get("/v1/providers/small")
            assert all(results[name] == value for patch in patches for name, value in patch.items()), results


def test_of_two_admins_that_remove_each_other_the_log_keeps_one() -> None:
    """Two processes can both find that another admin is left: the second of the events is refused."""
    answer = Configuration()
    for name in ("one", "two"):
        answer = answer.after(key_change(name, ("admin",))[1])
    first, second = (Change("key", key_id, "remove", None) for key_id in answer.keys)
    answer = answer.after(first)
    with pytest.raises(InvalidInput, match="would be left"):
        answer.after(second)
    weaker = answer.keys[second.id].model_copy(update={"scopes": ("read",)})
    with pytest.raises(InvalidInput, match="would be left"):
        answer.after(Change("key", second.id, "put", weaker.model_dump(mode="json")))


def test_a_paused_route_answers_its_default_and_says_so(service: Running) -> None:
    service.client.patch("/v1/routes/quickstart", json={"paused": True, "default_provider": "large"})
    answer = service.decide()
    assert (answer["selected"], answer["propensity"], answer["fallback_used"]) == (
        "large",
        1.0,
        "the route is paused",
    )
    assert answer["candidates"][0]["expected"]["quality"] is None
    assert service.decide(candidates=["small"])["selected"] == "small"
    assert service.get("/v1/routes/quickstart/state")["fallbacks"] == 2


def test_a_route_removed_and_created_again_starts_anew(service: Running) -> None:
    service.decide(id="d")
    assert service.client.delete("/v1/routes/quickstart").status_code == 200
    assert service.post("/v1/decisions", {"route": "quickstart", "prompt": "x"}, status=404)
    assert service.post("/v1/feedback", {"decision_id": "d", "value": 1.0}, status=410)
    service.post("/v1/routes", {"name": "quickstart", "providers": ["small"]}, status=201)
    assert service.get("/v1/routes/quickstart/state")["decisions"] == 0
    assert service.post("/v1/routes", {"name": "quickstart", "providers": ["small"]}, status=409)


def test_metrics_have_a_range_a_direction_and_a_weight_and_sources_a_weight(service: Running) -> None:
    metrics = [
        {"name": "stars", "low": 1, "high": 5},
        {"name": "edits", "low": 0, "high": 10, "higher_is_better": False},
    ]
    body = {
        "name": "rated",
        "providers": ["small"],
        "metrics": metrics,
        "sources": {"human": 9.0, "code": 1.0},
    }
    service.post("/v1/routes", body, status=201)
    service.post("/v1/decisions", {"route": "rated", "prompt": "x", "id": "d"}, status=200)
    for fields in (
        {"metric": "stars", "value": 5, "source": "human"},
        {"metric": "stars", "value": 1, "source": "code"},
        {"metric": "edits", "value": 10},
    ):
        service.post("/v1/feedback", {"decision_id": "d", **fields}, status=200)
    service.until(service.settled)
    entry = service.service.engine.fold.routes["rated"].router.open_decision("d")
    assert entry is not None
    # Stars: (9 · 1 + 1 · 0) / 10; edits: the worst; both weigh the same.
    assert entry.reward == pytest.approx(0.45)


def test_lists_come_in_pages(service: Running) -> None:
    names = [f"p{i:02}" for i in range(7)]
    for name in names:
        service.post("/v1/providers", {"name": name}, status=201)
    results, cursor = [], ""
    while True:
        page = service.get(f"/v1/providers?limit=4{cursor}")
        assert len(page["items"]) <= 4
        results += [item["name"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert results == sorted([*names, "small", "large"])
    for query in ("limit=0", "limit=501", "cursor=%ff", "cursor=MQ", "colour=red"):
        assert service.client.get(f"/v1/providers?{query}").status_code == 422, query


def test_the_audit_trail_has_every_change_with_who_and_when(service: Running) -> None:
    service.client.patch("/v1/providers/small", json={"paused": True})
    results: list[Any] = []
    cursor = ""
    while cursor is not None:
        page = service.get(f"/v1/audit?limit=2{cursor and '&cursor=' + cursor}")
        results += page["items"]
        cursor = page["next_cursor"]
    assert [item["entity"] for item in results] == [
        "provider",
        "route",
        "price",
        "price",
        "provider",
        "provider",
    ]
    assert results[0]["body"]["paused"] is True
    assert [item["by"] for item in results] == [None] + ["file"] * 5
    assert [item["seq"] for item in results] == [6, 5, 4, 3, 2, 1]
