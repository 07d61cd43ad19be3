"""Vowpal Wabbit: labels against order and probabilities, indices, contexts, and what is no CB event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.importers.imports import CASES, imported, write


def event(i: int, **changes: Any) -> dict[str, Any]:
    return {
        "_label_cost": -1.0,
        "_label_probability": 0.7,
        "_label_Action": 2,
        "_labelIndex": 1,
        "Timestamp": f"2026-03-01T10:00:{i:02d}.1234567Z",
        "EventId": f"e{i}",
        "a": [2, 1, 3],
        "p": [0.7, 0.2, 0.1],
        "c": {"User": {"tier": "gold"}, "_multi": [{"_tag": "x"}, {"i": {"id": "y"}}, {"j": [{"id": 3}]}]},
        **changes,
    }


def test_the_label_says_what_was_drawn(tmp_path: Path) -> None:
    path = write(tmp_path / "l.dsjson", event(1), event(2, a=[1, 2, 3], p=[0.2, 0.7, 0.1]))
    lines, report = imported(path, "dsjson")
    assert [line["provider"] for line in lines] == ["y", "y"]
    assert lines[0]["providers"] == ["y", "x", "3"]
    assert lines[1]["propensities"] == [0.2, 0.7, 0.1]
    assert lines[0]["decided_at"] == "2026-03-01T10:00:01.123456Z"
    assert list(report.notes) == ["1 labels name another action than the first of a; the label counts."]


@pytest.mark.parametrize(
    "indices",
    [
        {"a": [1, 0, 2]},
        {"a": [1, 0, 2], "_label_Action": 1},
        {"_labelIndex": None},
        {"_label_Action": None, "_labelIndex": None, "_label_probability": None},
        {"a": [2], "p": [1.0], "_label_probability": 1.0},
    ],
)
def test_indices_from_0_or_1_are_told_apart(tmp_path: Path, indices: dict[str, Any]) -> None:
    lines, _ = imported(write(tmp_path / "l.dsjson", event(1, **indices)), "dsjson")
    assert lines[0]["provider"] == "y"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_label_probability": 0.2},
            "the label gives action 2 the probability 0.2, but a and p give it 0.7",
        ),
        ({"_label_Action": 3}, "_labelIndex 1 and _label_Action 3 are two actions"),
        ({"a": [4, 1, 2]}, "there are 3 actions: count them from 1"),
        ({"a": [2, -1, 3]}, "there are 3 actions: count them from 1"),
        ({"a": [2, 1]}, "a has 2 actions and p 3 probabilities"),
        ({"p": [0.7, float("nan"), 0.1]}, "no probabilities"),
        ({"p": [0.0, 0.9, 0.1], "_label_probability": 0.0}, "p gives the action that was chosen 0"),
        ({"pdrop": 0.5}, "pdrop is 0.5"),
        ({"EventId": ""}, "EventId is empty"),
    ],
)
def test_contradictions_are_refused_and_counted(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "l.dsjson", event(1, **change), event(2))
    with pytest.raises(InvalidInput, match=f"l.dsjson, row 1: .*{message}"):
        imported(path, "dsjson")
    lines, report = imported(path, "dsjson", skip_bad=True)
    assert ([line["decision_id"] for line in lines], report.refused) == (["e2"], 1)


def test_other_kinds_are_counted_by_their_own_name(tmp_path: Path) -> None:
    multi = [{"x": 1}]
    path = write(
        tmp_path / "l.dsjson",
        event(1),
        {"c": {"_multi": multi, "_slots": [{}]}, "_outcomes": []},
        {"c": {"_multi": [{"_slot_id": 0}], "_slots": [{}]}, "_label_cost": -1, "_outcomes": []},
        {"_label_cost": -1, "_label_pdf_value": 0.1, "_label_Action": 18.5, "c": {}},
        {"EventId": "e9", "RewardValue": 1.0},
    )
    path.write_text(path.read_text() + "[CHECKPOINT 1]\n", encoding="utf-8")
    _, report = imported(path, "dsjson")
    assert {reason.split()[0]: count for reason, count in report.left_out.items()} == {
        "CCB": 1,
        "slates": 1,
        "continuous": 1,
        "observations": 1,
        "checkpoints": 1,
    }


def test_contexts_in_lists_and_namespaces_are_attributes(tmp_path: Path) -> None:
    shared = {
        "User": {"tags": ["a", "b"], "age": None, "score": float("nan"), "nested": {"x": {"y": 1}}},
        "From": [{"tier": "gold"}, {"new": True}],
        "list": [1, 2],
        "_multi": event(0)["c"]["_multi"],
    }
    lines, _ = imported(write(tmp_path / "l.dsjson", event(1, c=shared)), "dsjson")
    assert lines[0]["context"]["attributes"] == {
        "User.tags.a": True,
        "User.tags.b": True,
        "User.nested.x.y": 1,
        "From.tier": "gold",
        "From.new": True,
        "list.0": 1,
        "list.1": 2,
    }


def test_lines_that_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "l.dsjson", event(1, c={"t": "x" * (1 << 21)}), event(2))
    deep = '{"EventId":"d","a":[1],"p":[1],"_label_cost":0,"c":' + '{"n":' * 5000 + "1" + "}" * 5001
    path.write_text(path.read_text() + "[1]\n" + deep + "\n" + json.dumps(event(3))[:50], encoding="utf-8")
    lines, report = imported(path, "dsjson", skip_bad=True)
    assert ([line["decision_id"] for line in lines], report.refused, report.read) == (["e2"], 4, 5)


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
def test_the_shared_cases(tmp_path: Path) -> None:
    lines, _ = imported(CASES / "ctx.dsjson", "dsjson", folder=tmp_path)
    assert lines[0]["context"]["attributes"]["FromUrl.tier"] == "gold"
    lines, _ = imported(CASES / "v2_label.dsjson", "dsjson", folder=tmp_path)
    assert [line["provider"] for line in lines] == ["large", "small"]
    _, report = imported(CASES / "mixed.dsjson", "dsjson", folder=tmp_path)
    assert (report.kept, list(report.left_out.values())) == (23, [1])
