"""Providers, prices, routes and keys: what a change does, shows beforehand, and leaves behind."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.api.service.running import Running, running


class Clock:
    """A clock that a test can turn."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Iterator[Running]:
    with running(tmp_path, clock=clock, poll_s=0.05) as made:
        yield made


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
    made = service.decide()
    assert "acme/new:1" in {one["provider"] for one in made["candidates"]}
    assert service.client.patch("/v1/providers/acme/new:1", json={"paused": True}).status_code == 200
    (one,) = [one for one in service.decide()["candidates"] if one["provider"] == "acme/new:1"]
    assert (one["eligible"], one["propensity"]) == (False, 0.0)
    assert service.get("/v1/providers/acme/new:1")["routes"] == ["quickstart"]
    assert service.client.delete("/v1/providers/acme/new:1").status_code == 200
    assert "acme/new:1" not in {one["provider"] for one in service.decide()["candidates"]}
    assert service.client.delete("/v1/providers/acme/new:1").status_code == 404


def test_a_provider_removed_while_its_decision_is_open_breaks_nothing(service: Running) -> None:
    service.post("/v1/providers", {"name": "third"}, status=201)
    service.client.patch("/v1/routes/quickstart", json={"providers": ["small", "large", "third"]})
    service.decide(id="d", candidates=["third"])
    assert service.client.delete("/v1/providers/third").status_code == 200
    told = service.post("/v1/decisions/d/outcome", {"cost_usd": 0.125, "latency_s": 1.0}, status=200)
    assert (told["served_provider"], told["state"]) == ("third", "joined")
    assert service.post("/v1/feedback", {"decision_id": "d", "value": 1.0}, status=200)["state"] == "joined"
    state = service.get("/v1/routes/quickstart/state")
    assert state["spent_usd"] == 0.125
    assert state["broken"] is None


def test_a_fallback_that_was_removed_meanwhile_can_still_be_told(service: Running) -> None:
    service.post("/v1/providers", {"name": "third"}, status=201)
    service.client.patch("/v1/routes/quickstart", json={"providers": ["small", "large", "third"]})
    made = service.decide(id="d", constraints={"ignore": ["third"]})
    assert made["selected"] != "third"
    assert service.client.delete("/v1/providers/third").status_code == 200
    body = {"served_provider": "third", "cost_usd": 0.125}
    told = service.post("/v1/decisions/d/outcome", body, status=200)
    assert (told["served_provider"], told["state"]) == ("third", "joined")
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
    made = service.post("/v1/prices", {**later, "effective_at": at(time.time() + 3_600)}, status=201)
    service.decide(id="between")
    assert service.get(f"/v1/prices/{made['id']}")["in_force"] is False
    clock.ahead_s = 3_700.0
    service.until(lambda: service.get(f"/v1/prices/{made['id']}")["in_force"])
    service.decide(id="after")
    assert [cost_of(service, name) for name in ("before", "between", "after")] == pytest.approx(
        [0.4, 0.4, 7.0]
    )
    # In force, it stays; only another list can follow it.
    assert service.client.delete(f"/v1/prices/{made['id']}").status_code == 422
    now = service.post("/v1/prices", {**later, "output_usd_per_mtok": 9.0}, status=201)
    assert service.get(f"/v1/prices/{now['id']}")["in_force"]
    service.decide(id="now")
    assert cost_of(service, "now") == pytest.approx(9.0)
    assert cost_of(service, "after") == pytest.approx(7.0)


def test_a_price_can_be_taken_back_before_its_date_and_not_set_for_the_past(service: Running) -> None:
    body = {"provider": "small", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}
    made = service.post("/v1/prices", {**body, "effective_at": at(time.time() + 3_600)}, status=201)
    assert service.client.delete(f"/v1/prices/{made['id']}").status_code == 200
    assert service.post("/v1/prices", {**body, "effective_at": at(time.time() - 3_600)}, status=422)
    assert service.post("/v1/prices", {**body, "effective_at": "2030-01-01T00:00:00"}, status=422)
    assert service.post("/v1/prices", {**body, "provider": "nobody"}, status=422)
    # In UTC this is the year 10000, which no answer could be written with.
    assert service.post("/v1/prices", {**body, "effective_at": "9999-12-31T23:59:59-12:00"}, status=422)
    assert service.get("/v1/prices")["items"]


def test_a_preview_says_what_would_change_and_changes_nothing(service: Running) -> None:
    before = service.get("/v1/routes/quickstart")
    patch = {"budget": {"usd_per_request": 0.001}}
    told = service.client.patch("/v1/routes/quickstart?preview=true", json=patch).json()
    assert (told["preview"], told["seq"], told["routes"]) == (True, None, ["quickstart"])
    assert told["before"]["budget"] is None
    assert told["after"]["budget"] == {"usd_per_request": 0.001, "usd_per_day": None}
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
        ({"name": "other"}, "stays"),
        ({"features": {"task": 8}}, "create another route"),
        ({"metrics": [{"name": "speed"}]}, "create another route"),
        ({"constraints": {"capabilities": ["vision"]}}, "no provider has it"),
        ({"objective": {"dial": 3}}, "say the same twice"),
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


