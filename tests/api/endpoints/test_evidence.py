"""Evidence over HTTP, and the command that sends it."""

import json

import pytest

from fairlead.api.cli.warm_start import WarmStartOptions, warm_start
from fairlead.optimizer.errors import InvalidInput
from tests.api.running import running


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("evidence")) as running_service:
        yield running_service


def rows(n, *, small=0.1, large=0.9):
    return [
        {
            "prompt": f"Where is parcel number {i}?",
            "task": "shipping",
            "answers": {
                "small": {"quality": small, "output_tokens": 30, "latency_s": 0.5},
                "large": {"quality": large, "output_tokens": 60},
            },
        }
        for i in range(n)
    ]


def know(service, body, status, route="quickstart", query=""):
    answer = service.client.post(f"/v1/routes/{route}/evidence{query}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_what_is_known_counts_in_the_next_decision(tmp_path):
    with running(tmp_path) as service:
        before = service.decide(prompt="Where is parcel number 7?", task="shipping", dry_run=True)
        body = {"source": "evals", "rows": rows(200)}
        preview = know(service, body, 200, query="?preview=true")
        assert (preview["preview"], preview["seq"], preview["rows"]) == (True, None, 200)
        logged = know(service, body, 201)
        assert logged["answers"] == {"large": 200, "small": 200}
        service.until(service.settled)
        after = service.decide(prompt="Where is parcel number 7?", task="shipping", dry_run=True)
        small = [next(c for c in each["candidates"] if c["provider"] == "small") for each in (before, after)]
        assert small[1]["expected"]["quality"] < small[0]["expected"]["quality"] - 0.1
        assert small[1]["expected"]["cost_usd"] < small[0]["expected"]["cost_usd"]
        assert small[1]["expected"]["latency_s"] == pytest.approx(0.5, rel=0.2)
        state = service.client.get("/v1/routes/quickstart/state").json()
        assert state["evidence"]["evals"]["rows"] == 200
        assert 0.5 < state["evidence"]["evals"]["quality_trust"] < 0.6
        assert state["providers"]["small"]["evidence_share"] == 1.0
        know(service, {"source": "evals", "rows": []}, 201)
        service.until(service.settled)
        assert service.client.get("/v1/routes/quickstart/state").json()["evidence"] == {}


def test_evidence_survives_a_restart_and_a_rebuild(tmp_path):
    with running(tmp_path) as service:
        know(service, {"source": "evals", "rows": rows(60)}, 201)
        mean = {"task": "sql", "answers": {"small": {"quality": 0.7, "count": 90}}}
        know(service, {"source": "evals", "part": 1, "rows": [mean]}, 201)
        for i in range(6):
            service.decide(id=f"d{i}")
            service.post("/v1/feedback", {"decision_id": f"d{i}", "value": 0.5}, status=200)
        service.until(service.settled)
        state = service.client.get("/v1/routes/quickstart/state").json()
    assert state["evidence"]["evals"]["rows"] == 61
    for without_snapshot in (False, True):
        if without_snapshot:
            for path in sorted((tmp_path / "state").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
        with running(tmp_path) as service:
            again = service.client.get("/v1/routes/quickstart/state").json()
            assert {**again, "age_s": 0.0} == {**state, "age_s": 0.0}


def test_false_evidence_fades_as_answers_come(tmp_path):
    with running(tmp_path) as service:
        know(service, {"source": "false", "rows": rows(200, small=0.9, large=0.1)}, 201)
        for i in range(80):
            name = service.decide(id=f"d{i}", prompt=f"Where is parcel number {i}?")["selected"]
            value = {"small": 0.2, "large": 0.8}[name] + 0.1 * (-1) ** i
            service.post("/v1/feedback", {"decision_id": f"d{i}", "value": value}, status=200)
        service.until(service.settled)
        state = service.client.get("/v1/routes/quickstart/state").json()
        assert state["evidence"]["false"]["quality_trust"] < 0.05
        assert state["providers"]["large"]["quality"] > state["providers"]["small"]["quality"]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (
            {"rows": [{"prompt": "a", "answers": {"gpt-9": {"quality": 1}}}]},
            "about 'gpt-9', which is not on the route: add it first",
        ),
        ({"rows": [{"prompt": "a", "answers": {"small": {"quality": 4}}}]}, "quality of 'small' in row 0"),
        (
            {"metric": "stars", "rows": [{"prompt": "a", "answers": {"small": {"quality": 4}}}]},
            "There is no metric 'stars': the route has quality",
        ),
        (
            {"metric": "quality", "rows": [{"prompt": "a", "answers": {"small": {"quality": 4}}}]},
            "quality is 4, outside [0, 1]: send a value within the range that the route declares",
        ),
        ({"rows": [*rows(2), *rows(1)]}, "Rows 0 and 2 have the same prompt: give one row, with means"),
        ({"rows": [{"features": [1.0], "answers": {"small": {"quality": 1}}}]}, "features have shape (1,)"),
        ({"rows": [{"prompt": "a", "answers": {}}]}, "rows"),
        ({"rows": [{"prompt": "a", "features": [1.0], "answers": {"small": {}}}]}, "rows"),
        ({"rows": rows(1) * 5_001}, "rows"),
    ],
)
def test_evidence_that_cannot_be_used_is_refused(service, body, detail):
    problem = know(service, {"source": "evals", **body}, 422)
    assert detail in json.dumps(problem)
    assert service.client.get("/v1/routes/quickstart/state").json()["evidence"] == {}


