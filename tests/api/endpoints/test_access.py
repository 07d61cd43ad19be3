"""The threat model of docs/security.md: who may come in, and what a key may do."""

import asyncio
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from fairlead.api.cli.main import app
from fairlead.api.problems import Problem
from fairlead.api.service.auth import ANYBODY, check_address, is_loopback
from fairlead.api.service.keys import KeyService
from fairlead.api.state.configuration import Change, Configuration
from fairlead.optimizer.errors import InvalidInput
from tests.api.running import Running, bearer, running
from tests.paths import HANGS_S

PRICE = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}
ASK = {"route": "quickstart", "prompt": "x"}


# Who may come in


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_without_keys_no_other_address_is_listened_on(host: str) -> None:
    with pytest.raises(InvalidInput, match="create-key"):
        check_address(host, has_keys=False)
    check_address(host, has_keys=True)
    check_address("127.0.0.1", has_keys=False)


def test_the_command_refuses_to_listen_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["serve", "--host", "0.0.0.0"], ["serve", "--check", "--host", "0.0.0.0"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "there is no API key" in result.output


def test_without_keys_only_this_machine_is_served(service: Running) -> None:
    authenticator = service.service.authenticator
    from fairlead.api.problems import Problem

    assert authenticator.principal({b"host": b"127.0.0.1:1"}, client="127.0.0.1").key is None
    with pytest.raises(Problem, match="only this machine"):
        authenticator.principal({b"host": b"127.0.0.1"}, client="192.0.2.7")
    assert not is_loopback("192.0.2.7") and is_loopback("::1") and not is_loopback("nonsense")


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP"],
)
def test_without_keys_what_came_through_a_proxy_is_refused(service: Running, header: str) -> None:
    headers = {header: "127.0.0.1"}
    refused = service.client.post("/v1/decisions", json=ASK, headers=headers)
    assert refused.status_code == 403
    assert "create-key" in refused.json()["detail"]
    _, admin = service.make_key(None, scopes=["admin"])
    assert service.client.get("/v1/routes", headers=headers | bearer(admin)).status_code == 200


def test_without_keys_a_plain_proxy_is_told_by_its_version_of_http(service: Running) -> None:
    # What nginx sends if its configuration says proxy_pass and nothing else.
    start = b"GET /v1/keys HTTP/1.0\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % service.port
    assert raw(service, start).startswith(b"HTTP/1.1 403 ")
    assert raw(service, start.replace(b"HTTP/1.0", b"HTTP/1.1")).startswith(b"HTTP/1.1 200 ")


def raw(service: Running, start: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", service.port), timeout=HANGS_S) as connection:
        connection.sendall(start)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


def test_what_comes_after_a_body_in_chunks_is_no_header(service: Running) -> None:
    _, admin = service.make_key(None, scopes=["admin"])
    body = b'{"name": "mine", "scopes": ["admin"]}'
    key = b"Authorization: Bearer " + admin.encode() + b"\r\n"
    start = (
        b"POST /v1/keys HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nTransfer-Encoding: chunked\r\n%b\r\n%x\r\n%b\r\n0\r\n%b\r\n"
    )
    assert raw(service, start % (b"", len(body), body, key)).startswith(b"HTTP/1.1 401 ")
    foreign = b"Authorization: Bearer flk_x.y\r\nIdempotency-Key: z\r\n"
    assert raw(service, start % (key, len(body), body, foreign)).startswith(b"HTTP/1.1 201 ")


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.decide()
        written = list(tmp_path.glob("log.db*"))
        assert len(written) >= 4
        for path in written:
            assert path.stat().st_mode & 0o077 == 0, path
    for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    assert list((tmp_path / "state").rglob("*.npz"))


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8300", "127.0.0.1.evil.example", ""])
def test_without_keys_a_page_on_the_web_cannot_ask_through_a_browser(service: Running, host: str) -> None:
    response = service.client.post("/v1/decisions", json=ASK, headers={"Host": host})
    assert response.status_code in (400, 403), response.text
    assert service.client.post("/v1/decisions", json=ASK, headers={"Host": "localhost:1"}).status_code == 200


def test_from_the_first_key_on_everybody_needs_one(service: Running, admin: str) -> None:
    for method, path in (
        ("POST", "/v1/decisions"),
        ("GET", "/v1/routes"),
        ("GET", "/metrics"),
        ("GET", "/v1/keys"),
    ):
        response = service.client.request(method, path, json=ASK if method == "POST" else None)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert service.post("/v1/decisions", ASK, status=200, **bearer(admin))
    for path in ("/livez", "/readyz", "/docs", "/openapi.json"):
        assert service.client.get(path).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer x",
        "Basic Zmxr",
        "Bearer flk_",
        "Bearer flk_.",
        "Bearer flk_a.b",
        "Bearer " + "flk_" * 99,
        "Bearer flk_' OR '1'='1",
        "bearer flk_\xff.x",
    ],
)
def test_a_wrong_key_is_refused(service: Running, admin: str, header: str) -> None:
    response = service.client.get("/v1/routes", headers={"Authorization": header.encode("latin-1")})
    assert response.status_code == 401
    assert len(header) < 8 or header not in response.text


