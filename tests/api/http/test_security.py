"""The threat model of docs/security.md: one test for each of its lines, named there."""

import hashlib
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fairlead.api.service.auth import TokenBucket, digest
from fairlead.api.state.fold import Fold
from fairlead.api.store import Query, open_store
from tests.api.running import Running, bearer, running
from tests.paths import ROOT

PRICE = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}
ASK = {"route": "quickstart", "prompt": "x"}


# What is kept of keys and prompts


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_of_a_key_only_a_digest_is_kept(tmp_path: Path, service: Running, admin: str) -> None:
    written = everything_written(tmp_path)
    assert admin.encode() not in written
    assert admin.partition(".")[2].encode() not in written
    assert digest(admin).encode() in written
    assert digest(admin) == hashlib.sha256(admin.encode()).hexdigest()
    assert len(admin.partition(".")[2]) >= 43, "256 random bits"
    for path in ("/v1/keys", "/v1/audit"):
        assert "sha256" not in json.dumps(service.get(path, **bearer(admin)))


@pytest.mark.parametrize("kept", [False, True])
def test_prompts_are_stored_only_where_the_operator_says_so(tmp_path: Path, kept: bool) -> None:
    secret = "Where is parcel QX-4711-ZZ?"
    with running(tmp_path, store_prompts=kept) as service:
        service.decide(prompt=secret)
        service.post(
            "/v1/decisions", {"route": "quickstart", "messages": [{"role": "user", "content": secret}]}
        )
    assert (secret.encode() in everything_written(tmp_path)) is kept


def test_nothing_that_was_sent_is_in_the_logs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    secret = "QX4711ZZ"
    with running(tmp_path, max_body_bytes=2_000) as service:
        _, admin = service.make_key(None, scopes=["admin"])
        names = {**bearer(admin), "Content-Type": "application/json"}
        for body in (
            {**ASK, "prompt": secret},
            {**ASK, secret: 1},
            {"route": secret, "prompt": "x"},
            secret * 999,
        ):
            service.client.post("/v1/decisions", content=json.dumps(body), headers=names)
        service.client.get(f"/v1/decisions/{secret}?{secret}={secret}", headers=names)
        service.client.get("/v1/routes", headers=bearer(f"flk_{secret}.{secret}"))
        service.client.get(f"/{secret}", headers=bearer(admin))

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError(secret)

        service.service.engine.fold.routes.get("quickstart")
        service.service.rows = fail  # type: ignore[method-assign, assignment]
        response = service.client.get("/v1/decisions/any", headers=bearer(admin))
        assert response.status_code == 500
        assert secret not in response.text
    own = [record for record in caplog.records if record.name.split(".")[0] in ("fairlead", "uvicorn")]
    written = "\n".join(f"{record.getMessage()} {record.exc_text or ''}" for record in own) + "".join(
        capfd.readouterr()
    )
    assert "RuntimeError in fail" in written, "what is wrong is said"
    for report in (secret, admin, admin.partition(".")[2]):
        assert report not in written


# How much one client can do


def test_a_bucket_refills_with_time() -> None:
    now = [0.0]
    bucket = TokenBucket(clock=lambda: now[0])
    assert [bucket.take("a", per_s=10) for _ in range(20)] == [0.0] * 20
    assert bucket.take("a", per_s=10) == pytest.approx(0.1)
    assert bucket.take("b", per_s=10) == 0.0
    now[0] += 0.1
    assert bucket.take("a", per_s=10) == 0.0


