"""The columns of a log, and the SQL that reads each of them from JSON, from text, or from a typed column."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

Kind = Literal["text", "number", "texts", "numbers", "time", "object"]
SCHEMA_PATH: Final = Path(__file__).with_name("schema.json")

KINDS: Final[dict[str, Kind]] = {
    "decision_id": "text",
    "decided_at": "time",
    "route": "text",
    "context": "object",
    "features": "numbers",
    "providers": "texts",
    "propensities": "numbers",
    "provider": "text",
    "served_provider": "text",
    "reward": "number",
    "cost_usd": "number",
    "latency_s": "number",
    "status": "text",
    "target_propensities": "numbers",
    "reward_predictions": "numbers",
}
"""Every column, in the order in which they are written, and what it holds."""

REQUIRED: Final = ("decision_id", "decided_at", "providers", "provider")
MEANINGS: Final[dict[Kind, str]] = {
    "text": "text",
    "number": "a number",
    "texts": "a list of names",
    "numbers": "a list of numbers",
    "time": "a time as text, such as 2026-03-01T12:00:00Z",
    "object": 'an object, such as {"task": "chat"}',
}
SQL_TYPES: Final[dict[Kind, str]] = {
    "text": "VARCHAR", "number": "DOUBLE", "texts": "VARCHAR[]", "numbers": "DOUBLE[]", "time": "VARCHAR",
    "object": "JSON",
}  # fmt: skip
_NUMERIC: Final = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
_ZONE: Final = r"([Zz]|[+-]\d{2}(:?\d{2})?)$"
_SHOWN_CHARS: Final = 60


def schema() -> dict[str, Any]:
    """Return the JSON Schema of one line."""
    content: dict[str, Any] = json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True, kw_only=True)
class FieldSql:
    """SQL that reads one column: its value, and the text of a value that has the wrong type; NULL if none.

    Of a time, ``zoned`` is whether it has a zone, and ``seconds`` are those since 1970.
    """

    value: str
    wrong: str
    seconds: str = "NULL::DOUBLE"
    zoned: str = "true"


def field_sql(name: str, source: str, kind_of_source: str | None) -> FieldSql:
    """Write the SQL that reads column ``name`` from ``source``, an expression of that type (None: absent)."""
    kind = KINDS[name]
    if kind_of_source is None:
        return FieldSql(value=f"NULL::{SQL_TYPES[kind]}", wrong="NULL::VARCHAR")
    if kind_of_source == "JSON":
        return _from_json(kind, source)
    if kind_of_source == "VARCHAR":
        return _from_text(name, kind, source)
    return _from_typed(kind, source, kind_of_source)


def _shown(text: str) -> str:
    return f"left({text}, {_SHOWN_CHARS})"


def _from_json(kind: Kind, source: str) -> FieldSql:
    present = f"({source} IS NOT NULL AND json_type({source}) <> 'NULL')"
    if kind in ("text", "time"):
        value, fits = f"({source} ->> '$')", f"json_type({source}) = 'VARCHAR'"
    elif kind == "number":
        value = f"TRY_CAST({source} AS DOUBLE)"
        fits = f"json_type({source}) IN ('DOUBLE', 'BIGINT', 'UBIGINT', 'HUGEINT')"
    elif kind == "object":
        value, fits = source, f"json_type({source}) = 'OBJECT'"
    else:
        # A number written as text among numbers is a mixed type, though a cast would take it.
        alike = f"NOT contains({source}::VARCHAR, '\"')" if kind == "numbers" else "true"
        value = f"TRY_CAST({source} AS {SQL_TYPES[kind]})"
        fits = f"json_type({source}) = 'ARRAY' AND {alike} AND {value} IS NOT NULL"
    field = FieldSql(
        value=f"CASE WHEN {present} AND {fits} THEN {value} END",
        wrong=f"CASE WHEN {present} AND ({fits}) IS NOT TRUE THEN {_shown(f'{source}::VARCHAR')} END",
    )
    return _with_time(field) if kind == "time" else field


def _from_text(name: str, kind: Kind, source: str) -> FieldSql:
    """Read text as in a CSV file: lists and objects are written as JSON, and an empty text is no value."""
    present = f"({source} IS NOT NULL AND {source} <> '')"
    if kind in ("text", "time"):
        field = FieldSql(value=f"CASE WHEN {present} THEN {source} END", wrong="NULL::VARCHAR")
        return _with_time(field) if kind == "time" else field
    if kind == "number":
        value, fits = f"TRY_CAST({source} AS DOUBLE)", f"TRY_CAST({source} AS DOUBLE) IS NOT NULL"
        return FieldSql(
            value=f"CASE WHEN {present} THEN {value} END",
            wrong=f"CASE WHEN {present} AND NOT {fits} THEN {_shown(source)} END",
        )
    # The document has a column of its own (`document_sql`): repeated here, the SQL would grow beyond reason.
    inner = _from_json(kind, document_name(name))
    broken = f"CASE WHEN {present} AND {document_name(name)} IS NULL THEN {_shown(source)} END"
    return FieldSql(value=inner.value, wrong=f"coalesce({broken}, {inner.wrong})")


def document_name(name: str) -> str:
    """Name the column into which `document_sql` puts the document of column ``name``."""
    return f"document_of_{name}"


def document_sql(name: str, source: str, kind_of_source: str | None) -> str | None:
    """Write SQL of the JSON document in a text column of lists or objects; None for every other column."""
    if kind_of_source != "VARCHAR" or KINDS[name] in ("text", "time", "number"):
        return None
    return f"CASE WHEN json_valid({source}) THEN {source}::JSON END AS {document_name(name)}"


def _from_typed(kind: Kind, source: str, kind_of_source: str) -> FieldSql:
    nothing = "NULL::VARCHAR"
    if kind == "time" and kind_of_source.startswith("TIMESTAMP"):
        zoned = "WITH TIME ZONE" in kind_of_source
        return FieldSql(
            value=f"{source}::VARCHAR",
            wrong=nothing,
            seconds=f"epoch({source})",
            zoned="true" if zoned else "false",
        )
    if kind == "number" and _NUMERIC.fullmatch(kind_of_source):
        return FieldSql(value=f"{source}::DOUBLE", wrong=nothing)
    if kind in ("texts", "numbers") and kind_of_source.endswith("]"):
        inner = kind_of_source.rpartition("[")[0]
        if (inner == "VARCHAR") == (kind == "texts") and (kind == "texts" or _NUMERIC.fullmatch(inner)):
            return FieldSql(value=f"{source}::{SQL_TYPES[kind]}", wrong=nothing)
    if kind == "object" and kind_of_source.startswith(("STRUCT", "MAP")):
        return FieldSql(value=f"to_json({source})", wrong=nothing)
    wrong = f"CASE WHEN {source} IS NOT NULL THEN {_shown(f'{source}::VARCHAR')} END"
    return FieldSql(value=f"NULL::{SQL_TYPES[kind]}", wrong=wrong)


def _with_time(field: FieldSql) -> FieldSql:
    return FieldSql(
        value=field.value,
        wrong=field.wrong,
        seconds=f"epoch(TRY_CAST({field.value} AS TIMESTAMPTZ))",
        zoned=f"regexp_matches({field.value}, '{_ZONE}')",
    )
