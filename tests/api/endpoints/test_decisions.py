"""Ask and tell over HTTP, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.api.schemas.decisions import DecisionOut
from fairlead.api.store import Query, open_store
from fairlead.api.store.base import PAGE_ROWS
from tests.api.running import Running, running


@pytest.fixture
def service(tmp_path: Path, store_url: str) -> Iterator[Running]:
    with running(tmp_path, store_url) as decision:
        yield decision


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for tests that only ask."""
    with running(tmp_path_factory.mktemp("shared")) as decision:
        yield decision


def test_a_decision_is_a_draw_from_the_distribution_that_it_answers(shared: Running) -> None:
    decision = shared.decide(task="shipping", attributes={"tier": "gold", "items": 3, "gift": True})
    chances = {item["provider"]: item["propensity"] for item in decision["candidates"]}
    assert sum(chances.values()) == pytest.approx(1.0)
    assert decision["propensity"] == chances[decision["selected"]]
    assert decision["fallback_used"] is None
    assert {decision["selected"], *decision["fallbacks"]} == {"small", "large"}
    assert all(item["eligible"] and item["reason"] is None for item in decision["candidates"])


def test_what_is_told_changes_the_next_decision(service: Running) -> None:
    first = service.decide(id="order-17")
    service.post("/v1/feedback", {"decision_id": "order-17", "value": 1.0}, status=200)
    second = service.decide()
    assert [item["propensity"] for item in first["candidates"]] != [
        item["propensity"] for item in second["candidates"]
    ]
    assert second["state_seq"] > first["state_seq"]
    service.until_ready()
    assert service.decide()["model_version"] > first["model_version"]


def test_the_same_id_gets_the_same_answer_and_counts_once(service: Running) -> None:
    body = {"route": "quickstart", "prompt": "Where is my parcel?", "id": "a"}
    first = service.post("/v1/decisions", body, status=200)
    assert all(service.post("/v1/decisions", body, status=200) == first for _ in range(5))
    problem = service.post("/v1/decisions", {**body, "prompt": "another"}, status=409)
    assert problem["type"] == "urn:fairlead:problem:conflict"
    assert service.get("/v1/routes/quickstart/state")["decisions"] == 1


def test_an_idempotency_key_works_as_an_id_does(service: Running) -> None:
    body = {"route": "quickstart", "prompt": "x"}
    first, second = (service.post("/v1/decisions", body, status=200, Idempotency_Key="k") for _ in range(2))
    assert first == second
    third = service.post("/v1/decisions", body, status=200, Idempotency_Key="other")
    assert third["id"] != first["id"]
    assert service.post("/v1/decisions", {**body, "prompt": "y"}, status=409, Idempotency_Key="k")


def test_a_dry_run_leaves_no_trace(shared: Running) -> None:
    before = shared.get("/v1/routes/quickstart/state")["seq"]
    assert shared.decide(dry_run=True)["id"] is None
    assert shared.get("/v1/routes/quickstart/state")["seq"] == before


def test_candidates_constraints_and_objective_are_the_requests_own(shared: Running) -> None:
    decision = shared.decide(candidates=["lar*"])
    assert (decision["selected"], decision["fallbacks"]) == ("large", [])
    decision = shared.decide(constraints={"ignore": ["large"]})
    (large,) = [item for item in decision["candidates"] if item["provider"] == "large"]
    assert (decision["selected"], large["propensity"], large["eligible"]) == ("small", 0.0, False)
    assert large["reason"] == "is denied by 'large'"
    cheap = shared.decide(objective={"dial": 0}, dry_run=True)
    assert cheap["shadow_price"] == pytest.approx(10_000)
    best = shared.decide(objective={"dial": 10}, dry_run=True)
    assert best["shadow_price"] == 0.0