def test_a_key_with_one_letter_changed_is_refused(service: Running, admin: str) -> None:
    wrong = admin[:-1] + ("A" if admin[-1] != "A" else "B")
    assert service.client.get("/v1/routes", headers=bearer(wrong)).status_code == 401
    assert service.client.get("/v1/routes", headers=bearer(admin)).status_code == 200


def test_the_first_key_must_be_able_to_make_others(service: Running) -> None:
    assert service.post("/v1/keys", {"name": "a", "scopes": ["decide"]}, status=409)
    assert service.post("/v1/decisions", ASK, status=200)


def test_the_last_admin_cannot_be_removed_or_weakened(service: Running, admin: str) -> None:
    (key,) = service.get("/v1/keys", **bearer(admin))["items"]
    path = f"/v1/keys/{key['id']}"
    assert service.client.delete(path, headers=bearer(admin)).status_code == 409
    for patch in ({"scopes": ["read"]}, {"expires_at": "2020-01-01T00:00:00Z"}):
        assert service.client.patch(path, json=patch, headers=bearer(admin)).status_code == 409
    assert service.get("/v1/keys", **bearer(admin))


def test_of_two_admins_that_are_removed_at_once_one_stays(service: Running, admin: str) -> None:
    """A third key does not help: it has expired."""
    (first,) = service.get("/v1/keys", **bearer(admin))["items"]
    second, _ = service.make_key(admin, scopes=["admin"])
    service.make_key(admin, scopes=["admin"], expires_at="2020-01-01T00:00:00Z")
    keys = KeyService(service.service)

    async def remove_both() -> list[Any]:
        removals = (keys.remove(name, ANYBODY, preview=False) for name in (first["id"], second))
        return await asyncio.gather(*removals, return_exceptions=True)

    removed, refused = service.run(remove_both())
    assert isinstance(refused, Problem) and refused.status == 409, (removed, refused)
    assert second in keys.all()


def test_a_key_that_can_change_keys_cannot_be_limited(service: Running, admin: str) -> None:
    for limit in ({"routes": ["quickstart"]}, {"sources": ["human"]}):
        body = {"name": "n", "scopes": ["admin"], **limit}
        report = service.post("/v1/keys", body, status=422, **bearer(admin))
        assert "cannot be limited" in report["detail"]
    name, _ = service.make_key(admin, scopes=["decide"], routes=["quickstart"])
    patched = service.client.patch(f"/v1/keys/{name}", json={"scopes": ["admin"]}, headers=bearer(admin))
    assert patched.status_code == 422


# What a key may do


def test_each_scope_opens_its_own_addresses_only(service: Running, admin: str) -> None:
    scopes = ("decide", "outcome", "feedback", "read")
    keys = {scope: service.make_key(admin, scopes=[scope])[1] for scope in scopes}
    service.post("/v1/decisions", {**ASK, "id": "d"}, status=200, **bearer(admin))
    report = {"decision_id": "d", "value": 1.0}
    addresses = {
        "decide": [("POST", "/v1/decisions", ASK), ("POST", "/v1/decisions/batch", {"decisions": [ASK]})],
        "feedback": [
            ("POST", "/v1/feedback", report),
            ("POST", "/v1/feedback/batch", {"feedback": [report]}),
        ],
        "outcome": [("POST", "/v1/decisions/d/outcome", {"cost_usd": 0.1})],
        "read": [
            ("GET", path, None)
            for path in ("/v1/decisions/d", "/v1/routes", "/v1/providers", "/v1/prices", "/metrics",
                         "/v1/routes/quickstart/state", "/v1/routes/quickstart")
        ],
        "admin": [
            ("GET", "/v1/keys", None),
            ("GET", "/v1/audit", None),
            ("POST", "/v1/keys", {"name": "x", "scopes": ["read"]}),
            ("POST", "/v1/providers", {"name": "x"}),
            ("PATCH", "/v1/providers/small", {"paused": False}),
            ("DELETE", "/v1/routes/quickstart?preview=true", None),
            ("POST", "/v1/prices", {**PRICE, "provider": "small"}),
            ("POST", "/v1/routes/quickstart/evidence?preview=true", {"source": "x", "rows": []}),
        ],
    }  # fmt: skip
    for needed, requests in addresses.items():
        for method, path, body in requests:
            for scope, key in keys.items():
                response = service.client.request(method, path, json=body, headers=bearer(key))
                assert (response.status_code == 403) == (scope != needed), (
                    scope,
                    method,
                    path,
                    response.text,
                )
            response = service.client.request(method, path, json=body, headers=bearer(admin))
            assert response.status_code in (200, 201), (method, path, response.text)


