"""Bad input gets a problem that repeats nothing of it, and the service goes on."""

import html
import http.client
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.running import Running, running

OK = b'{"route":"quickstart","prompt":"x","dry_run":true}'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("input")
    with running(folder, request_timeout_s=1.0, header_timeout_s=1.0) as started_service:
        yield started_service


def send(service: Running, body: bytes, path: str = "/v1/decisions", **headers: str) -> tuple[int, Any]:
    names = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    response = service.client.post(path, content=body, headers=names)
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()


def nested(depth: int) -> bytes:
    return b'{"route":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[1,2]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"route":"quickstart","prompt":"\xff\xfe"}', 400),
        (b'{"route":"quickstart","prompt":"\\ud800"}', 400),
        (nested(1_000), 400),
        (nested(100_000), 400),
        (nested(50), 422),
        (b'{"route":"quick\\u0000start","prompt":"x"}', 422),
        (b'{"route":"quickstart","prompt":"x","tags":{"a":"b\\u0000"}}', 422),
        (b'{"route":"quickstart","prompt":"x","colour":1}', 422),
        (b'{"route":"quickstart","prompt":1}', 422),
        (b'{"route":"quickstart","prompt":"x","embedding":[1]}', 422),
        (b'{"route":"quickstart"}', 422),
        (b'{"route":"quickstart","features":[NaN]}', 422),
        (b'{"route":"quickstart","features":[Infinity]}', 422),
        (b'{"route":"quickstart","features":[1e999]}', 422),
        (b'{"route":"quickstart","features":[1e308]}', 422),
        (b'{"route":"quickstart","features":["nan"]}', 422),
        (b'{"route":"quickstart","prompt":"x","attributes":{"a":NaN}}', 422),
        (b'{"route":"quickstart","prompt":"x","input_tokens":-1}', 422),
        (b'{"route":"quickstart","prompt":"x","input_tokens":1e308}', 422),
        (b'{"route":"quickstart","prompt":"x","input_tokens":99999999999999999999999}', 422),
        (b'{"route":"quickstart","prompt":"x","objective":{"dial":11}}', 422),
        (b'{"route":"quickstart","prompt":"x","id":"' + b"a" * 129 + b'"}', 422),
        (b'{"route":"quickstart","prompt":"x","id":"a b"}', 422),
        (b'{"route":"quickstart","prompt":"x","constraints":{"max_cost_usd":-1}}', 422),
        (b'{"route":"quickstart","prompt":"x","candidates":[]}', 422),
    ],
)
def test_a_bad_decision_is_refused(service: Running, body: bytes, status: int) -> None:
    assert send(service, body)[0] == status
    assert send(service, OK)[0] == 200


@pytest.mark.parametrize(
    "value", ["NaN", "-Infinity", "1e999", "1e308", '"nan"', '"true"', "[1]", "-0.001", "1.001"]
)
def test_a_bad_value_never_reaches_a_model(service: Running, value: str) -> None:
    service.decide(id="judged")
    body = b'{"decision_id":"judged","value":' + value.encode() + b"}"
    assert send(service, body, "/v1/feedback")[0] == 422
    body = b'{"cost_usd":' + value.encode() + b"}"
    if value not in ("1.001",):
        assert send(service, body, "/v1/decisions/judged/outcome")[0] == 422


def test_tokens_have_to_add_up(service: Running) -> None:
    service.decide(id="tokens")
    for usage in (
        {"input_tokens": 1, "output_tokens": 1, "cached_tokens": 2},
        {"input_tokens": -1, "output_tokens": 1},
    ):
        body = json.dumps({"usage": usage}).encode()
        assert send(service, body, "/v1/decisions/tokens/outcome")[0] == 422


def test_nothing_that_was_sent_comes_back(service: Running) -> None:
    secret = "correct horse battery staple"
    for body in (
        {"route": "quickstart", "prompt": [secret]},
        {"route": secret, "prompt": "x"},
        {"route": "quickstart", "prompt": "x", "task": {"a": secret}},
        {"route": "quickstart", "prompt": "x", "session_id": secret},
    ):
        status, problem = send(service, json.dumps(body).encode())
        assert status == 422
        assert secret not in json.dumps(problem)


def test_only_the_first_ten_errors_are_told_and_names_are_cut(service: Running) -> None:
    body = {"route": "quickstart", "prompt": "x", **{f"k{i}": 1 for i in range(50)}, "y" * 5_000: 1}
    status, problem = send(service, json.dumps(body).encode())
    assert status == 422
    assert problem["detail"].startswith("51 errors")
    assert len(problem["errors"]) == 10
    assert len(json.dumps(problem)) < 4_000


def test_a_hundred_thousand_keys_do_not_hold_the_service(service: Running) -> None:
    body = json.dumps({"route": "quickstart", **{f"k{i}": 1 for i in range(80_000)}}).encode()
    assert len(body) < 1_048_576
    times, parses = [], []
    for _ in range(3):
        started = time.process_time()
        status, problem = send(service, body)
        sent = time.process_time()
        json.loads(body)
        times.append(sent - started)
        parses.append(time.process_time() - sent)
        assert status == 422
        assert problem["errors"] is None
    # Against the time that reading the keys once takes on this machine, whatever its speed: about as long.
    # FastAPI's own answer, with an error for each key, took more than twenty times as long.
    assert min(times) < 10 * min(parses)


