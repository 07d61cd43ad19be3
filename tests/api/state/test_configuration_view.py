"""The configuration in force: it holds at once, while what routes have learned is far behind."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.api.schemas.declarations import ProviderIn, RouteIn
from fairlead.api.service import decisions
from fairlead.api.state.configuration import Change
from fairlead.api.state.configuration_view import ConfigurationView, read_configuration
from fairlead.api.state.follower import Engine
from fairlead.api.store import Row, open_store
from fairlead.optimizer.errors import InvalidInput
from tests.api.running import Running, bearer, running
from tests.api.state.folds import fold_of, same
from tests.paths import HANGS_S
from tests.trials.states import new_fold


@pytest.fixture
def behind(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Yield a service that has stopped to learn."""
    drain = Engine._drain
    with running(tmp_path, store_url) as service:
        with monkeypatch.context() as patch:

            def held(engine: Engine) -> None:
                asyncio.get_running_loop().call_later(0.01, engine._drain)

            patch.setattr(Engine, "_drain", held)
            service.decide(id="waits")
            yield service
            assert "waits" not in service.service.engine.fold.routes["quickstart"].router._learner.ledger
            patch.setattr(Engine, "_drain", drain)
        service.until(service.settled)
        assert same(service.service.engine.fold, fold_of(store_url), tmp_path)


def test_a_key_that_is_removed_or_rotated_holds_no_longer(behind: Running) -> None:
    _, admin = behind.make_key(None, scopes=["admin"])
    first, token = behind.make_key(admin, scopes=["read"])
    assert behind.get("/v1/routes", **bearer(token))
    _, other = behind.make_key(admin, scopes=["read"])
    body = {"overlap_s": 0}
    rotated = behind.post(f"/v1/keys/{first}/rotate", body, status=200, **bearer(admin))["key"]
    behind.get("/v1/routes", status=401, **bearer(token))
    behind.get("/v1/routes", **bearer(rotated))
    assert behind.client.delete(f"/v1/keys/{first}", headers=bearer(admin)).status_code == 200
    behind.get("/v1/routes", status=401, **bearer(rotated))
    behind.get("/v1/routes", **bearer(other))


def test_what_a_change_forbids_holds_for_the_next_decision(behind: Running) -> None:
    def change(path: str, body: object) -> None:
        response = behind.client.patch(path, json=body)
        assert response.status_code == 200, response.text

    change("/v1/providers/small", {"paused": True})
    candidates = {entry["provider"]: entry for entry in behind.decide()["candidates"]}
    assert candidates["small"]["reason"] == "is marked unhealthy" and candidates["large"]["propensity"] == 1.0
    change("/v1/providers/small", {"paused": False})
    change("/v1/routes/quickstart", {"constraints": {"deny": ["large"]}})
    assert behind.decide()["selected"] == "small"
    change("/v1/routes/quickstart", {"constraints": {"deny": []}, "paused": True})
    assert behind.decide()["fallback_used"] == "the route is paused"
    change("/v1/routes/quickstart", {"paused": False, "default_provider": "large", "providers": ["large"]})
    answer = behind.decide()
    assert (answer["selected"], answer["fallback_used"]) == ("large", None)
    behind.post("/v1/providers", {"name": "third"}, status=201)
    change("/v1/routes/quickstart", {"default_provider": "third", "providers": ["third"]})
    answer = behind.decide(candidates=["third"])
    assert answer["selected"] == "third"
    assert answer["fallback_used"] == "the router has not learned the route's providers yet"
    assert behind.client.delete("/v1/routes/quickstart").status_code == 200
    behind.post("/v1/decisions", {"route": "quickstart", "prompt": "x"}, status=404)
    behind.post("/v1/routes", {"name": "quickstart", "providers": ["small", "large"]}, status=201)


def test_a_route_is_not_served_by_another_that_had_its_name(
    behind: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "_CREATION_WAIT_S", 0.01)
    assert behind.client.delete("/v1/routes/quickstart").status_code == 200
    body = {"name": "quickstart", "providers": ["small", "large"], "features": {"vector": 3}}
    behind.post("/v1/routes", body, status=201)
    ask = {"route": "quickstart", "features": [0.5, 0.0, 1.0]}
    problem = behind.post("/v1/decisions", ask, status=503)
    assert "is being created" in problem["detail"]