def test_a_key_for_one_route_cannot_touch_another(service: Running, admin: str) -> None:
    service.post("/v1/routes", {"name": "other", "providers": ["small"]}, status=201, **bearer(admin))
    _, key = service.make_key(admin, scopes=["decide", "outcome", "feedback", "read"], routes=["other"])
    service.post("/v1/decisions", {**ASK, "id": "d"}, status=200, **bearer(admin))
    assert service.post("/v1/decisions", ASK, status=403, **bearer(key))
    # It is not told that there is such a decision: what it says waits for one of its own.
    report = service.post("/v1/feedback", {"decision_id": "d", "value": 0.0}, status=200, **bearer(key))
    outcome = service.post("/v1/decisions/d/outcome", {"cost_usd": 9.0}, status=200, **bearer(key))
    assert report["state"] == outcome["state"] == "parked"
    assert service.get("/v1/decisions/d", **bearer(admin))["events"] == []
    for path in ("/v1/decisions/d", "/v1/routes/quickstart", "/v1/routes/quickstart/state"):
        assert service.client.get(path, headers=bearer(key)).status_code == 404, path
    assert [item["name"] for item in service.get("/v1/routes", **bearer(key))["items"]] == ["other"]
    assert service.post("/v1/decisions", {**ASK, "route": "other"}, status=200, **bearer(key))


def test_feedback_sent_ahead_cannot_reach_another_route(service: Running, admin: str) -> None:
    """What waits for its decision waits for one of its own tenant."""
    service.post("/v1/routes", {"name": "other", "providers": ["small"]}, status=201, **bearer(admin))
    _, key = service.make_key(admin, scopes=["feedback"], routes=["other"])
    report = service.post("/v1/feedback", {"decision_id": "later", "value": 0.0}, status=200, **bearer(key))
    assert report["state"] == "parked"
    service.post("/v1/decisions", {**ASK, "id": "later"}, status=200, **bearer(admin))
    service.until(service.settled)
    assert service.service.engine.fold.counts["feedback", "parked"] == 1
    assert service.service.engine.fold.counts["feedback", "joined"] == 0
    assert service.service.engine.fold.routes["quickstart"].router._learner.counts == {}


def test_a_key_expires_and_a_rotated_one_ends_after_its_overlap(tmp_path: Path) -> None:
    now = [time.time()]
    with running(tmp_path, clock=lambda: now[0]) as service:
        _, admin = service.make_key(None, scopes=["admin"])
        until = datetime.fromtimestamp(now[0] + 60, UTC).isoformat()
        _, short = service.make_key(admin, scopes=["read"], expires_at=until)
        key_id, old = service.make_key(admin, scopes=["read"])
        new = service.post(f"/v1/keys/{key_id}/rotate", {"overlap_s": 30}, status=200, **bearer(admin))["key"]

        def works(key: str) -> bool:
            return service.client.get("/v1/routes", headers=bearer(key)).status_code == 200

        assert [works(key) for key in (short, old, new)] == [True, True, True]
        now[0] += 31
        assert [works(key) for key in (short, old, new)] == [True, False, True]
        now[0] += 31
        assert [works(key) for key in (short, old, new)] == [False, False, True]
        assert service.client.delete(f"/v1/keys/{key_id}", headers=bearer(admin)).status_code == 200
        assert not works(new)


def test_a_client_without_a_host_header_is_refused_while_there_are_no_keys(service: Running) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}") as client:
        request = client.build_request("GET", "/v1/routes")
        del request.headers["host"]
        request.headers["host"] = "attacker"
        assert client.send(request).status_code == 403


def test_a_key_of_an_older_release_reports_outcomes_only_if_it_decides_too() -> None:
    """Lines of 0.1.0 have no version; a snapshot keeps what they mean today."""
    config = Configuration()
    for name, scopes in (("a", ["admin"]), ("b", ["decide", "feedback"]), ("c", ["feedback"])):
        body = {"name": name, "scopes": scopes, "id": name, "sha256": "0" * 64}
        config = config.after(Change("key", name, "put", body))
    for kept in (config, Configuration.from_state(config.state())):
        assert kept.keys["b"].scopes == ("decide", "feedback", "outcome")
        assert kept.keys["c"].scopes == ("feedback",)
    today = config.keys["b"].model_copy(update={"scopes": ("decide", "feedback")})
    config = config.after(Change("key", "b", "put", today.model_dump(mode="json")))
    assert config.keys["b"].scopes == ("decide", "feedback")