def test_a_batch_of_ten_thousand_patterns_does_not_hold_the_service(service: Running) -> None:
    def batch(patterns: list[list[str]]) -> bytes:
        ask = {"route": "quickstart", "prompt": "x", "dry_run": True}
        return json.dumps({"decisions": [{**ask, "constraints": {"ignore": p}} for p in patterns]}).encode()

    path = "/v1/decisions/batch"
    same = [f"{i}*" for i in range(100)]
    assert send(service, batch([same] * 50), path)[0] == 200
    many = [[f"{'*a' * 30}{j}b{i}" for i in range(100)] for j in range(100)]
    assert send(service, batch(many), path)[0] == 422


def test_a_prompt_of_ten_megabytes_is_refused_by_its_size(service: Running) -> None:
    body = json.dumps({"route": "quickstart", "prompt": "x" * 10_000_000}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.putrequest("POST", "/v1/decisions")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413, "refused before it was sent"
    assert len(response.read()) < 1_000
    connection.close()


def test_a_body_is_counted_and_not_believed(service: Running) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    try:
        response = service.client.post(
            "/v1/decisions", content=chunks(), headers={"Content-Type": "application/json"}
        )
        assert response.status_code == 413
    except Exception as error:  # the server may close while the rest is still being sent
        assert "httpx" in type(error).__module__
    assert send(service, OK)[0] == 200


def test_compressed_bodies_and_other_kinds_are_refused(service: Running) -> None:
    assert send(service, OK, Content_Encoding="gzip")[0] == 415
    assert send(service, OK, Content_Type="text/plain")[0] == 415
    assert send(service, OK, Content_Type="multipart/form-data; boundary=x")[0] == 415
    assert send(service, OK, Content_Type="application/json; charset=utf-8")[0] == 200


def test_unknown_addresses_methods_and_query_parameters_are_refused(service: Running) -> None:
    assert service.client.get("/nowhere").status_code == 404
    assert service.client.get("/nowhere").headers["content-type"] == "application/problem+json"
    wrong = service.client.delete("/v1/decisions")
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["allow"]
    for path in ("/v1/decisions?a=1", "/v1/feedback?a"):
        assert send(service, OK, path)[0] == 422
    for path in ("/v1/decisions/x?a=1", "/v1/routes?a=1", "/livez?a=1", "/v1/routes/quickstart/state?a=1"):
        assert service.client.get(path).status_code == 422, path
    for path in ("/docs?v=1", "/openapi.json?v=1"):  # tools add such parameters to get around a cache
        assert service.client.get(path).status_code == 200, path


@pytest.mark.parametrize("name", ["a" * 500, "%00", "%ff%fe", "..%2f..", "a%20b", "%E2%82%AC", "' OR 1=1 --"])
def test_strange_ids_in_an_address_are_not_found(service: Running, name: str) -> None:
    assert service.client.get(f"/v1/decisions/{name}").status_code == 404
    outcome = service.client.post(f"/v1/decisions/{name}/outcome", json={"cost_usd": 1.0})
    assert outcome.status_code == 404
    assert service.client.get(f"/v1/keys/{name}").status_code == 404
    assert service.client.get(f"/v1/prices/{name}").status_code == 404


def received(connection: socket.socket, seconds: float) -> bytes:
    """Read until the other side closes; fails if it does not."""
    connection.settimeout(seconds)
    received_bytes = b""
    while chunk := connection.recv(65_536):
        received_bytes += chunk
    return received_bytes


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /v1/deci", b"POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-"],
    ids=["silent", "half a line", "half of the headers"],
)
def test_connections_that_do_not_get_on_are_closed(service: Running, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(start)
        assert received(connection, 5.0) == b""


@pytest.mark.parametrize(
    "start",
    [
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ",
        (
            b"POST /v1/decisions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\n0\r\nX-Long: "
        ),
    ],
    ids=["headers", "trailers"],
)
def test_headers_without_end_are_cut_off(service: Running, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.settimeout(5.0)
        connection.sendall(start)
        with pytest.raises(OSError):
            for _ in range(200):
                connection.sendall(b"x" * 100_000)
    # Long ones with an end are served.
    long = service.client.get("/livez", headers={"X-Long": "x" * 30_000})
    assert long.status_code == 200


def test_a_body_that_does_not_come_is_answered_and_closed(service: Running) -> None:
    names = b"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    head = b"POST /v1/decisions HTTP/1.1\r\n" + names + b"{"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head)
        assert b"408" in received(connection, 5.0).splitlines()[0]


def test_the_documents_need_no_network(service: Running) -> None:
    page = service.client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "http://" not in page.text and "https://" not in page.text and "<script" not in page.text
    document = service.get("/openapi.json")
    for path in document["paths"]:
        assert path in page.text
    example = document["paths"]["/v1/decisions/{decision_id}/outcome"]["post"]["responses"]["200"]
    assert html.escape(json.dumps(example["content"]["application/json"]["example"], indent=2)) in page.text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_health_is_asked_for_without_a_body_too(service: Running, path: str) -> None:
    answer = service.client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