def test_a_key_over_its_rate_is_told_when_to_come_back(service: Running, admin: str) -> None:
    _, slow = service.make_key(admin, scopes=["read"], requests_per_s=1)
    answers = [service.client.get("/v1/routes", headers=bearer(slow)) for _ in range(8)]
    assert [answer.status_code for answer in answers[:2]] == [200, 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert service.client.get("/v1/routes", headers=bearer(admin)).status_code == 200


def test_no_rate_is_so_small_that_no_time_to_wait_can_be_told(service: Running, admin: str) -> None:
    body = {"name": "slow", "scopes": ["read"], "requests_per_s": 1e-320}
    service.post("/v1/keys", body, status=422, **bearer(admin))
    _, slow = service.make_key(admin, scopes=["read"], requests_per_s=1e-6)
    assert service.client.get("/v1/routes", headers=bearer(slow)).status_code == 200
    refused = service.client.get("/v1/routes", headers=bearer(slow))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1000000")


def test_one_key_cannot_judge_a_decision_without_end(tmp_path: Path) -> None:
    with running(tmp_path, feedback_per_decision=3) as service:
        service.decide(id="d")
        codes = []
        for i in range(5):
            response = service.client.post("/v1/feedback", json={"decision_id": "d", "value": i / 10})
            codes.append(response.status_code)
            service.until(service.settled)
        assert codes == [200, 200, 200, 429, 429]
        # Neither many at once nor sent ahead of the decision.
        service.decide(id="e")
        batch = {"feedback": [{"decision_id": "e", "value": i / 10} for i in range(5)]}
        items = service.post("/v1/feedback/batch", batch, status=200)["feedback"]
        assert [item["status"] for item in items] == codes
        for status in codes:
            service.post("/v1/feedback", {"decision_id": "f", "value": 1.0}, status=status)
            service.until(service.settled)
        service.decide(id="f")
        service.until(service.settled)
        assert service.post("/v1/feedback", {"decision_id": "f", "value": 1.0}, status=429)


def test_one_key_cannot_send_feedback_without_end(service: Running, admin: str) -> None:
    _, key = service.make_key(admin, scopes=["feedback"], feedback_per_minute=2)
    codes = [
        service.client.post(
            "/v1/feedback", json={"decision_id": f"d{i}", "value": 1.0}, headers=bearer(key)
        ).status_code
        for i in range(6)
    ]
    assert codes[0] == 200 and codes[-1] == 429


def test_one_key_cannot_report_outcomes_of_a_decision_without_end(tmp_path: Path) -> None:
    with running(tmp_path, outcomes_per_decision=2, feedback_per_decision=1) as service:
        service.decide(id="d")
        report = {"cost_usd": 0.001}
        first = service.post("/v1/decisions/d/outcome", {**report, "id": "first"}, status=200)
        for status in (200, 429, 429):
            service.post("/v1/decisions/d/outcome", report, status=status)
            service.until(service.settled)
        # What counted already is answered again, and the limit of feedback is another one.
        assert service.post("/v1/decisions/d/outcome", {**report, "id": "first"}, status=200) == first
        service.post("/v1/decisions/d/outcome", {"cost_usd": 0.5, "id": "first"}, status=429)
        service.post("/v1/feedback", {"decision_id": "d", "value": 1.0}, status=200)
        # Nor can they be sent ahead of the decision.
        for status in (200, 200, 429):
            service.post("/v1/decisions/e/outcome", report, status=status)
            service.until(service.settled)
        service.decide(id="e")
        service.until(service.settled)
        service.post("/v1/decisions/e/outcome", report, status=429)


def test_one_key_cannot_report_outcomes_without_end(service: Running, admin: str) -> None:
    _, key = service.make_key(admin, scopes=["outcome", "feedback"], outcomes_per_minute=2)
    service.post("/v1/decisions", {**ASK, "id": "d"}, status=200, **bearer(admin))
    codes = [
        service.client.post(
            "/v1/decisions/d/outcome", json={"cost_usd": 0.001}, headers=bearer(key)
        ).status_code
        for _ in range(4)
    ]
    assert codes == [200, 200, 429, 429]
    service.post("/v1/feedback", {"decision_id": "d", "value": 1.0}, status=200, **bearer(key))


def test_a_key_for_judgements_cannot_report_outcomes(service: Running, admin: str) -> None:
    _, widget = service.make_key(admin, scopes=["feedback"], sources=["human"], feedback_per_minute=1)
    service.post("/v1/decisions", {**ASK, "id": "d"}, status=200, **bearer(admin))
    outcome = {"latency_s": 1e6, "cost_usd": 10.0}
    problem = service.post("/v1/decisions/d/outcome", outcome, status=403, **bearer(widget))
    assert "'outcome'" in problem["detail"]
    service.until(service.settled)
    assert service.service.engine.fold.counts["outcome", "joined"] == 0


def test_one_source_moves_a_decision_by_its_weight_and_no_further(service: Running, admin: str) -> None:
    """A thousand judgements of one source on one decision weigh as much as one."""
    body = {"name": "rated", "providers": ["small"], "sources": {"human": 9.0, "code": 1.0}}
    service.post("/v1/routes", body, status=201, **bearer(admin))
    service.post("/v1/decisions", {**ASK, "route": "rated", "id": "d"}, status=200, **bearer(admin))
    service.post(
        "/v1/feedback", {"decision_id": "d", "value": 1.0, "source": "human"}, status=200, **bearer(admin)
    )
    for _ in range(40):
        service.post(
            "/v1/feedback", {"decision_id": "d", "value": 0.0, "source": "code"}, status=200, **bearer(admin)
        )
    service.until(service.settled)
    entry = service.service.engine.fold.routes["rated"].router.open_decision("d")
    assert entry is not None
    assert entry.reward == pytest.approx(0.9)


def test_a_key_judges_only_as_the_sources_it_may_speak_for(service: Running, admin: str) -> None:
    _, key = service.make_key(admin, scopes=["feedback"], sources=["code"])
    service.post("/v1/decisions", {**ASK, "id": "d"}, status=200, **bearer(admin))
    report = {"decision_id": "d", "value": 1.0}
    assert service.post("/v1/feedback", {**report, "source": "human"}, status=403, **bearer(key))
    assert service.post("/v1/feedback", {**report, "source": "code"}, status=200, **bearer(key))


def test_what_a_key_sent_can_be_left_out_of_a_replay(tmp_path: Path) -> None:
    """Every event names its key, so that a poisoned log can be folded without it."""
    with running(tmp_path) as service:
        _, admin = service.make_key(None, scopes=["admin"])
        bad_id, bad = service.make_key(admin, scopes=["feedback"])
        for i in range(5):
            service.post("/v1/decisions", {**ASK, "id": f"d{i}"}, status=200, **bearer(admin))
            service.post("/v1/feedback", {"decision_id": f"d{i}", "value": 0.0}, status=200, **bearer(bad))
    store = open_store(f"sqlite:///{tmp_path}/log.db", read_only=True)
    rows = store.rows(Query())
    store.close()
    fold = Fold(parked_wait_s=3_600.0, parked_limit=100)
    for row in rows:
        if json.loads(row.metadata).get("key") != bad_id:
            fold.apply(row)
    assert fold.counts["decision", "joined"] == 5
    assert fold.counts["feedback", "joined"] == 0


# What comes out


@pytest.mark.parametrize("text", ["'; DROP TABLE events; --", "x' OR '1'='1", '"; SELECT 1; --'])
def test_no_text_reaches_sql_as_code(tmp_path: Path, text: str) -> None:
    with running(tmp_path) as service:
        body = {**ASK, "prompt": text, "task": text, "tags": {"a": text}, "attributes": {"a": text}}
        service.post("/v1/decisions", {**body, "id": "d"}, status=200)
        service.post("/v1/feedback", {"decision_id": "d", "value": 1.0, "comment": text}, status=200)
        service.post("/v1/decisions", ASK, status=200, Idempotency_Key=text)
        assert service.get("/v1/decisions/d")["decision"]["tags"] == {"a": text}
    with sqlite3.connect(tmp_path / "log.db") as file:
        assert file.execute("SELECT count(*) FROM events").fetchone() == (8,)
    file.close()


def test_metrics_have_bounded_labels(service: Running) -> None:
    for i in range(20):
        service.client.get(f"/nowhere/{i}")
        service.client.get(f"/v1/decisions/made-up-{i}")
        service.client.request(f"MADEUP{i}", "/livez")
    text = service.client.get("/metrics").text
    assert "made-up" not in text and "MADEUP" not in text and "nowhere" not in text


def test_other_sites_may_not_read_answers(service: Running) -> None:
    names = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for response in (
        service.client.options("/v1/decisions", headers=names),
        service.client.post("/v1/decisions", json=ASK, headers={"Origin": "https://evil.example"}),
    ):
        assert "access-control-allow-origin" not in response.headers


def test_the_server_does_not_say_what_it_runs_on(service: Running) -> None:
    assert "server" not in service.client.get("/livez").headers


def names_in(*names: str) -> set[str]:
    """Return the names of the tests in some files below `tests/api`."""
    folders = (ROOT / "tests/optimizer/features", ROOT / "tests/api")
    files = {path.stem.removeprefix("test_"): path for each in folders for path in each.rglob("test_*.py")}
    texts = [files[name].read_text(encoding="utf-8") for name in names]
    return set(re.findall(r"^def (test_\w+)", "\n".join(texts), flags=re.MULTILINE))


_FILES = (
    "access", "evidence", "quarantine", "security", "input", "follower", "snapshots", "pressure", "writer",
    "store", "tenants", "terms", "texts",
)  # fmt: skip


def test_every_line_of_the_threat_model_has_its_test() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!threat|---)(.+) \|$", page, flags=re.MULTILINE)
    assert len(rows) >= 20
    named: set[str] = set()
    for row in rows:
        tests = set(re.findall(r"`(test_\w+)`", row))
        assert tests, f"no test stands in the line: {row}"
        named |= tests
    assert not named - names_in(*_FILES)
    assert names_in("access", "security") - named == {"test_every_line_of_the_threat_model_has_its_test"}
