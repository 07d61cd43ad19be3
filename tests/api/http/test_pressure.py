"""When more comes than can be taken, and when the service ends: refused at once, and nothing is lost."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.api.store import Query, open_store
from tests.api.running import Running, bearer, running, settings_for
from tests.paths import HANGS_S


def test_too_many_requests_at_once_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, max_in_flight=4) as service:
        store, original = service.service.store, service.service.store.append
        go = threading.Event()

        def slow(rows: Any) -> Any:
            go.wait(HANGS_S)
            return original(rows)

        monkeypatch.setattr(store, "append", slow)
        body = {"route": "quickstart", "prompt": "x"}

        def post(_: int) -> tuple[int, float, str | None]:
            started = time.monotonic()
            response = service.client.post("/v1/decisions", json=body)
            return response.status_code, time.monotonic() - started, response.headers.get("retry-after")

        with ThreadPoolExecutor(12) as pool:
            futures = [pool.submit(post, i) for i in range(12)]
            # Four wait to be written; the others are refused meanwhile.
            service.until(lambda: sum(future.done() for future in futures) == 8)
            go.set()
            answers = [future.result() for future in futures]
        assert sorted({code for code, _, _ in answers}) == [200, 503]
        assert sum(code == 200 for code, _, _ in answers) == 4
        assert all(after == "1" for code, _, after in answers if code == 503)
        assert service.decide()["id"]


def test_a_refusal_leaves_the_connection_as_it_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, max_in_flight=1) as service:
        store, original = service.service.store, service.service.store.append
        go = threading.Event()

        def slow(rows: Any) -> Any:
            go.wait(HANGS_S)
            return original(rows)

        monkeypatch.setattr(store, "append", slow)
        body = {"route": "quickstart", "prompt": "x"}
        with (
            ThreadPoolExecutor(1) as pool,
            httpx.Client(base_url=f"http://127.0.0.1:{service.port}") as client,
        ):
            first = pool.submit(service.client.post, "/v1/decisions", json=body)
            service.until(lambda: service.service.metrics.in_flight == 1)
            refused = client.post("/v1/decisions", json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["type"] == "urn:fairlead:problem:overloaded"
            assert "connection" not in refused.headers
            # What says whether it is alive is answered however busy it is, on the same connection.
            assert client.get("/livez").status_code == 200
            # A body that nobody expects would be taken for the next answer.
            assert client.head("/v1/routes").status_code == 503
            assert client.get("/livez").json() == {"status": "alive"}
            # Of a long body, or one of unknown length, the rest is not waited for.
            long = client.post("/v1/decisions", content=b"x" * 200_000)
            assert (long.status_code, long.headers["connection"]) == (503, "close")
            chunked = client.post("/v1/decisions", content=iter([b"{}"]))
            assert (chunked.status_code, chunked.headers["connection"]) == (503, "close")
            go.set()
            assert first.result().status_code == 200
            assert client.post("/v1/decisions", json=body).status_code == 200
            metrics = client.get("/metrics").text
        assert 'fairlead_http_requests_total{method="any",path="unmatched",status="503"} 4.0' in metrics


def test_ending_answers_what_is_in_flight_and_loses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    service = Running(settings_for(tmp_path, url)).until_ready()
    acknowledged: list[str] = []

    def ask(number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=HANGS_S) as client:
            for _ in range(10_000):
                try:
                    response = client.post("/v1/decisions", json={"route": "quickstart", "prompt": "x"})
                except httpx.HTTPError:
                    return
                if response.status_code == 200:
                    acknowledged.append(response.json()["id"])

    threads = [threading.Thread(target=ask, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    service.until(lambda: len(acknowledged) > 50)
    service.stop()
    for thread in threads:
        thread.join()
    store = open_store(url, read_only=True)
    written = {row.decision_id for row in store.rows(Query(limit=100_000, kind="decision"))}
    store.close()
    assert set(acknowledged) <= written


def test_answers_that_are_written_at_once_are_framed_like_all_others(tmp_path: Path) -> None:
    body = b'{"route": "quickstart", "prompt": "x"}'

    def request(version: str, *more: str) -> bytes:
        lines = [f"POST /v1/decisions HTTP/{version}", "Host: 127.0.0.1", "Content-Type: application/json"]
        lines += [f"Authorization: Bearer {admin}"]  # HTTP/1.0 is of proxies, which need a key
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", *more, "", ""]).encode() + body

    with running(tmp_path) as service:
        _, admin = service.make_key(None, scopes=["admin"])
        for sent, count in (
            (request("1.1") + request("1.1") + request("1.1", "Connection: close"), 3),
            (request("1.0"), 1),
            (request("1.1", "Expect: 100-continue", "Connection: close"), 1),
        ):
            with socket.create_connection(("127.0.0.1", service.port), timeout=HANGS_S) as client:
                client.sendall(sent)
                rest = b"".join(iter(lambda: client.recv(65_536), b""))
            rest = rest.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            for left in reversed(range(count)):
                head, _, rest = rest.partition(b"\r\n\r\n")
                status, *lines = head.decode().lower().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines)
                assert status == "http/1.1 200 ok"
                assert {"date", "content-length", "content-type"} <= headers.keys()
                assert (headers.get("connection") == "close") == (left == 0)
                length = int(headers["content-length"])
                assert json.loads(rest[:length])["selected"]
                rest = rest[length:]
            assert rest == b""
        metrics = service.client.get("/metrics", headers=bearer(admin)).text
        assert 'path="/v1/decisions",status="200"} 5.0' in metrics