@pytest.mark.parametrize("asked", [{"latency_weight": 0.5}, {"willingness_to_pay_usd": None}])
def test_what_a_request_does_not_say_of_its_objective_is_the_routes(
    shared: Running, asked: dict[str, Any]
) -> None:
    own = shared.decide(dry_run=True)["shadow_price"]
    assert own == pytest.approx(100)
    assert shared.decide(objective=asked, dry_run=True)["shadow_price"] == own


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"candidates": ["nobody"]}, 422, "invalid"),
        ({"constraints": {"max_cost_usd": 1e-9, "strict": True}}, 422, "no-provider"),
        ({"constraints": {"capabilities": ["vision"]}}, 422, "no-provider"),
        ({"route": "nowhere"}, 404, "not-found"),
        ({"embedding": [1.0, 2.0], "prompt": None}, 422, "invalid"),
        ({"features": [1.0, 2.0], "prompt": None}, 422, "invalid"),
    ],
)
def test_what_cannot_be_served_is_a_problem_that_says_why(
    shared: Running, fields: dict[str, Any], status: int, kind: str
) -> None:
    body = {"route": "quickstart", "prompt": "x", **fields}
    problem = shared.post("/v1/decisions", {k: v for k, v in body.items() if v is not None}, status=status)
    assert problem["type"] == f"urn:fairlead:problem:{kind}"
    assert problem["detail"]


def test_messages_are_read_as_their_text(shared: Running) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Where is my parcel?"}, image], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": "On its way.", "tool_call_id": "c1"},
    ]
    decision = shared.post(
        "/v1/decisions", {"route": "quickstart", "messages": messages, "dry_run": True}, status=200
    )
    same = shared.decide(prompt="Be kind.\nWhere is my parcel?\nOn its way.", dry_run=True)
    assert decision["candidates"] == same["candidates"]


TEXTS = "Be kind.\nWhere is my parcel?\nOn its way."
QUESTION = {"role": "user", "content": "Where is my parcel?"}
CALL = {"name": "track", "arguments": "{}"}
CACHED = {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}, "citations": None}
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
SECOND_TURNS = {
    "annotations": [
        {"role": "system", "content": "Be kind."},
        QUESTION,
        {"role": "assistant", "content": "On its way.", "annotations": [], "audio": None, "refusal": None},
    ],
    "a function": [
        {"role": "developer", "content": "Be kind."},
        QUESTION | {"id": "m1", "metadata": {"page": 3}},
        {"role": "assistant", "content": None, "function_call": CALL},
        {"role": "function", "name": "track", "content": "On its way."},
    ],
    "reasoning": [
        {"role": "system", "content": [CACHED]},
        QUESTION,
        {
            "role": "assistant",
            "content": "On its way.",
            "reasoning_content": "Hm.",
            "provider_specific_fields": {"x": 1},
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
        },
    ],
    "Anthropic's parts": [
        {"role": "system", "content": CACHED},
        {"role": "user", "content": [{"type": "text", "text": "Where is my parcel?"}, PICTURE]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "track", "input": {"id": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "is_error": False,
                    "content": [{"type": "text", "text": "On its way."}, PICTURE],
                }
            ],
        },
    ],
    "the Responses API's parts": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Where is my parcel?"}]},
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "On its way.", "annotations": [], "logprobs": []}],
        },
    ],
    "plain texts as parts": [
        {"role": "system", "content": ["Be kind."]},
        {"role": "user", "content": [{"text": "Where is my parcel?"}]},
        {"role": "model", "content": "On its way.", "tool_calls": None},
    ],
}


@pytest.mark.parametrize("shape", SECOND_TURNS)
def test_messages_are_taken_as_clients_send_them(shared: Running, shape: str) -> None:
    body = {"route": "quickstart", "messages": SECOND_TURNS[shape], "dry_run": True}
    decision = shared.post("/v1/decisions", body, status=200)
    assert decision["candidates"] == shared.decide(prompt=TEXTS, dry_run=True)["candidates"]


@pytest.mark.parametrize(
    "message",
    [{}, {"content": "x"}, {"role": 1, "content": "x"}, {"role": "user", "content": [{"text": 1}]}, "x"],
)
def test_what_is_no_message_is_refused(shared: Running, message: Any) -> None:
    shared.post("/v1/decisions", {"route": "quickstart", "messages": [message]}, status=422)