def test_a_paused_route_answers_its_default_and_says_so(service: Running) -> None:
    service.client.patch("/v1/routes/quickstart", json={"paused": True, "default_provider": "large"})
    made = service.decide()
    assert (made["selected"], made["propensity"], made["fallback_used"]) == (
        "large",
        1.0,
        "the route is paused",
    )
    assert made["candidates"][0]["expected"]["quality"] is None
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
    entry = service.service.engine.fold.routes["rated"].router._learning._ledger.get("d")
    assert entry is not None
    # Stars: (9 · 1 + 1 · 0) / 10; edits: the worst; both weigh the same.
    assert entry.quality == pytest.approx(0.45)


def test_lists_come_in_pages(service: Running) -> None:
    names = [f"p{i:02}" for i in range(7)]
    for name in names:
        service.post("/v1/providers", {"name": name}, status=201)
    found, cursor = [], ""
    while True:
        page = service.get(f"/v1/providers?limit=4{cursor}")
        assert len(page["items"]) <= 4
        found += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert found == sorted([*names, "small", "large"])
    for query in ("limit=0", "limit=501", "cursor=%ff", "cursor=MQ", "colour=red"):
        assert service.client.get(f"/v1/providers?{query}").status_code == 422, query


def test_the_audit_trail_has_every_change_with_who_and_when(service: Running) -> None:
    service.client.patch("/v1/providers/small", json={"paused": True})
    found: list[Any] = []
    cursor = ""
    while cursor is not None:
        page = service.get(f"/v1/audit?limit=2{cursor and '&cursor=' + cursor}")
        found += page["items"]
        cursor = page["next_cursor"]
    assert [one["entity"] for one in found] == ["provider", "route", "price", "price", "provider", "provider"]
    assert found[0]["body"]["paused"] is True
    assert [one["by"] for one in found] == [None] + ["file"] * 5
    assert [one["seq"] for one in found] == [6, 5, 4, 3, 2, 1]


def test_settings_apply_an_entry_once_and_again_when_it_is_edited(tmp_path: Path) -> None:
    from api.schemas.config import ProviderIn, RouteIn

    route = RouteIn(name="r", providers=("a",))
    first = {"providers": (ProviderIn(name="a"),), "routes": (route,)}
    with running(tmp_path, **first) as service:
        service.client.patch("/v1/providers/a", json={"paused": True})
    with running(tmp_path, **first) as service:
        assert service.get("/v1/providers/a")["paused"] is True, "the API came later"
    edited = {"providers": (ProviderIn(name="a", tags=("new",)),), "routes": (route,)}
    with running(tmp_path, **edited) as service:
        assert service.get("/v1/providers/a")["tags"] == ["new"]
        assert service.client.get("/v1/routes/quickstart").status_code == 404


def test_an_entry_of_the_settings_that_is_edited_back_is_applied_again(tmp_path: Path) -> None:
    from api.schemas.config import PriceIn, ProviderIn, RouteIn

    def lists(tag: str, usd: float) -> dict[str, Any]:
        return {
            "providers": (ProviderIn(name="a", tags=(tag,)),),
            "prices": (PriceIn(provider="a", input_usd_per_mtok=usd, output_usd_per_mtok=usd),),
            "routes": (RouteIn(name="r", providers=("a",)),),
        }

    for tag, usd in (("first", 1.0), ("second", 2.0), ("first", 1.0), ("first", 1.0)):
        with running(tmp_path, **lists(tag, usd)) as service:
            provider = service.get("/v1/providers/a")
            price = service.get(f"/v1/prices/{provider['price_id']}")
            assert (provider["tags"], price["input_usd_per_mtok"]) == ([tag], usd)
            written = len(service.get("/v1/audit")["items"])
    assert written == 3 + 2 + 2, "each edit once, and nothing where nothing was edited"


def test_a_price_of_the_settings_goes_on_when_its_date_has_passed(tmp_path: Path, clock: Clock) -> None:
    from api.schemas.config import PriceIn, ProviderIn, RouteIn

    soon = datetime.fromtimestamp(time.time() + 3_600, UTC)
    declared: dict[str, Any] = {
        "providers": (ProviderIn(name="a"),),
        "prices": (
            PriceIn(provider="a", input_usd_per_mtok=1.0, output_usd_per_mtok=1.0),
            PriceIn(provider="a", input_usd_per_mtok=2.0, output_usd_per_mtok=2.0, effective_at=soon),
        ),
        "routes": (RouteIn(name="r", providers=("a",)),),
    }
    with running(tmp_path, clock=clock, **declared):
        pass
    clock.ahead_s = 7_200.0
    with running(tmp_path, clock=clock, **declared) as service:

        def usd() -> float:
            price_id = service.get("/v1/providers/a")["price_id"]
            found: float = service.get(f"/v1/prices/{price_id}")["input_usd_per_mtok"]
            return found

        service.until(lambda: usd() == 2.0)


# What comes late


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
    assert "first" not in served.open
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
    told = service.post("/v1/feedback", {"session_id": "s", "value": 1.0}, status=200)
    assert told["decision_ids"] == ["young"]
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
