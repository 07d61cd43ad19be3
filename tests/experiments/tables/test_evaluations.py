"""Evaluations, logs of decisions and means as rows of evidence."""

import json

import pytest

from fairlead.experiments.tables.evaluations import parts_of, read_evaluations
from fairlead.optimizer.errors import InvalidInput


def written(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


TABLE = """prompt_id,prompt,task,model,quality,cost_usd,output_tokens,latency_s
1,Where is it?,faq,small,0.5,0.001,20,0.7
1,Where is it?,faq,large,1,,30,
2,Refund me,,small,NaN,0.002,,
"""


def test_an_outcome_table_gives_a_row_for_each_prompt(tmp_path):
    evaluations = read_evaluations(written(tmp_path, TABLE))
    assert evaluations.rows == (
        {
            "request": "1",
            "prompt": "Where is it?",
            "task": "faq",
            "answers": {
                "small": {"quality": 0.5, "cost_usd": 0.001, "output_tokens": 20.0, "latency_s": 0.7},
                "large": {"quality": 1.0, "output_tokens": 30.0},
            },
        },
        {"request": "2", "prompt": "Refund me", "answers": {"small": {"cost_usd": 0.002}}},
    )
    assert evaluations.notes == ()
    assert evaluations.providers == ["large", "small"]


def test_means_have_no_prompt(tmp_path):
    text = "provider,task,mean,n\nsmall,sql,3,200\nlarge,sql,5,200\nsmall,,2,90000\n"
    evaluations = read_evaluations(written(tmp_path, text), quality_range=(1.0, 5.0))
    assert [(row.get("task"), row["answers"]) for row in evaluations.rows] == [
        ("sql", {"small": {"quality": 0.5, "count": 200}, "large": {"quality": 1.0, "count": 200}}),
        (None, {"small": {"quality": 0.25, "count": 5_000}}),
    ]


def test_a_log_of_decisions_says_who_served_and_how_well(tmp_path):
    line = {
        "decision_id": "d1",
        "decided_at": "2026-03-01T12:00:00Z",
        "context": {"task": "faq"},
        "features": [0.5, 1.0],
        "providers": ["small", "large"],
        "propensities": [0.5, 0.5],
        "provider": "small",
        "served_provider": "large",
        "reward": 0.75,
        "cost_usd": 0.01,
    }
    other = {**line, "decision_id": "d2", "served_provider": None, "reward": None}
    text = "\n".join(map(json.dumps, (line, other)))
    rows = read_evaluations(written(tmp_path, text, "log.jsonl")).rows
    assert rows[0] == {
        "request": "d1",
        "task": "faq",
        "features": [0.5, 1.0],
        "answers": {"large": {"quality": 0.75, "cost_usd": 0.01}},
    }
    assert rows[1]["answers"] == {"small": {"cost_usd": 0.01}}


def test_notes_say_what_is_left_out(tmp_path):
    lines = [f"{i},text {i % 8},small,0.5" for i in range(10)]
    path = written(tmp_path, "\n".join(["prompt_id,prompt,model,quality", *lines]))
    evaluations = read_evaluations(path, limit=5)
    assert evaluations.notes == (
        "2 requests repeat a prompt; the first of each counts.",
        "Of 8 requests 5 are drawn at random, which is what a route keeps.",
        "All rows are about small: of other providers nothing is known.",
    )
    assert len(evaluations.rows) == len({row["prompt"] for row in evaluations.rows}) == 5
    assert read_evaluations(path, limit=5).rows == evaluations.rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "prompt,model,quality\na,small,4\n",
            r"quality is '4' in row 1 \(of small\), outside \[0, 1\]: give the metric's range",
        ),
        ("prompt,model,quality\na,small,inf\n", r"quality is 'inf' in row 1 \(of small\), outside"),
        ("prompt,model,quality\na,small,good\n", "quality is 'good' in row 1 .*no number: write it as"),
        (
            "prompt,model,quality,cost_usd\na,small,1,-2\n",
            r"cost_usd is '-2' in row 1 .*outside \[0, 1e",
        ),
        ("prompt,model,quality\na,,1\n", "provider is None in row 1 .*nobody"),
        ("prompt,model,quality\na,small,1\na,small,0\n", "'small' answers 'a' in 2 rows.*ambiguous"),
        ("provider,mean,n\nsmall,0.5,1.5\n", "count is '1.5' in row 1 .*no whole number"),
        ("prompt,model,quality\na,small,NaN\n", "no row says anything of an answer"),
        ("prompt,name,quality\na,small,1\n", "no column says who answered, or how well"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(tmp_path, text, message):
    with pytest.raises(InvalidInput, match=message):
        read_evaluations(written(tmp_path, text))


def test_a_million_rows_are_drawn_from(tmp_path):
    import duckdb

    path = tmp_path / "many.parquet"
    duckdb.sql(
        "SELECT i // 2 AS prompt_id, 'p' || (i // 2) AS prompt, CASE i % 2 WHEN 0 THEN 'a' ELSE 'b' END "
        "AS model, 0.5 AS quality FROM range(1000000) t(i)"
    ).write_parquet(str(path))
    evaluations = read_evaluations(path)
    assert len(evaluations.rows) == 5_000
    assert all(set(row["answers"]) == {"a", "b"} for row in evaluations.rows)
    assert evaluations.notes == (
        "Of 500,000 requests 5,000 are drawn at random, which is what a route keeps.",
    )


def test_parts_are_no_longer_than_a_body_may_be():
    rows = [{"prompt": "x" * 100}] * 10
    parts = list(parts_of(rows, most_bytes=350))
    assert [len(part) for part in parts] == [3, 3, 3, 1]
    assert [row for part in parts for row in part] == rows
    assert list(parts_of([], most_bytes=10)) == [[]]
    assert list(map(len, parts_of(rows[:2], most_bytes=10))) == [1, 1]