def test_a_batch_answers_each_item_by_itself(service: Running) -> None:
    items = [{"route": "quickstart", "prompt": "x", "id": "one"}, {"route": "nowhere", "prompt": "x"}]
    results = service.post("/v1/decisions/batch", {"decisions": items}, status=200)["decisions"]
    assert [item["status"] for item in results] == [200, 404]
    assert results[0]["decision"]["id"] == "one"
    assert results[1]["problem"]["type"] == "urn:fairlead:problem:not-found"
    assert service.post("/v1/decisions/batch", {"decisions": items[:1] * 101}, status=422)


def test_a_decision_is_read_with_everything_that_followed(service: Running) -> None:
    decision = service.decide(id="d", session_id="s", tags={"team": "a"})
    usage = {"input_tokens": 1_000_000, "output_tokens": 100_000, "cached_tokens": 0, "reasoning_tokens": 5}
    outcome = {"usage": usage, "latency_s": 1.5, "ttft_s": 0.2}
    answer = service.post("/v1/decisions/d/outcome", outcome, status=200)
    price = {"small": 0.05 + 0.04, "large": 1.25 + 1.0}[decision["selected"]]
    assert answer["cost_usd"] == pytest.approx(price)
    assert (answer["priced_by"], answer["state"]) == ("price_list", "joined")
    service.post("/v1/feedback", {"decision_id": "d", "value": 0.5, "comment": "so so"}, status=200)
    service.post("/v1/feedback", {"session_id": "s", "value": None}, status=200)
    read = service.get("/v1/decisions/d")
    assert read["decision"] == decision
    assert read["status"] == "open"
    outcome_body, feedback_body, on_session = (event["body"] for event in read["events"])
    assert outcome_body["ttft_s"] == 0.2
    assert (outcome_body["cost_usd"], outcome_body["priced_by"]) == (answer["cost_usd"], "price_list")
    assert outcome_body["served_provider"] == decision["selected"]
    assert feedback_body["comment"] == "so so"
    assert (on_session["value"], on_session["session_id"]) == (None, "s")
    after = service.decide(id="after", session_id="s")
    assert service.get("/v1/decisions/after") == {"decision": after, "events": [], "status": "open"}
    for name in ("none", "%00", "%ff", "a%20b", "a" * 500):
        problem = service.get(f"/v1/decisions/{name}", status=404)
        assert problem["type"] == "urn:fairlead:problem:unknown-decision"


def test_learning_credits_who_served(service: Running) -> None:
    decision = service.decide(id="d")
    other = decision["fallbacks"][0]
    body = {"served_provider": other, "cost_usd": 0.0005, "status": "ok"}
    answer = service.post("/v1/decisions/d/outcome", body, status=200)
    assert (answer["served_provider"], answer["cost_usd"], answer["priced_by"]) == (other, 0.0005, "reported")
    service.post("/v1/feedback", {"decision_id": "d", "value": 1}, status=200)
    state = service.get("/v1/routes/quickstart/state")
    assert state["providers"][other]["feedback"] == 1
    assert state["providers"][decision["selected"]]["feedback"] == 0
    assert state["spent_usd"] == 0.0005
    # The last one is in force.
    service.post("/v1/decisions/d/outcome", {**body, "cost_usd": 0.00025}, status=200)
    assert service.get("/v1/routes/quickstart/state")["spent_usd"] == 0.00025
    problem = service.post("/v1/decisions/d/outcome", {"served_provider": "nobody"}, status=422)
    assert "not on the route" in problem["detail"]


def test_ids_of_outcomes_are_those_of_their_decision(service: Running) -> None:
    for name, own_id in (("a", "b:c"), ("a:b", "c")):
        service.decide(id=name)
        body = {"cost_usd": 0.0005, "id": own_id}
        first = service.post(f"/v1/decisions/{name}/outcome", body, status=200)
        assert service.post(f"/v1/decisions/{name}/outcome", body, status=200) == first
    assert service.get("/v1/routes/quickstart/state")["spent_usd"] == 0.001


