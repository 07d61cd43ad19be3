"""Logs in three formats read alike; every kind of bad input gets one clear sentence, or is left out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.fields import KINDS, REQUIRED, schema
from fairlead.experiments.logs.log import Log, open_log
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.logs.text_scan import MAX_LINE_BYTES
from fairlead.experiments.logs.write import write_log
from fairlead.optimizer.errors import InvalidInput
from tests.experiments.logs.log_lines import NAMES, line, lines, write_jsonl
from tests.paths import ROOT

DOCS = ROOT / "docs/log-format.md"


def read_all(path: Path, *, size: int = 100_000, skip_bad: bool = False) -> tuple[Log, list[LogBatch]]:
    with open_log(path, skip_bad=skip_bad, part_rows=size) as log, Reader(log) as reader:
        return log, [reader.read(part, contexts=True) for part in log.parts()]


def rich_lines() -> list[dict[str, Any]]:
    content = []
    for i, entry in enumerate(lines(50)):
        more = {
            "features": [0.1 * i, -1.0 / 3.0],
            "target_propensities": [0.1, 0.2, 0.7],
            "reward_predictions": [0.1 * (i % 7), 0.5, 0.6],
        }
        content.append(entry | more)
    # A line may list other providers, in another order.
    content[7] |= {"providers": ["c/dear", "a/cheap"], "propensities": [0.1 + 0.2, 0.7], "provider": "c/dear",
                   "target_propensities": [1.0, 0.0], "reward_predictions": [0.25, 0.75],
                   "served_provider": "a/cheap"}  # fmt: skip
    content[8] |= {"reward": None, "status": "timeout", "served_provider": "x/elsewhere"}
    content[9].pop("cost_usd")
    content[10]["context"] = None
    return content


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_every_format_gives_the_same_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"log [1]{suffix}"
    assert write_log(path, rich_lines()) == 50
    log, (part,) = read_all(path)
    assert log.providers == NAMES
    assert (log.rows, log.width, log.tasks) == (50, 2, ("t0", "t1"))
    assert part.propensities is not None
    assert part.target_propensities is not None
    assert part.reward_predictions is not None
    assert part.propensities[6].tolist() == [0.5, 0.3, 0.2]
    assert part.propensities[7].tolist() == [0.7, 0.0, 0.1 + 0.2]
    assert part.eligible[7].tolist() == [True, False, True]
    assert part.target_propensities[7].tolist() == [0.0, 0.0, 1.0]
    assert part.reward_predictions[7].tolist() == [0.75, 0.0, 0.25]
    assert (part.provider[7], part.served[7], part.served[8], part.served[9]) == (2, 0, -1, 0)
    assert part.failed[8] and part.reward[8] == 0.0 and np.isnan(part.cost_usd[9])
    assert part.failed.nonzero()[0].tolist() == [8]
    assert part.features is not None
    assert part.features[3].tolist() == [0.1 * 3, -1.0 / 3.0]
    contexts = part.contexts()
    assert (contexts[1].task, dict(contexts[1].attributes)) == ("t1", {"tier": "gold", "tools": 1})
    assert (contexts[10].task, dict(contexts[10].attributes)) == (None, {})
    assert part.decided_at_s[1] - part.decided_at_s[0] == 3600.0
    small = read_all(path, size=7)[1]
    assert len(small) == 8
    for name in ("row", "provider", "reward", "propensities", "features"):
        together = np.concatenate([getattr(some, name) for some in small])
        np.testing.assert_array_equal(together, getattr(part, name))


def test_written_lines_keep_to_the_schema_and_the_docs_name_every_column(tmp_path: Path) -> None:
    checker = jsonschema.Draft202012Validator(schema())
    path = tmp_path / "log.jsonl"
    write_log(path, rich_lines())
    for text in path.read_text(encoding="utf-8").splitlines():
        checker.validate(json.loads(text))
    assert set(schema()["properties"]) == set(KINDS)
    assert set(schema()["required"]) == set(REQUIRED)
    documented = re.findall(
        r"^\| `(\w+)` \|", DOCS.read_text(encoding="utf-8").partition("```json")[0], flags=re.MULTILINE
    )
    assert documented == list(KINDS)
    with pytest.raises(jsonschema.ValidationError):
        checker.validate(line(0, propensities=[0.5, 1.5, -1.0]))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"propensities": [0.5, 0.7, -0.2]}, r"propensities has -0\.2, which is no probability: give numbers in"),
    ({"propensities": [0.5, 1.5, 0.2]}, r"propensities has 1\.5, which is no probability"),
    ({"propensities": [0.5, 0.3, 0.1]}, r"propensities sum to 0\.9, not 1: log the whole distribution"),
    ({"propensities": [0.5, 0.5]}, r"propensities has 2 numbers for 3 providers: give one for each"),
    (
        {"propensities": [0.5, 0.5, 0.0], "provider": "c/dear"},
        r"the chosen provider c/dear is 0, yet it was chosen",
    ),
    ({"propensities": [0.5, float("nan"), 0.5]}, r"propensities .* no probability"),
    ({"propensities": ...}, r"propensities are missing here and present elsewhere"),
    (
        {"propensities": [0.5, "0.3", 0.2]},
        r"propensities is \[0\.5,\"0\.3\",0\.2\], which is not a list of numbers",
    ),
    ({"provider": "z/new"}, r"provider z/new is not among providers \(a/cheap, b/mid, c/dear\).*add it"),
    ({"provider": ...}, r"provider is empty"),
    ({"providers": []}, r"providers is empty"),
    (
        {"providers": ["a/cheap", "a/cheap", "c/dear"], "provider": "c/dear"},
        r"providers has a name twice",
    ),
    ({"reward": 1.5}, r"reward is 1\.5, outside quality in \[0, 1\]: rescale it"),
    ({"reward": -0.1}, r"reward is -0\.1, outside"),
    ({"reward": float("inf")}, r"reward is inf, outside"),
    ({"reward": "good"}, r"reward is \"good\", which is not a number: write it as one"),
    ({"reward": True}, r"reward is true, which is not a number"),
    ({"cost_usd": -1}, r"cost_usd is -1, outside USD"),
    ({"latency_s": 1e9}, r"latency_s is 1e\+09, outside seconds"),
    ({"status": "fine"}, r"status is fine: give one of ok, error, timeout, refused"),
    ({"decision_id": "d3"}, r"decision_id d3 stands in row 4 already: keep one line"),
    ({"decision_id": ...}, r"decision_id is empty"),
    ({"decision_id": 17}, r"decision_id is 17, which is not text"),
    ({"decided_at": "2025-01-01T00:00:00Z"}, r"decided_at is earlier than in the row before: sort the log"),
    ({"decided_at": "2026-03-01T20:00:00"}, r"has no zone: append Z for UTC"),
    ({"decided_at": "2026-13-01T20:00:00Z"}, r"which is no time: write it as"),
    ({"context": ["t1"]}, r"context is \[\"t1\"\], which is not an object"),
]


@pytest.mark.parametrize(("change", "expected"), BAD)
def test_a_bad_row_gets_one_sentence_or_is_left_out(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    content = lines(40)
    content[20] = line(20, **change)
    path = write_jsonl(tmp_path / "log.jsonl", content)
    with pytest.raises(InvalidInput, match=expected) as caught:
        read_all(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, row 21: ")
    assert "--skip-bad" in message and "\n" not in message
    log, (part,) = read_all(path, skip_bad=True)
    assert (log.rows, len(part)) == (39, 39)
    assert 21 not in part.row
    assert [row for row, _ in log.left_out] == [21]
    assert "1 row was left out (row 21: " in " ".join(log.notes())


def test_other_lists_and_features_are_checked_too(tmp_path: Path) -> None:
    for change, expected in (
        ({"target_propensities": [0.5, 0.1, 0.1]}, "target_propensities sum to 0.7"),
        ({"reward_predictions": [0.5, None, 0.1]}, "reward_predictions are not one finite number"),
        ({"features": [1.0]}, "features are 1 numbers, but elsewhere there are 2 finite ones"),
    ):
        content = rich_lines()
        content[30] |= change
        with pytest.raises(InvalidInput, match=expected):
            read_all(write_jsonl(tmp_path / "log.jsonl", content))


def broken(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def sound(n: int) -> bytes:
    return "".join(json.dumps(entry) + "\n" for entry in lines(n)).encode()


FILES: list[tuple[str, bytes, str, int]] = [
    (
        "half.jsonl",
        sound(20) + b'{"decision_id": "d20", "decid',
        r"row 21: the line is cut short .* wait until",
        20,
    ),
    (
        "text.jsonl",
        sound(20) + b"hello\n",
        r"row 21: the line is hello, which is not one whole JSON object",
        20,
    ),
    ("list.jsonl", b"[1]\n" + sound(20), r"row 1: the line is \[1\], which is not one whole JSON object", 20),
    (
        "giant.jsonl",
        b'{"x": "' + b"x" * (5 * MAX_LINE_BYTES) + b'"}\n' + sound(20),
        r"row 1: the line is longer",
        20,
    ),
    (
        "latin.jsonl",
        sound(20) + '{"decision_id": "é"}\n'.encode("latin-1"),
        r"row 21: byte 17 .* not UTF-8",
        20,
    ),
    ("nul.jsonl", sound(10) + b"\0" * 100 + b"\n", r"row 11: the line holds a control character", 10),
]


@pytest.mark.parametrize(("name", "content", "expected", "kept"), FILES)
def test_a_broken_line_gets_one_sentence_or_is_left_out(
    tmp_path: Path, *, name: str, content: bytes, expected: str, kept: int
) -> None:
    path = broken(tmp_path / name, content)
    with pytest.raises(InvalidInput, match=expected) as caught:
        read_all(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    log, (part,) = read_all(path, skip_bad=True)
    assert (log.rows, len(part)) == (kept, kept)
    assert len(log.left_out) == 1


def test_empty_lines_count_as_lines_but_are_no_rows(tmp_path: Path) -> None:
    rows = sound(20).split(b"\n")
    path = broken(tmp_path / "log.jsonl", b"\n".join([rows[0], b"", *rows[1:]]))
    _, (part,) = read_all(path)
    assert part.row.tolist() == [1, *range(3, 22)]


def test_csv_that_does_not_fit_its_header(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write_log(path, lines(30))
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "d30,2026-03-", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"log\.csv, row 31: the line is cut short"):
        read_all(path)
    assert read_all(path, skip_bad=True)[0].rows == 30
    path.write_text(text.replace("0.001", "cheap", 1), encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"row 1: cost_usd is cheap, which is not a number"):
        read_all(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.jsonl", b"", r"the log is empty \(0 bytes\)"),
        ("blank.jsonl", b"\n\n", r"the log is empty, as no row is left"),
        ("log.txt", b"x", r"unknown suffix '\.txt': use one of \.jsonl, \.csv, \.parquet"),
        ("utf16.jsonl", "{}\n".encode("utf-16"), r"row 1: byte 0 of the line is not UTF-8"),
        (
            "cut.parquet",
            b"PAR1" + b"\0" * 40,
            r"no whole Parquet file .* cut short or is still being written",
        ),
        ("log.csv", b"a,b\n1,2\n", r"column 'decision_id' is missing among a, b"),
    ],
)
def test_files_that_are_no_log(tmp_path: Path, *, name: str, content: bytes, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        read_all(broken(tmp_path / name, content))
    with pytest.raises(InvalidInput, match="there is no such file"):
        read_all(tmp_path / "absent.jsonl")


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write_log(path, lines(50))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidInput, match=r"no whole Parquet file .* write it again"):
        read_all(path)


def test_one_provider_only(tmp_path: Path) -> None:
    only = lines(20, providers=["a/cheap"], propensities=[1.0], provider="a/cheap")
    with pytest.raises(InvalidInput, match=r"'a/cheap' is the only provider .* nothing to choose"):
        read_all(write_jsonl(tmp_path / "log.jsonl", only))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write_log(path, lines(20))
    before = path.read_bytes()

    def failing() -> Any:
        yield line(0)
        raise OSError("the source broke off")

    for wrong in (failing(), [{"decision_id": "x", "colour": "red"}]):
        with pytest.raises((OSError, InvalidInput)):
            write_log(path, wrong)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["log.parquet"]
