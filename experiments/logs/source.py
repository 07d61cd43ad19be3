"""A file of any kind as typed rows: what DuckDB reads, one column each, with the text of what is of no type.

JSONL and CSV are first written to a Parquet file in a work folder, so that parts of them can be read by
themselves afterwards; a Parquet file is read where it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from fairlead.experiments.files import connect
from fairlead.experiments.logs.fields import KINDS, MEANINGS, REQUIRED, FieldSql, document_sql, field_sql
from fairlead.experiments.logs.text_scan import MAX_LINE_BYTES, SEPARATOR, scan_text
from fairlead.optimizer.errors import InvalidInput

SUFFIXES: Final = (".jsonl", ".csv", ".parquet")
MEMORY: Final = "700MB"
_LINES: Final = (
    f"read_csv(?, columns={{'line': 'VARCHAR'}}, delim='{SEPARATOR}', quote='', escape='', header=false, "
    f"auto_detect=false, max_line_size={2 * MAX_LINE_BYTES})"
)
_CSV: Final = (
    f"read_csv(?, all_varchar=true, header=true, delim=',', quote='\"', escape='\"', "
    f"store_rejects=true, max_line_size={2 * MAX_LINE_BYTES})"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Typed rows in a Parquet file: the relation that reads them, and rows that never became typed.

    ``relation`` is SQL for a subquery with the columns of a log, ``row`` (counted from 1), ``seconds`` since
    1970, ``zoned``, and ``wrong``, the sentence on a value of a wrong type. ``unread`` are (row, reason).
    """

    path: Path
    relation: str
    unread: tuple[tuple[int, str], ...]