def judged(service: Running) -> int:
    providers = service.get("/v1/routes/quickstart/state")["providers"]
    return sum(item["feedback"] for item in providers.values())


def test_feedback_is_idempotent_corrected_and_taken_back(service: Running) -> None:
    service.decide(id="d")
    body = {"decision_id": "d", "value": 1.0, "id": "f"}
    first = service.post("/v1/feedback", body, status=200)
    assert service.post("/v1/feedback", body, status=200) == first
    assert service.post("/v1/feedback", {**body, "value": 0.0}, status=409)
    assert judged(service) == 1
    before = service.get("/v1/routes/quickstart/state")["providers"]
    service.post("/v1/feedback", {"decision_id": "d", "value": 0.0}, status=200)
    assert service.get("/v1/routes/quickstart/state")["providers"] != before
    assert judged(service) == 1
    service.post("/v1/feedback", {"decision_id": "d", "value": None}, status=200)
    assert judged(service) == 0


def test_feedback_before_its_decision_waits_for_it(service: Running) -> None:
    answer = service.post("/v1/feedback", {"decision_id": "later", "value": 1.0}, status=200)
    assert answer["state"] == "parked"
    outcome = {"usage": {"input_tokens": 10, "output_tokens": 10}}
    assert service.post("/v1/decisions/later/outcome", outcome, status=200)["state"] == "parked"
    assert judged(service) == 0
    decision = service.decide(id="later")
    assert judged(service) == 1
    spent_usd = service.get("/v1/routes/quickstart/state")["spent_usd"]
    assert spent_usd > 0
    body = service.get("/v1/decisions/later")["events"][1]["body"]
    assert (body["cost_usd"], body["served_provider"]) == (spent_usd, decision["selected"])


def test_feedback_on_a_session_counts_for_all_its_decisions(service: Running) -> None:
    ids = [service.decide(session_id="s")["id"] for _ in range(3)]
    answer = service.post("/v1/feedback", {"session_id": "s", "value": 1.0}, status=200)
    assert answer["decision_ids"] == ids
    assert judged(service) == 3
    problem = service.post("/v1/feedback", {"session_id": "none", "value": 1.0}, status=404)
    assert problem["type"] == "urn:fairlead:problem:unknown-decision"


@pytest.mark.parametrize(
    "fields",
    [{"value": 1.5}, {"value": -0.5}, {"metric": "speed", "value": 1.0}],
    ids=["high", "low", "metric"],
)
def test_feedback_that_the_route_does_not_declare_is_refused(shared: Running, fields: dict[str, Any]) -> None:
    decision = shared.decide()
    assert shared.post("/v1/feedback", {"decision_id": decision["id"], **fields}, status=422)["detail"]


def test_a_batch_of_feedback(service: Running) -> None:
    ids = [service.decide()["id"] for _ in range(3)]
    items = [{"decision_id": name, "value": 1.0} for name in ids] + [{"decision_id": ids[0], "value": 7}]
    results = service.post("/v1/feedback/batch", {"feedback": items}, status=200)["feedback"]
    assert [item["status"] for item in results] == [200, 200, 200, 422]
    assert judged(service) == 3


def test_an_answer_has_the_fields_of_the_document(service: Running) -> None:
    decision = service.decide()
    # No field more or less than the document says, and of its type.
    assert msgspec.convert(decision, DecisionOut, strict=True).selected == decision["selected"]
    for candidate in decision["candidates"]:
        # The model is wider than that before it has seen any features.
        assert 0.0 < candidate["expected"]["quality_sd"] <= 0.5