def test_a_body_that_arrives_after_its_key_was_removed_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        _, admin = service.make_key(None, scopes=["admin"])
        short, token = service.make_key(admin, scopes=["decide"])
        body = json.dumps({"route": "quickstart", "prompt": "x"}).encode()
        lines = [
            "POST /v1/decisions HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        with socket.create_connection(("127.0.0.1", service.port), timeout=HANGS_S) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:5])
            service.until(lambda: service.service.metrics.in_flight == 1)
            assert service.client.delete(f"/v1/keys/{short}", headers=bearer(admin)).status_code == 200
            connection.sendall(body[5:])
            assert connection.recv(1_000).startswith(b"HTTP/1.1 401 ")


def rows(*changes: Change) -> list[Row]:
    return [
        Row.config(change.line(), uid=f"c{seq}", at_s=0.0)._replace(seq=seq)
        for seq, change in enumerate(changes, 1)
    ]


def put(body: ProviderIn | RouteIn) -> Change:
    entity = "provider" if isinstance(body, ProviderIn) else "route"
    return Change(entity, body.name, "put", body.model_dump(mode="json"))


def test_an_impossible_change_is_refused_and_the_rest_is_followed_once() -> None:
    view = ConfigurationView()
    log = rows(put(RouteIn(name="chat", providers=("a",))), put(ProviderIn(name="a")), *[
        put(RouteIn(name=name, providers=("a",))) for name in ("chat", "other", "chat")
    ])  # fmt: skip
    with pytest.raises(InvalidInput, match="create that provider first"):
        view.apply(log[0])
    assert view.config.routes == {} and list(view.refused) == [1]
    view.follow(log)
    view.follow(log)
    assert (view.seq, list(view.routes)) == (5, ["chat", "other"])
    # The last change left the route as it was.
    assert (view.routes["chat"].created, view.routes["chat"].changed) == (3, 3)
    copied = view.copy()
    copied.follow([row._replace(seq=9) for row in rows(Change("route", "chat", "remove", None))])
    assert "chat" in view.routes and "chat" not in copied.routes


UNREADABLE = [
    put(RouteIn(name="chat", providers=("a",))).line().replace('"tags"', '"labels"'),
    put(ProviderIn(name="b")).line().replace('"entity"', '"why": "", "entity"'),
    json.dumps({"entity": "experiment", "id": "x", "action": "put", "body": {"name": "x"}}),
    json.dumps({"entity": "experiment", "id": "x", "action": "remove", "body": None}),
    json.dumps({"entity": "provider", "id": "a", "action": "rename", "body": {"name": "b"}}),
    json.dumps({"entity": "key", "id": "k", "action": "put", "body": None}),
    "[]",
    "{",
]
"""Changes as a later release might write them, or as none does."""


@pytest.mark.parametrize("line", UNREADABLE)
def test_a_change_that_cannot_be_read_is_refused_and_those_after_it_hold(line: str) -> None:
    view, fold = ConfigurationView(), new_fold()
    log = [Row.config(line, uid="c1", at_s=0.0)._replace(seq=1)]
    log += [row._replace(seq=row.seq + 1) for row in rows(put(ProviderIn(name="a")))]
    view.follow(log)
    assert (list(view.refused), view.seq, list(view.config.providers)) == ([1], 2, ["a"])
    assert "this release cannot apply the change" in view.refused[1]
    for row in log:
        fold.apply(row)
    assert (fold.counts["config", "rejected"], list(fold.declared.config.providers)) == (1, ["a"])


def test_a_service_starts_and_follows_changes_although_some_cannot_be_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with running(tmp_path, url) as service:
        service.decide()
        for number, line in enumerate(UNREADABLE[:2]):
            row = Row.config(line, uid=f"later:{number}", at_s=0.0)
            service.run(service.service.append([row]))
        service.post("/v1/providers", {"name": "third"}, status=201)
    with running(tmp_path, url) as service:
        service.get("/v1/providers/third")
        service.post("/v1/providers", {"name": "fourth"}, status=201)
        assert service.decide()["fallback_used"] is None
        entries = service.get("/v1/audit")["items"]
        names = ["fourth", "third", "b", "chat"]
        assert [entry["id"] for entry in entries if entry["id"] in names] == names


def test_the_configuration_of_a_log_is_read_from_its_changes(tmp_path: Path, store_url: str) -> None:
    with running(tmp_path, store_url) as service:
        service.decide()
        in_force = service.service.engine.in_force
        assert in_force.routes == service.service.engine.fold.declared.routes
        store = open_store(store_url, read_only=True)
        again = read_configuration(store)
        store.close()
        assert (again.routes, again.config, again.seq) == (in_force.routes, in_force.config, in_force.seq)
