"""Exports of Langfuse, Helicone, Portkey, OpenRouter, OpenTelemetry and the Open Bandit Dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.importers.imports import imported, write

AT = "2026-03-01T10:00:00Z"
LANGFUSE: dict[str, Any] = {
    "id": "o1",
    "type": "GENERATION",
    "traceName": "chat",
    "startTime": "2026-03-01T10:00:00.000Z",
    "endTime": "2026-03-01T10:00:02.500Z",
    "model": "m-large",
    "calculatedTotalCost": 0.02,
    "level": "DEFAULT",
    "tags": ["faq"],
    "usageDetails": {"input": 12},
    "userId": "u1",
    "scores": [{"name": "helpful", "value": 4}, {"name": "tone", "value": 1}],
}
HELICONE: dict[str, Any] = {
    "request_id": "h1",
    "request_created_at": "2026-03-01 10:00:00.000",
    "model": "m-large",
    "delay_ms": 2500,
    "cost": 0.02,
    "response_status": 200,
    "request_properties": {"feature": "faq"},
    "prompt_tokens": 12,
}
PORTKEY: dict[str, Any] = {
    "id": "p1",
    "created_at": "2026-03-01T10:00:00Z",
    "ai_model": "m-large",
    "response_time": 2500,
    "cost": 2,
    "cost_currency": "USD",
    "response_status_code": 200,
    "cache_status": "MISS",
    "metadata": {"feature": "faq"},
    "req_units": 12,
}
OPENROUTER: dict[str, Any] = {
    "generation_id": "gen-1",
    "created_at": "2026-03-01 10:00:00",
    "cost_total": 0.02,
    "tokens_prompt": 12,
    "model_permaslug": "m-large",
    "cancelled": False,
    "finish_reason_normalized": "stop",
    "generation_time_ms": 2500,
    "app_name": "chat",
}


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "chat"}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def span(i: int, status: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m-large", **attributes}
    start = 1772359200_000000000
    return {
        "spanId": f"s{i}",
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 2_500_000_000),
        "status": status or {},
        "attributes": [{"key": key, "value": {"stringValue": v}} for key, v in values.items()]
        + [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}}],
    }


@pytest.mark.parametrize(
    ("source", "row", "options", "task"),
    [
        ("langfuse", LANGFUSE, {}, "faq"),
        ("helicone", HELICONE, {"task_tag": "feature"}, "faq"),
        ("portkey", PORTKEY, {"task_tag": "feature"}, "faq"),
        ("openrouter", OPENROUTER, {}, None),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_a_call_is_read(
    tmp_path: Path,
    source: str,
    row: dict[str, Any],
    options: dict[str, Any],
    *,
    task: str | None,
    suffix: str,
) -> None:
    path = tmp_path / f"export{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps([row], indent=1), encoding="utf-8")
    elif suffix == ".jsonl":
        write(path, row)
    else:
        cells = [json.dumps(v) if isinstance(v, (dict, list)) else str(v) for v in row.values()]
        line = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
        path.write_text(",".join(row) + "\n" + line + "\n", encoding="utf-8")
    lines, report = imported(path, source, **options)
    assert (lines[0]["decided_at"], lines[0]["provider"]) == (AT, "m-large")
    assert (lines[0]["cost_usd"], lines[0]["latency_s"], lines[0]["status"]) == (0.02, 2.5, "ok")
    assert lines[0]["context"].get("task") == task
    assert lines[0]["context"]["attributes"]["input_tokens"] == 12
    assert (report.kept, report.with_propensities) == (1, False)


@pytest.mark.parametrize(
    ("source", "row", "reason"),
    [
        ("langfuse", {**LANGFUSE, "id": "x", "type": "SPAN"}, "observations of type SPAN"),
        ("helicone", {**HELICONE, "request_id": "x", "cacheReferenceId": "c"}, "answered by a cache"),
        ("portkey", {**PORTKEY, "id": "x", "cache_status": "SEMANTIC HIT"}, "answered by a cache"),
        ("openrouter", {**OPENROUTER, "generation_id": "x", "cancelled": True}, "cancelled by the caller"),
    ],
)
def test_what_is_no_decision_is_left_out(
    tmp_path: Path, source: str, row: dict[str, Any], reason: str
) -> None:
    first = {"langfuse": LANGFUSE, "helicone": HELICONE, "portkey": PORTKEY, "openrouter": OPENROUTER}[source]
    lines, report = imported(write(tmp_path / "l.jsonl", first, row), source)
    assert len(lines) == 1
    assert [name.startswith(reason) for name in report.left_out] == [True]


@pytest.mark.parametrize(
    ("source", "row", "status"),
    [
        ("langfuse", {**LANGFUSE, "level": "ERROR"}, "error"),
        ("helicone", {**HELICONE, "response_status": 504}, "timeout"),
        ("portkey", {**PORTKEY, "response_status_code": 500}, "error"),
        ("openrouter", {**OPENROUTER, "finish_reason_normalized": "content_filter"}, "refused"),
    ],
)
def test_failures_are_kept_with_their_status(
    tmp_path: Path, source: str, row: dict[str, Any], status: str
) -> None:
    lines, report = imported(write(tmp_path / "l.jsonl", row), source)
    assert (lines[0]["status"], report.failed) == (status, 1)


@pytest.mark.parametrize("scores", [LANGFUSE["scores"], {"helpful": 4}, {"helpful": [3, 5]}])
def test_a_score_of_langfuse_is_the_reward(tmp_path: Path, scores: Any) -> None:
    path = write(tmp_path / "l.jsonl", {**LANGFUSE, "scores": scores})
    lines, _ = imported(path, "langfuse", score="helpful", reward_range=(1.0, 5.0))
    assert lines[0]["reward"] == 0.75
    with pytest.raises(InvalidInput, match="give --rewards FILE or --score NAME too"):
        imported(path, "langfuse", reward_range=(1.0, 5.0))
    with pytest.raises(InvalidInput, match=r"the reward 4.* is outside 0 to 1: declare its range"):
        imported(path, "langfuse", score="helpful")


def test_sums_by_day_and_other_currencies_are_refused(tmp_path: Path) -> None:
    sums = tmp_path / "sums.csv"
    sums.write_text("date,model,usage,requests\n2026-03-01,m,1,10\n", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"generation_id is missing among date.* not its sums by day"):
        imported(sums, "openrouter")
    with pytest.raises(InvalidInput, match="row 1: cost_currency is EUR, not USD"):
        imported(write(tmp_path / "p.jsonl", {**PORTKEY, "cost_currency": "EUR"}), "portkey")


@pytest.mark.parametrize("shape", ["lines", "whole", "flat"])
def test_spans_of_opentelemetry(tmp_path: Path, shape: str) -> None:
    spans = [
        span(1, **{"feature": "faq"}),
        span(2, {"code": 2}, **{"error.type": "timeout"}),
        span(3, **{"gen_ai.operation.name": "execute_tool"}),
        span(4, {"code": "STATUS_CODE_ERROR"}),
    ]
    path = tmp_path / "spans.json"
    if shape == "lines":
        write(path, otlp(*spans[:2]), otlp(*spans[2:]))
    elif shape == "whole":
        path.write_text(json.dumps(otlp(*spans), indent=2), encoding="utf-8")
    else:
        for one in spans:
            one["attributes"] = {
                entry["key"]: next(iter(entry["value"].values())) for entry in one["attributes"]
            }
        path.write_text(json.dumps(spans), encoding="utf-8")
    lines, report = imported(path, "opentelemetry", task_tag="feature")
    assert [(line["decision_id"], line["status"]) for line in lines] == [
        ("s1", "ok"),
        ("s2", "timeout"),
        ("s4", "error"),
    ]
    assert (lines[0]["decided_at"], lines[0]["latency_s"]) == (AT, 2.5)
    assert lines[0]["context"] == {"task": "faq", "attributes": {"input_tokens": 12}}
    assert list(report.left_out) == ["spans of execute_tool, which answer no prompt"]


def test_open_bandit_with_uniform_propensities_says_them_all(tmp_path: Path) -> None:
    header = "timestamp,item_id,position,click,propensity_score,user_feature_0\n"
    rows = "".join(f"2019-11-24 00:00:0{i}+00:00,{i % 2},1,{i % 2},0.5,x\n" for i in range(4))
    path = tmp_path / "random.csv"
    path.write_text(header + rows, encoding="utf-8")
    lines, report = imported(path, "open-bandit")
    assert [line["propensities"] for line in lines] == [[0.5, 0.5]] * 4
    assert [(line["provider"], line["reward"]) for line in lines[:2]] == [("item-0", 0.0), ("item-1", 1.0)]
    assert lines[0]["context"]["attributes"] == {"position": "1", "user_feature_0": "x"}
    path.write_text(header + rows.replace("0.5", "0.4"), encoding="utf-8")
    lines, report = imported(path, "open-bandit")
    assert "propensities" not in lines[0]
    assert any("the draw was not uniform" in note for note in report.notes)
    path.write_text(header + rows.replace("0.5", "0"), encoding="utf-8")
    with pytest.raises(InvalidInput, match="row 1: propensity_score is 0, not above 0"):
        imported(path, "open-bandit")
