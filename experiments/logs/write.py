"""Writing a log: lines of the canonical form, as JSONL, CSV or Parquet, whole or not at all."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import duckdb

from fairlead.experiments.files import json_value
from fairlead.experiments.logs.fields import KINDS
from fairlead.experiments.logs.source import SUFFIXES, bounded
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.atomic_file import atomic_path

Line = Mapping[str, Any]
"""One decision by column name, as the schema has it; what is left out is unknown."""

_PARQUET: Final = {
    "decision_id": "VARCHAR", "decided_at": "TIMESTAMPTZ", "route": "VARCHAR", "context": "JSON",
    "features": "DOUBLE[]", "providers": "VARCHAR[]", "propensities": "DOUBLE[]", "provider": "VARCHAR",
    "served_provider": "VARCHAR", "reward": "DOUBLE", "cost_usd": "DOUBLE", "latency_s": "DOUBLE",
    "status": "VARCHAR", "target_propensities": "DOUBLE[]", "reward_predictions": "DOUBLE[]",
}  # fmt: skip


def write_log(path: Path, lines: Iterable[Line]) -> int:
    """Write the lines, and say how many; the suffix is the format. The old file stays until the end."""
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{path}: unknown suffix {path.suffix!r}: use one of {', '.join(SUFFIXES)}.")
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


def _checked(line: Line) -> dict[str, Any]:
    strange = line.keys() - KINDS.keys()
    if strange:
        raise InvalidInput(f"a log has no column {sorted(strange)[0]!r}: use those of docs/log-format.md")
    return {name: json_value(line[name]) for name in KINDS if line.get(name) is not None}


def _jsonl(path: Path, lines: Iterable[Line]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in lines:
            file.write(
                json.dumps(_checked(line), ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
            )
            count += 1
    return count


def _csv(file: TextIO, lines: Iterable[Line]) -> int:
    """Numbers and text as they are; lists and objects as JSON in their cell."""
    writer = csv.DictWriter(file, fieldnames=list(KINDS), lineterminator="\n")
    writer.writeheader()
    count = 0
    for line in lines:
        writer.writerow(
            {
                name: json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value
                for name, value in _checked(line).items()
            }
        )
        count += 1
    return count


def _parquet(rows: Path, target: Path) -> None:
    """The JSONL as typed columns; those that are empty throughout are left out."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in _PARQUET.items())
    location = re.sub(r"([*?\[])", r"[\1]", str(rows))
    table = f"read_json(?, format='newline_delimited', columns={{{columns}}}, maximum_object_size=67108864)"
    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder, bounded(Path(folder)) as connection:
        counts = connection.execute(
            f"SELECT {', '.join(f'count({n})' for n in KINDS)} FROM {table}", [location]
        )
        found = counts.fetchone()
        assert found is not None
        kept = [name for name, count in zip(KINDS, found, strict=True) if count or name in ("decision_id",)]
        quoted = str(target).replace("'", "''")
        try:
            connection.execute(
                f"COPY (SELECT {', '.join(kept)} FROM {table}) TO '{quoted}' (FORMAT parquet, "
                "COMPRESSION zstd)",
                [location],
            )
        except duckdb.Error as error:
            raise InvalidInput(
                f"the log cannot be written as Parquet ({str(error).splitlines()[0]}): try .jsonl"
            ) from None
