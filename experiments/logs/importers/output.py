"""Decisions in the table ``kept`` as a log, written by DuckDB in the order of their times."""

from __future__ import annotations

from pathlib import Path

import duckdb

from fairlead.experiments.files import TABLE_SUFFIXES, sql_text
from fairlead.experiments.logs.importers import sql
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.atomic_file import atomic_path

_CONTEXT = sql.object_of({"task": "task", "attributes": "attributes"})
_COLUMNS = {
    "decision_id": "decision_id",
    "decided_at": sql.time_text("at_us"),
    "route": "route",
    "context": _CONTEXT,
    "providers": "providers",
    "propensities": "propensities",
    "provider": "provider",
    "served_provider": "served_provider",
    "reward": "reward",
    "cost_usd": "cost_usd",
    "latency_s": "latency_s",
    "status": "status",
}
_ALWAYS = ("decision_id", "decided_at", "providers", "provider")
_FORMATS = {".jsonl": "json", ".csv": "csv, HEADER", ".parquet": "parquet, COMPRESSION zstd"}


def write_decisions(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write ``kept`` in the format of the suffix; columns that are empty throughout are left out."""
    if path.suffix not in TABLE_SUFFIXES:
        raise InvalidInput(f"{path}: unknown suffix {path.suffix!r}: use one of {', '.join(TABLE_SUFFIXES)}.")
    columns = dict(_COLUMNS)
    if path.suffix == ".csv":
        columns |= {name: f"to_json({name})::VARCHAR" for name in ("providers", "propensities")}
    if path.suffix == ".parquet":
        columns["decided_at"] = "make_timestamptz(at_us)"
    optional = [name for name in columns if name not in _ALWAYS]
    tests = ", ".join(
        f"count({'coalesce(task, attributes::VARCHAR)' if n == 'context' else n})" for n in optional
    )
    counts = connection.execute(f"SELECT {tests} FROM kept").fetchone()
    assert counts is not None
    empty = {name for name, count in zip(optional, counts, strict=True) if not count}
    chosen = ", ".join(f"{value} AS {name}" for name, value in columns.items() if name not in empty)
    with atomic_path(path) as partial:
        connection.execute(
            f"COPY (SELECT {chosen} FROM kept ORDER BY at_us, row) TO {sql_text(partial)} "
            f"(FORMAT {_FORMATS[path.suffix]})"
        )