def test_the_spread_of_latencies_is_answered_and_kept(service: Running) -> None:
    for i, latency_s in enumerate((1.0, 3.0, 1.0, 3.0)):
        service.decide(id=f"d{i}")
        answer = {"served_provider": "small", "latency_s": latency_s}
        service.post(f"/v1/decisions/d{i}/outcome", answer, status=200)
    service.until_ready()
    decision = service.decide(id="next")
    small, large = (item["expected"] for item in decision["candidates"])
    assert (small["latency_s"], large["latency_s"], large["latency_s_sd"]) == (2.0, None, None)
    assert small["latency_s_sd"] == pytest.approx(1.0, rel=0.1)
    assert service.get("/v1/decisions/next")["decision"] == decision


def test_a_decision_is_found_behind_whatever_was_told_ahead_of_it(tmp_path: Path, store_url: str) -> None:
    with running(tmp_path, store_url) as decision:
        decision.post("/v1/feedback", {"decision_id": "d", "value": 1.0, "id": "first"}, status=200)
    store = open_store(store_url)
    (row,) = store.rows(Query(decision_id="d"))
    store.append([row._replace(uid=f"f::more{i}") for i in range(PAGE_ROWS)])
    store.close()
    with running(tmp_path, store_url) as decision:
        answered = decision.decide(id="d")
        assert decision.get("/v1/decisions/d")["decision"] == answered


@pytest.mark.parametrize("kind", ["embedding", "vector"])
def test_wide_vectors_are_taken_sketched_and_logged(shared: Running, kind: str) -> None:
    name, width = f"wide-{kind}", 3_072
    body = {"name": name, "providers": ["small", "large"], "features": {kind: width}}
    shared.post("/v1/routes", body, status=201)
    field = "embedding" if kind == "embedding" else "features"
    row = [((i * 7919) % 101) / 50 - 1 for i in range(width)]
    answer = shared.post("/v1/decisions", {"route": name, field: row, "input_tokens": 10}, status=200)
    assert answer["fallback_used"] is None
    for wrong in (row[:-1], row[:192], [], [row]):
        shared.post("/v1/decisions", {"route": name, field: wrong, "input_tokens": 10}, status=422)
    too_wide = {**body, "name": f"{name}-more", "features": {kind: width + 1}}
    shared.post("/v1/routes", too_wide, status=422)


def test_usage_is_taken_under_the_names_of_openai(service: Running) -> None:
    theirs = {
        "prompt_tokens": 1_000,
        "completion_tokens": 500,
        "total_tokens": 1_500,
        "prompt_tokens_details": {"cached_tokens": 100, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 7, "audio_tokens": 0},
    }
    ours = {"input_tokens": 1_000, "output_tokens": 500, "cached_tokens": 100, "reasoning_tokens": 7}
    for number, usage in enumerate((theirs, ours)):
        service.decide(id=f"u{number}", candidates=["small"])
        service.post(f"/v1/decisions/u{number}/outcome", {"usage": usage}, status=200)
    first, second = (service.get(f"/v1/decisions/u{number}")["events"][0]["body"] for number in (0, 1))
    assert first == second
    for wrong in ({"prompt_tokens": 5}, {"prompt_tokens": "5", "completion_tokens": 1}, theirs | {"x": 1}):
        service.post("/v1/decisions/u0/outcome", {"usage": wrong}, status=422)
    for details in (None, [], {}, {"cached_tokens": None}):
        usage = theirs | {"prompt_tokens_details": details}
        service.post("/v1/decisions/u0/outcome", {"usage": usage}, status=200)


@pytest.mark.parametrize(("thumb", "value"), [(True, 1.0), (False, 0.0)])
def test_a_thumb_is_a_value(service: Running, thumb: bool, value: float) -> None:
    service.decide(id="t")
    service.post("/v1/feedback", {"decision_id": "t", "value": thumb, "id": "f"}, status=200)
    same = service.post("/v1/feedback", {"decision_id": "t", "value": value, "id": "f"}, status=200)
    assert same["decision_ids"] == ["t"], "the same feedback sent again"
    assert service.get("/v1/decisions/t")["events"][0]["body"]["value"] == value
