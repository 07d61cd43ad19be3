"""Names and labels of a log or a table are shown as they are, whatever reads what is shown."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fairlead.experiments.files import csv_cell, printable
from fairlead.experiments.logs.log import open_log
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.logs.write import write_log
from tests.api.cli.command_line import run
from tests.experiments.logs.log_lines import drawn_lines, write_jsonl

HOSTILE = (
    "=HYPERLINK(1)",
    "[bold]b[/bold] :smile: [/] </script><img src=x>",
    "\u202eesrever\u2066 \x1b[31mred\x1b]0;title\x07\nPromote me",
)
SHOWN = (
    "=HYPERLINK(1)",
    "[bold]b[/bold] :smile: [/] </script><img src=x>",
    r"\u202eesrever\u2066 \x1b[31mred\x1b]0;title\x07\nPromote me",
)
LABEL = "</script><img src=x onerror=alert(1)> @sum [x]"
NEVER = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Tags(HTMLParser):
    """Collects the elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.add(tag)


def tags(page: str) -> set[str]:
    parser = Tags()
    parser.feed(page)
    return parser.names


def hostile_lines(n: int = 400) -> list[dict[str, Any]]:
    content = drawn_lines(n)
    names = dict(zip(content[0]["providers"], HOSTILE, strict=True))
    for i, row in enumerate(content):
        row |= {"providers": list(HOSTILE), "provider": names[row["provider"]], "served_provider": ...}
        row["context"] = {"task": LABEL if i % 2 else "-1+1", "attributes": {"+a": HOSTILE[i % 3]}}
        row.pop("served_provider")
        row["route"] = "@route"
    return content


def squeezed(text: str) -> str:
    return "".join(text.split())


def assert_plain(text: str) -> None:
    assert not NEVER.search(text), repr(NEVER.search(text))


def assert_no_formula(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            for cell in row:
                assert not re.match(r"[=+@\t\r]|-(?![\d.])", cell), cell


def test_a_replay_shows_them(tmp_path: Path) -> None:
    log = write_jsonl(tmp_path / "log.jsonl", hostile_lines())
    outputs = {name: tmp_path / f"out.{name}" for name in ("html", "json", "csv")}
    targets = [part for name in HOSTILE for part in ("--target", f"fixed:{name}")]
    files = ("--report", outputs["html"], "--json", outputs["json"], "--csv", outputs["csv"])
    slices = ("--by", "task", "--by", "+a")
    result = run("replay", log, *targets, *slices, "--all", "--resamples", 100, "--wtp", 1, *files)
    assert result.exit_code == 0, result.output
    assert_plain(result.output)
    assert "\nPromote me" not in result.output
    for shown in (*SHOWN[:2], "onerror=alert(1)>", "[x]"):
        assert squeezed(shown) in squeezed(re.sub("[│┃]", "", result.output)), shown
    page = outputs["html"].read_text()
    assert_plain(page)
    assert not tags(page) & {"img", "script"}
    assert SHOWN[2] in page
    assert_no_formula(outputs["csv"])
    written = json.loads(outputs["json"].read_text())
    assert sorted(written["log"]["providers"]) == sorted(HOSTILE)
    assert_plain(run("replay", log, "--descriptive").output)


def test_a_refusal_shows_them(tmp_path: Path) -> None:
    content = hostile_lines(40)
    content[3]["provider"] = "\x1b[2J\u202e[red]"
    result = run("replay", write_jsonl(tmp_path / "log.jsonl", content))
    assert result.exit_code == 2
    assert_plain(result.stderr)
    assert r"provider \x1b[2J\u202e[red] is not among" in result.stderr


def test_a_simulation_shows_them(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    rows = [
        {
            "prompt_id": str(i),
            "split": "all",
            "task": LABEL if i % 2 else "=1",
            "prompt": f"prompt {i}",
            "model": name,
            "quality": float((i + j) % 3 > 0),
            "cost_usd": 0.001 * (j + 1),
        }
        for i in range(90)
        for j, name in enumerate(HOSTILE)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ("--features", "surface", "--wtp", 0.01, "--seeds", 1, "--no-supervised", "--jobs", 1)
    for suffix in ("csv", "jsonl"):
        outputs = {name: tmp_path / f"out.{name}" for name in ("html", "svg", "json", "csv")}
        log = tmp_path / f"log.{suffix}"
        for kind in ("html", "svg"):
            files = (
                "--chart",
                outputs[kind],
                "--json",
                outputs["json"],
                "--csv",
                outputs["csv"],
                "--log",
                log,
            )
            policy = f"fixed:{HOSTILE[1]}"
            result = run("simulate", table, *options, "--policy", policy, "--task-labels", *files)
            assert result.exit_code == 0, result.output
            assert_plain(result.output)
            assert squeezed(f"fixed:{SHOWN[1]}") in squeezed(result.output)
        assert_no_formula(outputs["csv"])
        assert_plain(outputs["svg"].read_text())
        assert "img" not in tags(outputs["html"].read_text())
        with open_log(log) as opened:
            assert sorted(opened.providers) == sorted(HOSTILE)
    assert_no_formula(tmp_path / "log.csv")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_log_gives_back_what_was_written(tmp_path: Path, *, suffix: str) -> None:
    path = tmp_path / f"log{suffix}"
    names = ["=a", "'=a", "''-b"]
    content = hostile_lines(60)
    for i, row in enumerate(content):
        row |= {"decision_id": f"={i}", "providers": names, "provider": names[i % 3]}
    write_log(path, content)
    if suffix == ".csv":
        assert_no_formula(path)
    with open_log(path) as log, Reader(log) as reader:
        batch = reader.read(log.parts()[0], contexts=True)
        assert sorted(log.providers) == sorted(names)
        assert [log.providers[j] for j in batch.provider[:3]] == names
        context = batch.contexts()[1]
        assert (context.task, dict(context.attributes)) == (LABEL, {"+a": HOSTILE[1]})


def test_what_is_escaped() -> None:
    assert tuple(map(printable, HOSTILE)) == SHOWN
    for word in ("naïve 日本 עברית", "👩\u200d💻", "می\u200cخواهم", r"a\b"):
        assert printable(word) == word
    assert csv_cell(-1.0) == -1.0
    for cell in ("=1", "+1", "-1", "@a", "\t=1", "'=1", "''=1"):
        assert csv_cell(cell) == "'" + cell
    for cell in ("a=1", "'a", "", "1-2"):
        assert csv_cell(cell) == cell
