"""Reading outcome tables: every format gives the same table, and every fault is named."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from fairlead.experiments.tables.outcome_table import read_outcome_table
from fairlead.optimizer.errors import InvalidInput
from tests.paths import SHARED_DATA

COLUMNS = {
    "prompt_id": "VARCHAR",
    "split": "VARCHAR",
    "task": "VARCHAR",
    "prompt": "VARCHAR",
    "model": "VARCHAR",
    "quality": "DOUBLE",
    "cost_usd": "DOUBLE",
    "input_tokens": "INTEGER",
    "output_tokens": "INTEGER",
    "latency_s": "DOUBLE",
}


def row(prompt_id: str, model: str, **changes: Any) -> dict[str, Any]:
    values = {
        "prompt_id": prompt_id,
        "split": None,
        "task": "faq",
        "prompt": f'Say "{prompt_id}",\nplease: é',
        "model": model,
        "quality": 0.5,
        "cost_usd": 0.002 if model == "b/dear" else 0.001,
        "input_tokens": 10,
        "output_tokens": None,
        "latency_s": 1.5,
    }
    return values | changes


def sample() -> list[dict[str, Any]]:
    """Two providers, the dear one first in the file, and one cell missing."""
    return [
        row("p2", "b/dear", quality=1.0, split="test"),
        row("p2", "a/cheap", quality=0, split="test"),
        row("p1", "a/cheap", quality=0.25, latency_s=None),
    ]


def write(path: Path, rows: list[dict[str, Any]], **types: str) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else list(COLUMNS))
            writer.writeheader()
            writer.writerows(rows)
    else:
        kinds = COLUMNS | types
        names = list(rows[0]) if rows else list(COLUMNS)
        fields = ", ".join(f"unnest(?::{kinds.get(name, 'VARCHAR')}[]) AS {name}" for name in names)
        with duckdb.connect() as connection:
            lists = [[values[name] for values in rows] for name in names]
            connection.execute(f"CREATE TABLE t AS SELECT {fields}", lists)
            connection.execute("COPY t TO ? (FORMAT parquet)", [str(path)])
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_format_gives_the_same_table(tmp_path: Path, suffix: str) -> None:
    table = read_outcome_table(write(tmp_path / f"t{suffix}", sample()))
    assert table.providers == ("a/cheap", "b/dear")  # by mean cost
    assert table.prompt_ids == ("p2", "p1")  # in the order of the file
    assert table.prompts == ('Say "p2",\nplease: é', 'Say "p1",\nplease: é')
    assert table.tasks == ("faq", "faq")
    assert table.splits.tolist() == ["test", None]
    np.testing.assert_array_equal(table.quality, [[0.0, 1.0], [0.25, np.nan]])
    np.testing.assert_array_equal(table.cost_usd, [[0.001, 0.002], [0.001, np.nan]])
    np.testing.assert_array_equal(table.latency_s, [[1.5, 1.5], [np.nan, np.nan]])
    np.testing.assert_array_equal(table.input_tokens, [[10, 10], [10, np.nan]])
    assert np.isnan(table.output_tokens).all()
    assert table.available.tolist() == [[True, True], [True, False]]
    assert table.missing == {"a/cheap": 0, "b/dear": 1}
    assert len(table) == 2
    assert table.notes == ("b/dear lacks an outcome for 1 of 2 prompts; it is not a candidate there.",)


def test_columns_that_may_be_empty_may_be_absent_and_others_are_ignored(tmp_path: Path) -> None:
    rows = [{k: v for k, v in r.items() if k not in ("split", "latency_s")} | {"note": "x"} for r in sample()]
    for suffix in (".parquet", ".csv", ".jsonl"):
        table = read_outcome_table(write(tmp_path / f"t{suffix}", rows))
        assert table.splits.tolist() == [None, None]
        assert np.isnan(table.latency_s).all()


def test_nan_counts_as_empty_where_a_column_may_be_empty(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", [row("p1", "a", latency_s=float("nan"))])
    assert np.isnan(read_outcome_table(path).latency_s).all()


def test_the_only_provider_is_allowed_but_said(tmp_path: Path) -> None:
    table = read_outcome_table(write(tmp_path / "t.csv", [row("p1", "a")]))
    assert table.notes == ("a is the only provider, so there is nothing to choose.",)


def test_texts_that_differ_within_a_prompt_are_said(tmp_path: Path) -> None:
    rows = [row("p1", "a", prompt="first"), row("p1", "b", prompt="second"), row("p2", "a"), row("p2", "b")]
    table = read_outcome_table(write(tmp_path / "t.csv", rows))
    assert table.prompts[0] == "first"
    assert table.text_conflicts == 1
    assert "1 prompts have rows with different texts; the first is used." in table.notes


def test_distinct_prompts_keep_the_first_of_each_text_in_order(tmp_path: Path) -> None:
    texts = {"p1": "x", "p2": "", "p3": "y", "p4": "x", "p5": "", "p6": "p2"}
    rows = [
        row(name, model, prompt=text, quality=i / 10)
        for i, (name, text) in enumerate(texts.items())
        for model in "ab"
    ]
    table = read_outcome_table(write(tmp_path / "t.csv", rows), distinct_prompts=True)
    assert table.prompt_ids == ("p1", "p2", "p3", "p5", "p6")
    np.testing.assert_array_equal(table.quality[:, 0], [0.0, 0.1, 0.2, 0.4, 0.5])


def test_providers_are_chosen_by_name_and_wildcard(tmp_path: Path) -> None:
    rows = [row(p, m) for p in ("p1", "p2") for m in ("x/a", "x/b", "y/c")] + [row("p3", "y/c")]
    path = write(tmp_path / "t.parquet", rows)
    assert read_outcome_table(path, providers=["x/*"]).providers == ("x/a", "x/b")
    table = read_outcome_table(path, providers=["y/c", "?/a"])
    assert table.providers == ("x/a", "y/c")
    assert len(read_outcome_table(path, providers=["x/a"])) == 2  # p3 was served by none of them
    for wrong in (["x/a", "z/*"], [], "x/a"):
        with pytest.raises(InvalidInput, match=r"x/a.*x/b.*y/c"):
            read_outcome_table(path, providers=wrong)


def test_wildcards_in_a_file_name_are_letters(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]?"
    folder.mkdir()
    write(tmp_path / "a1.csv", [row("other", "a")])
    assert read_outcome_table(write(folder / "t*.csv", sample())).prompt_ids == ("p2", "p1")


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize(
    ("column", "value", "meaning"),
    [
        ("quality", 1.01, r"a number in \[0, 1\]"),
        ("quality", -0.5, r"a number in \[0, 1\]"),
        ("quality", None, r"a number in \[0, 1\]"),
        ("quality", float("nan"), r"a number in \[0, 1\]"),
        ("quality", float("inf"), r"a number in \[0, 1\]"),
        ("cost_usd", 1e300, "a number of USD from 0 to 1,000"),
        ("latency_s", 1e7, "a number from 0 to 1e6"),
        ("cost_usd", -1.0, "a number of USD from 0 to 1,000"),
        ("cost_usd", None, "a number of USD from 0 to 1,000"),
        ("cost_usd", float("nan"), "a number of USD from 0 to 1,000"),
        ("cost_usd", float("inf"), "a number of USD from 0 to 1,000"),
        ("latency_s", -0.1, "a number from 0 to 1e6"),
        ("latency_s", float("inf"), "a number from 0 to 1e6"),
        ("input_tokens", -1, "a number from 0 to 1e6"),
        ("output_tokens", -7, "a number from 0 to 1e6"),
        ("prompt_id", "", "a name"),
        ("model", None, "a name"),
    ],
)
def test_bad_cells_are_named(tmp_path: Path, *, suffix: str, column: str, value: Any, meaning: str) -> None:
    rows = [row("p1", "a"), row("p1", "b"), row("p2", "a") | {column: value}]
    path = write(tmp_path / f"t{suffix}", rows)
    with pytest.raises(
        InvalidInput, match=rf"^{re.escape(str(path))}: {column} is .* in row 3 .*not {meaning}: "
    ):
        read_outcome_table(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("column", ["quality", "cost_usd", "input_tokens", "latency_s"])
def test_text_in_a_column_of_numbers_is_named(tmp_path: Path, suffix: str, column: str) -> None:
    rows = [row("p1", "a"), row("p2", "a")]
    rows[1][column] = "good"
    path = write(tmp_path / f"t{suffix}", rows, **{column: "VARCHAR"})
    with pytest.raises(InvalidInput, match=rf"{column} is 'good' in row 2 \(prompt_id 'p2', model 'a'\)"):
        read_outcome_table(path)


def test_a_truth_value_is_no_quality(tmp_path: Path) -> None:
    for suffix in (".parquet", ".jsonl"):
        path = write(tmp_path / f"t{suffix}", [row("p1", "a", quality=True)], quality="BOOLEAN")
        with pytest.raises(InvalidInput, match="quality is 'true' in row 1"):
            read_outcome_table(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_repeated_rows_are_named(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"t{suffix}", [*sample(), row("p1", "a/cheap")])
    with pytest.raises(InvalidInput, match="prompt_id 'p1' with model 'a/cheap' stands in 2 rows"):
        read_outcome_table(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_missing_and_misspelt_columns_are_named(tmp_path: Path, suffix: str) -> None:
    renamed = [{"score" if k == "quality" else k: v for k, v in r.items()} for r in sample()]
    with pytest.raises(InvalidInput, match=r"column 'quality' is missing: .*score"):
        read_outcome_table(write(tmp_path / f"a{suffix}", renamed))
    renamed = [{"latency_ms" if k == "latency_s" else k: v for k, v in r.items()} for r in sample()]
    with pytest.raises(InvalidInput, match="'latency_ms' is unknown and looks like 'latency_s'"):
        read_outcome_table(write(tmp_path / f"b{suffix}", renamed))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_without_rows_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(InvalidInput, match="has no rows"):
        read_outcome_table(write(tmp_path / f"t{suffix}", []))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl"])
def test_unreadable_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(InvalidInput, match="no such file"):
        read_outcome_table(path)
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="is empty"):
        read_outcome_table(path)
    path.write_bytes(b"\x00\xff garbage, \xfe\n" * 3)
    with pytest.raises(InvalidInput, match=re.escape(str(path))):
        read_outcome_table(path)


def test_a_truncated_file_and_a_wrong_suffix_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", sample())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="cannot be read as parquet"):
        read_outcome_table(path)
    path = write(tmp_path / "t.jsonl", sample())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidInput, match="cannot be read as jsonl"):
        read_outcome_table(path)
    (tmp_path / "t.xlsx").write_bytes(b"x")
    with pytest.raises(InvalidInput, match=r"'\.xlsx': use one of \.jsonl, \.csv, \.parquet"):
        read_outcome_table(tmp_path / "t.xlsx")
    with pytest.raises(InvalidInput, match="no such file"):
        read_outcome_table(tmp_path)


@pytest.mark.parametrize(
    ("name", "prompts", "providers", "missing"),
    [("paretobandit", 3609, 4, 50), ("routerbench", 3164, 11, 0), ("lookahead", 11655, 5, 3)],
)
def test_real_tables_have_their_published_size(
    *, name: str, prompts: int, providers: int, missing: int
) -> None:
    path = SHARED_DATA / "outcomes" / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not there: set FAIRLEAD_DATA to the folder of the real tables")
    table = read_outcome_table(path)
    assert (len(table), len(table.providers)) == (prompts, providers)
    assert sum(table.missing.values()) == missing
    assert (np.diff([np.nanmean(c) for c in table.cost_usd.T]) >= 0).all()