def bounded(folder: Path, *, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """A connection that keeps to a bounded memory and spills into ``folder``."""
    return connect(
        memory_limit=MEMORY,
        threads=threads,
        temp_directory=str(folder / "spill"),
        preserve_insertion_order=True,
    )


def read_source(path: Path, folder: Path) -> Source:
    """Check that the file can be read at all, and give its typed rows; work files go into ``folder``."""
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file: check the path.")
    if path.suffix not in SUFFIXES:
        raise InvalidInput(f"{path}: unknown suffix {path.suffix!r}: use one of {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise InvalidInput(f"{path}: the log is empty (0 bytes): give one with at least one decision.")
    try:
        with bounded(folder) as connection:
            if path.suffix == ".parquet":
                return _from_parquet(connection, path)
            return _from_text(connection, path, folder)
    except duckdb.Error as error:
        raise InvalidInput(unreadable(path, error)) from None


def unreadable(path: Path, error: duckdb.Error) -> str:
    """One sentence on a file that DuckDB gives up on."""
    reason = str(error).split("\n")[0].rstrip(". ")
    if path.suffix == ".parquet":
        return (
            f"{path}: this is no whole Parquet file ({reason}): it was cut short or is still being written; "
            "write it again."
        )
    return f"{path}: cannot be read as {path.suffix[1:]} ({reason}): write the file again."


def _quoted(path: Path) -> str:
    """The path as SQL, without its signs being read as wildcards."""
    return "'" + re.sub(r"([*?\[])", r"[\1]", str(path)).replace("'", "''") + "'"


def _typed_columns(sources: dict[str, tuple[str, str]], first: str) -> str:
    """SELECT list from, by column, its SQL and the DuckDB type of that."""
    fields: dict[str, FieldSql] = {}
    for name in KINDS:
        sql, kind = sources.get(name, ("NULL", None))
        fields[name] = field_sql(name, sql, kind)
    time = fields["decided_at"]
    wrong = ", ".join(
        f"'{name} is ' || ({field.wrong}) || ', which is not {MEANINGS[KINDS[name]]}: write it as one'"
        for name, field in fields.items()
        if field.wrong != "NULL::VARCHAR"
    )
    parts = [f"{first} AS row", *(f"{field.value} AS {name}" for name, field in fields.items())]
    parts += [f"{time.seconds} AS seconds", f"{time.zoned} AS zoned"]
    return ", ".join([*parts, f"coalesce({wrong or 'NULL'}, NULL::VARCHAR) AS wrong"])


def _columns_there(path: Path, found: dict[str, str]) -> dict[str, tuple[str, str]]:
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise InvalidInput(
            f"{path}: column {missing[0]!r} is missing among {', '.join(found) or 'none'}: write a log as "
            "docs/log-format.md has it, or import one with `fairlead import-log`."
        )
    return {name: (f'"{name}"', found[name]) for name in KINDS if name in found}


def _with_documents(there: dict[str, tuple[str, str]], table: str) -> str:
    """The table, and beside its columns of text those that hold JSON as documents."""
    found = [document_sql(name, *source) for name, source in there.items()]
    documents = [sql for sql in found if sql is not None]
    return f"(SELECT {', '.join(['*', *documents])} FROM {table})" if documents else table


def _from_parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> Source:
    table = f"read_parquet({_quoted(path)}, file_row_number=true)"
    found = {str(row[0]): str(row[1]) for row in connection.execute(f"DESCRIBE FROM {table}").fetchall()}
    there = _columns_there(path, found)
    columns = _typed_columns(there, "file_row_number + 1")
    documents = _with_documents(there, table)
    return Source(
        path=path, relation=f"(SELECT {columns}, file_row_number AS place FROM {documents})", unread=()
    )


def _from_text(connection: duckdb.DuckDBPyConnection, path: Path, folder: Path) -> Source:
    facts = scan_text(path)
    sound = path
    if facts.bad:  # read on a copy without them, so that the rest can be told about too
        sound = folder / f"sound{path.suffix}"
        scan_text(path, copy_to=sound)
    staged = folder / "rows.parquet"
    target = f"TO {_quoted(staged)} (FORMAT parquet, COMPRESSION lz4)"
    location = str(sound) if sound != path else re.sub(r"([*?\[])", r"[\1]", str(path))
    if path.suffix == ".jsonl":
        unread = list(facts.bad)
        connection.execute(f"COPY ({_json_rows(facts.lines, facts.ends)}) {target}", [location])
    else:
        described = connection.execute(f"DESCRIBE FROM {_CSV}", [location]).fetchall()
        found = {str(row[0]): str(row[1]) for row in described}
        there = _columns_there(path, found)
        columns = _typed_columns(there, "row_number() OVER ()")
        connection.execute(
            f"COPY (SELECT {columns} FROM {_with_documents(there, _CSV)}) {target}", [location]
        )
        unread = [(line - 1, reason) for line, reason in facts.bad]  # line 1 is the header
        unread += _rejected(connection, facts.lines, facts.ends)
    relation = (
        f"(SELECT *, file_row_number AS place FROM read_parquet({_quoted(staged)}, file_row_number=true))"
    )
    return Source(path=staged, relation=relation, unread=tuple(sorted(unread)))


CUT_SHORT: Final = (
    "the line is cut short and the file ends without a line break: it is still being written; wait until it "
    "is whole"
)


def _json_rows(lines: int, ends: bool) -> str:
    """Every line that is not empty, parsed once; one that is no JSON object says so in ``wrong``."""
    paths = "[" + ", ".join(f"'$.{name}'" for name in KINDS) + "]"
    sources = {name: (f"x[{i + 1}]", "JSON") for i, name in enumerate(KINDS)}
    columns = _typed_columns(sources, "row")
    cut = f"row = {lines}" if not ends else "false"
    broken = (
        f"CASE WHEN NOT whole AND {cut} THEN '{CUT_SHORT}' WHEN NOT whole THEN 'the line is ' || "
        "left(line, 60) "
        "|| ', which is not one whole JSON object: mend it' END"
    )
    inner = (
        f"SELECT row, line, whole, CASE WHEN whole THEN json_extract(line, {paths}) END AS x FROM ("
        "SELECT row, line, CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END AS "
        "whole FROM ("
        f"SELECT row_number() OVER () AS row, line FROM {_LINES}) WHERE trim(line) <> '')"
    )
    return (
        f"SELECT * EXCLUDE (line, whole) REPLACE (coalesce({broken}, wrong) AS wrong) "
        f"FROM (SELECT {columns}, line, whole FROM ({inner}))"
    )


def _rejected(connection: duckdb.DuckDBPyConnection, lines: int, ends: bool) -> list[tuple[int, str]]:
    query = "SELECT line, any_value(error_message) FROM reject_errors GROUP BY line ORDER BY line"
    found = []
    for line, message in connection.execute(query).fetchall():
        reason = str(message).split("\n")[0].rstrip(". ")
        cut = not ends and line == lines
        told = CUT_SHORT if cut else f"the line does not fit the header ({reason}): mend it"
        found.append((int(line) - 1, told))
    return found
