"""Writing a log: lines of the canonical form, as JSONL, CSV or Parquet, completely or not at all."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import duckdb

from fairlead.experiments.files import TABLE_SUFFIXES, csv_cell, json_value, reason_of, sql_path, sql_text
from fairlead.experiments.logs.fields import KINDS, SQL_TYPES
from fairlead.experiments.logs.source import bounded
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.atomic_file import atomic_path

Line = Mapping[str, Any]
"""One decision by column name, as in the schema; a column that is left out is unknown."""

_PARQUET: Final = {name: "TIMESTAMPTZ" if kind == "time" else SQL_TYPES[kind] for name, kind in KINDS.items()}


def write_log(path: Path, lines: Iterable[Line]) -> int:
    """Write the lines in the format of the suffix, replacing an old file at the end; return their number."""
    if path.suffix not in TABLE_SUFFIXES:
        raise InvalidInput(f"{path}: unknown suffix {path.suffix!r}: use one of {', '.join(TABLE_SUFFIXES)}.")
    with atomic_path(path) as partial:
        if path.suffix == ".csv":
            with partial.open("w", encoding="utf-8", newline="") as file:
                return _csv(file, lines)
        if path.suffix == ".jsonl":
            return _jsonl(partial, lines)
        rows = partial.with_name(f"{partial.name}.jsonl")
        try:
            count = _jsonl(rows, lines)
            _parquet(rows, partial)
        finally:
            rows.unlink(missing_ok=True)
        return count


def _line_columns(line: Line) -> dict[str, Any]:
    unknown = line.keys() - KINDS.keys()
    if unknown:
        raise InvalidInput(f"a log has no column {sorted(unknown)[0]!r}: use those of docs/log-format.md")
    return {name: json_value(line[name]) for name in KINDS if line.get(name) is not None}


def _jsonl(path: Path, lines: Iterable[Line]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            columns = _line_columns(line)
            text = json.dumps(columns, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            file.write(text + "\n")
            count += 1
    return count


def _csv(file: TextIO, lines: Iterable[Line]) -> int:
    """Write numbers and text, without formulas, and lists and objects as JSON in their cell."""
    writer = csv.DictWriter(file, fieldnames=list(KINDS), lineterminator="\n")
    writer.writeheader()
    count = 0
    for line in lines:
        writer.writerow(
            {
                name: json.dumps(value, ensure_ascii=False)
                if isinstance(value, (list, dict))
                else csv_cell(value)
                for name, value in _line_columns(line).items()
            }
        )
        count += 1
    return count


def _parquet(rows: Path, target: Path) -> None:
    """Write the JSONL as typed columns; those that are empty throughout are left out."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _PARQUET.items())
    table = (
        f"read_json({sql_path(rows)}, format='newline_delimited', columns={{{columns}}}, "
        "maximum_object_size=67108864)"
    )
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder, bounded(Path(folder)) as connection:
        counts = connection.execute(
            f"SELECT {', '.join(f'count({n})' for n in KINDS)} FROM {table}"
        ).fetchone()
        assert counts is not None
        kept = [name for name, count in zip(KINDS, counts, strict=True) if count or name == "decision_id"]
        try:
            connection.execute(
                f"COPY (SELECT {', '.join(kept)} FROM {table}) TO {sql_text(target)} "
                "(FORMAT parquet, COMPRESSION zstd)"
            )
        except duckdb.Error as error:
            raise InvalidInput(
                f"the log cannot be written as Parquet ({reason_of(error)}): try .jsonl"
            ) from None