def test_nan_is_no_json(service):
    answer = service.client.post(
        "/v1/routes/quickstart/evidence",
        content='{"source":"e","rows":[{"answers":{"small":{"quality":NaN}}}]}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (400, 422)


def test_an_unknown_route_is_not_found(service):
    know(service, {"source": "evals", "rows": rows(1)}, 404, route="nothing")


def send(service, path, *, route="quickstart", **more):
    url = service if isinstance(service, str) else f"http://127.0.0.1:{service.port}"
    warm_start(WarmStartOptions(route=route, file=path, url=url, **more))


def test_the_command_sends_a_file_in_parts(tmp_path, capsys, monkeypatch):
    path = tmp_path / "evals.jsonl"
    lines = [
        {"prompt": f"text {i}", "model": name, "quality": stars}
        for i in range(40)
        for name, stars in (("small", 2), ("large", 5), ("other/model", 5))
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.setattr("fairlead.api.cli.warm_start._PART_BYTES", 2_000)
    with running(tmp_path) as service:
        with pytest.raises(InvalidInput, match=r"quality is '2' in row 1 .*--quality-range"):
            send(service, path)
        with pytest.raises(
            InvalidInput, match=r"other/model are not on route 'quickstart'.*--ignore-unknown"
        ):
            send(service, path, quality_range="1:5")
        send(service, path, quality_range="1:5", ignore_unknown=True, preview=True)
        assert "quickstart would take in 40 rows of 'evals.jsonl'" in capsys.readouterr().out
        assert service.client.get("/v1/routes/quickstart/state").json()["evidence"] == {}
        for _ in range(2):  # a repetition changes nothing
            send(service, path, quality_range="1:5", ignore_unknown=True)
            printed = capsys.readouterr().out
            assert "Left out, because they are not on the route: other/model." in printed
            assert "took in 40 rows of 'evals.jsonl'; answers by provider: large 40, small 40." in printed
            service.until(service.settled)
            state = service.client.get("/v1/routes/quickstart/state").json()["evidence"]
            assert state["evals.jsonl"]["rows"] == 40
        with pytest.raises(InvalidInput, match="/v1/routes/nothing: There is no route of this name"):
            send(service, path, route="nothing", quality_range="1:5")
    with pytest.raises(InvalidInput, match=r"no service answers at http://127\.0\.0\.1:9"):
        send("http://127.0.0.1:9", path, quality_range="1:5")
    with pytest.raises(InvalidInput, match="the address of the service is 'localhost:1'"):
        send("localhost:1", path, quality_range="1:5")


def test_a_log_of_another_encoder_counts_without_its_features(tmp_path, capsys, service):
    path = tmp_path / "log.jsonl"
    line = {"decision_id": "d1", "provider": "small", "reward": 0.5, "features": [1.0, 2.0]}
    path.write_text(json.dumps({**line, "context": {"task": "a"}}))
    send(service, path, preview=True)
    printed = capsys.readouterr().out
    assert "1 rows have features of another width than" in printed
    assert "All rows are about small: of other providers nothing is known." in printed
