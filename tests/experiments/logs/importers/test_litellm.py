"""Spend logs of LiteLLM: times, tags, what is left out, fallbacks, repeats, rewards, file formats."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from fairlead.experiments.logs.importers import Filter
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.importers.imports import CASES, imported, write


def call(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"r{i}",
        "call_type": "acompletion",
        "startTime": f"2026-03-01T00:00:{i:02d}Z",
        "endTime": f"2026-03-01T00:00:{i + 1:02d}Z",
        "model": "ab"[i % 2],
        "spend": 0.1,
        "status": "success",
        **changes,
    }


@pytest.mark.parametrize(
    ("time", "utc"),
    [
        ("2026-10-25 02:30:00+02:00", "2026-10-25T00:30:00Z"),
        ("2026-10-25 02:30:00", "2026-10-25T02:30:00Z"),
        ("2026-10-25T02:30:00.25+0100", "2026-10-25T01:30:00.250000Z"),
        (1792891800, "2026-10-25T01:30:00Z"),
        (1792891800123, "2026-10-25T01:30:00.123000Z"),
        ("1792891800.5", "2026-10-25T01:30:00.500000Z"),
    ],
)
def test_times_of_any_form_are_utc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: Any, utc: str
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    lines, _ = imported(write(tmp_path / "s.jsonl", call(1, startTime=time)), "litellm")
    assert lines[0]["decided_at"] == utc


def test_rows_are_sorted_as_times_not_as_texts(tmp_path: Path) -> None:
    rows = [call(1, startTime="2026-03-01T10:00:00+02:00"), call(2, startTime="2026-03-01T07:30:00Z")]
    lines, report = imported(write(tmp_path / "s.jsonl", *rows), "litellm")
    assert [line["decision_id"] for line in lines] == ["r2", "r1"]
    assert (report.first, report.last) == ("2026-03-01T07:30:00Z", "2026-03-01T08:00:00Z")


@pytest.mark.parametrize(
    ("tags", "name", "task"),
    [
        (["User-Agent: x", "faq"], None, "faq"),
        ('["User-Agent: x/1", "feature:faq"]', "feature", "faq"),
        (json.dumps('["a", "team=b"]'), "team", "b"),
        ("{faq,code}", None, "faq"),
        ("faq", None, "faq"),
        ([], None, None),
        (["User-Agent: x"], None, None),
        (["faq"], "feature", None),
    ],
)
def test_the_task_is_a_tag(tmp_path: Path, tags: Any, name: str | None, task: str | None) -> None:
    path = write(tmp_path / "s.jsonl", call(1, request_tags=tags))
    lines, _ = imported(path, "litellm", task_tag=name)
    assert lines[0]["context"].get("task") == task


def test_what_is_no_decision_is_left_out_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.jsonl",
        call(1),
        call(2, call_type="aembedding"),
        call(3, request_tags=["litellm-internal-health-check"]),
        call(4, cache_hit="True"),
        call(5, model="", status="failure", model_group="chat"),
        call(6, status="failure", spend=0, metadata={"error_information": {"error_class": "Timeout"}}),
        call(1, call_type="aget_responses", startTime="2026-03-01T00:00:30Z"),
        call(7, team_id="t", metadata=json.dumps({"tenant": "x", "usage_object": {"prompt_tokens": 7}})),
    )
    lines, report = imported(path, "litellm", attributes=("metadata.tenant",))
    assert [(line["decision_id"], line["status"]) for line in lines] == [
        ("r1", "ok"),
        ("r6", "timeout"),
        ("r7", "ok"),
    ]
    assert report.left_out == {
        "call_type aembedding, no completion": 1,
        "health checks": 1,
        "answered by a cache, so no model was chosen": 1,
        "failed before a model was chosen, in group chat": 1,
        "repeats of an id that has its decision already": 1,
    }
    assert (report.read, report.kept, report.failed, report.providers) == (8, 3, 1, {"a": 1, "b": 2})
    assert lines[2]["context"]["attributes"] == {
        "call_type": "acompletion",
        "team_id": "t",
        "input_tokens": 7.0,
        "metadata.tenant": "x",
    }


def test_a_fallback_keeps_the_propensity_of_what_was_drawn(tmp_path: Path) -> None:
    fell_back = {"attempted_fallbacks": 1, "original_model_group": "a"}
    path = write(tmp_path / "s.jsonl", call(1, metadata=fell_back), call(2))
    lines, report = imported(path, "litellm", weights={"a": 3, "b": 1})
    assert (lines[0]["provider"], lines[0]["served_provider"]) == ("a", "b")
    assert lines[0]["propensities"] == [0.75, 0.25]
    assert any("1 calls were served by a fallback" in note for note in report.notes)
    assert "The weights are relative; the shares are a 0.75, b 0.25." in report.notes


def test_versions_by_date_are_offered_and_merged_only_if_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", call(1, model="gpt-4o"), call(2, model="gpt-4o-2024-08-06"))
    lines, report = imported(path, "litellm")
    assert lines[0]["providers"] == ["gpt-4o", "gpt-4o-2024-08-06"]
    assert any("--alias 'gpt-4o-2024-08-06=gpt-4o'" in note for note in report.notes)
    _, report = imported(path, "litellm", aliases=(("gpt-4o-2024-*", "gpt-4o"),))
    assert (report.providers, list(report.notes)) == ({"gpt-4o": 2}, [])


def test_rewards_that_match_nothing_or_come_twice_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", call(1), call(2), call(3, cache_hit="true"))
    rewards = tmp_path / "rewards.csv"
    rewards.write_text("request_id;reward\nr1;1\nr2;3\nr2;5\nr3;2\nzz;2\n", encoding="utf-8")
    lines, report = imported(path, "litellm", rewards=rewards, reward_range=(1.0, 5.0))
    assert [line["reward"] for line in lines] == [0.0, 1.0]
    assert report.rewards is not None
    assert (report.rewards.read, report.rewards.matched, report.rewards.of_left_out) == (5, 2, 1)
    assert (report.rewards.unmatched_examples, report.rewards.repeated_examples) == (("zz",), ("r2",))
    with pytest.raises(InvalidInput, match=r"rewards.csv, row 2: the reward 3 is outside 0 to 1: declare"):
        imported(path, "litellm", rewards=rewards)


def test_bad_rows_are_refused_or_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", call(1, spend=-1), call(2), call(3, startTime="soon"))
    path.write_text(path.read_text() + '{"request_id": "r4", "sta', encoding="utf-8")
    with pytest.raises(
        InvalidInput, match=r"s.jsonl, row 1: spend is -1, .* --skip-bad \(2 more rows are wrong\)"
    ):
        imported(path, "litellm")
    lines, report = imported(path, "litellm", skip_bad=True)
    assert ([line["decision_id"] for line in lines], report.refused, report.read) == (["r2"], 3, 4)
    assert any("still being written" in reason for reason in report.left_out)


def test_filters(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", call(1, user="x"), call(2, user="y"), call(3))
    for text, kept in (
        ("user=x", ["r1"]),
        ("user!=x", ["r2", "r3"]),
        ("model=[a]", []),
        ("user=?", ["r1", "r2"]),
    ):
        if kept:
            lines, report = imported(path, "litellm", filters=(Filter.parse(text),))
            assert ([line["decision_id"] for line in lines], report.read) == (kept, 3)
            continue
        with pytest.raises(InvalidInput, match="no decision was found in its 3 rows"):
            imported(path, "litellm", filters=(Filter.parse(text),))


def _files(folder: Path) -> dict[str, Path]:
    rows = [call(1, request_tags=["faq"]), call(2, request_tags=["faq"])]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    header = ",".join(rows[0])
    cells = [",".join('"' + str(v).replace("'", '""') + '"' for v in row.values()) for row in rows]
    table = "\n".join([header, *cells]) + "\n"
    contents: dict[str, bytes] = {
        "a.JSONL": lines.encode(),
        "b.ndjson": lines.encode("utf-8-sig"),
        "c.json": json.dumps(rows, indent=1).encode(),
        "d.json": json.dumps({"data": rows}, indent=1).encode(),
        "e.json": lines.encode(),
        "f.jsonl.gz": gzip.compress(lines.encode()),
        "g.csv": table.encode(),
        "h.CSV": table.encode("utf-16"),
        "i.csv": table.replace(",", ";").encode(),
        "j.csv.gz": gzip.compress(table.encode()),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    source = folder / "e.json"
    duckdb.execute(f"COPY (FROM read_json('{source}')) TO '{folder / 'k.parquet'}'")
    return {name: folder / name for name in (*contents, "k.parquet")}


@pytest.mark.parametrize(
    "name", ["a.JSONL", "b.ndjson", "c.json", "d.json", "e.json", "f.jsonl.gz", "g.csv", "h.CSV", "i.csv",
             "j.csv.gz", "k.parquet"],
)  # fmt: skip
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    lines, _ = imported(_files(tmp_path)[name], "litellm")
    assert [(line["decision_id"], line["cost_usd"], line["latency_s"]) for line in lines] == [
        ("r1", 0.1, 1.0),
        ("r2", 0.1, 1.0),
    ]
    assert lines[0]["context"] == {"task": "faq", "attributes": {"call_type": "acompletion"}}


def test_files_that_are_no_log_are_refused_by_name(tmp_path: Path) -> None:
    cut = tmp_path / "cut.csv.gz"
    cut.write_bytes(gzip.compress(b"request_id\n" * 1000)[:30])
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    for path, message in (
        (tmp_path, "this is a folder"),
        (tmp_path / "none.csv", "there is no such file"),
        (cut, "no whole gzip file"),
        (other, "request_id is missing among a, b"),
    ):
        with pytest.raises(InvalidInput, match=message):
            imported(path, "litellm")


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", call(1))
    with pytest.raises(InvalidInput, match="--reward-range says what the rewards of a file mean"):
        imported(path, "litellm", reward_range=(1.0, 5.0))
    for source, options in (("dsjson", {"weights": {"a": 1.0}}), ("events", {"aliases": (("a", "b"),)})):
        with pytest.raises(InvalidInput, match=f"does not apply to --from {source}: leave it out"):
            imported(path, source, **options)
    with pytest.raises(InvalidInput, match="the weight of 'a' is nan"):
        imported(path, "litellm", weights={"a": float("nan")})


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize(
    ("name", "kept", "tasks"),
    [
        ("dst.csv", 2, set()),
        ("zones.csv", 3, set()),
        ("spend_tz.parquet", 20, {"faq"}),
        ("tags_list.parquet", 4, {"faq"}),
        ("l1_useragent.csv", 3, {"feature:faq", "feature:code"}),
        ("l2_mixed.csv", 3, set()),
        ("none.csv", 2, set()),
        ("bom_l.jsonl", 2, set()),
        ("spend.json", 2, {"faq"}),
        ("dup.csv", 2, set()),
    ],
)
def test_the_shared_cases(tmp_path: Path, name: str, kept: int, tasks: set[str]) -> None:
    lines, report = imported(CASES / name, "litellm", folder=tmp_path)
    assert report.kept == kept
    assert {line.get("context", {}).get("task") for line in lines} - {None} == tasks
    times = [line["decided_at"] for line in lines]
    assert times == sorted(times)
