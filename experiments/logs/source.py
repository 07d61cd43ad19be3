"""A log file as typed rows, one column per field, with the text of every value that has the wrong type.

JSONL and CSV are first copied into a Parquet file in a work folder, so that parts of them can be read on
their own afterwards; a Parquet file is read where it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from fairlead.experiments.files import check_table_file, connect, reason_of, sql_path, sql_text
from fairlead.experiments.logs.fields import KINDS, MEANINGS, REQUIRED, FieldSql, document_sql, field_sql
from fairlead.experiments.logs.text_scan import MAX_LINE_BYTES, SEPARATOR, TextFacts, scan_text
from fairlead.optimizer.errors import InvalidInput

MEMORY: Final = "700MB"
_ROOM: Final = f"max_line_size={2 * MAX_LINE_BYTES}"
_LINES: Final = (
    f"columns={{'line': 'VARCHAR'}}, delim='{SEPARATOR}', quote='', escape='', header=false, "
    f"auto_detect=false, {_ROOM}"
)
_CSV: Final = (
    f"all_varchar=true, header=true, delim=',', quote='\"', escape='\"', store_rejects=true, {_ROOM}"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Typed rows: the relation that reads them, and the rows that could not be typed.

    ``relation`` is SQL for a subquery with the columns of a log and further ones: ``row`` (counted from 1 as
    in the file), ``position`` (counted from 0 in the Parquet file that is read), ``seconds`` since 1970,
    ``zoned`` (whether the time has a zone), and ``wrong``, a sentence on a value of a wrong type. ``unread``
    are (row, reason).
    """

    relation: str
    unread: tuple[tuple[int, str], ...]


def bounded(folder: Path, *, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """Open a connection that keeps within `MEMORY` and spills into ``folder``."""
    return connect(
        memory_limit=MEMORY,
        threads=threads,
        temp_directory=str(folder / "spill"),
        preserve_insertion_order=True,
    )


def read_source(path: Path, folder: Path) -> Source:
    """Read a file as typed rows, or raise `InvalidInput` if it is no log; work files go into ``folder``."""
    check_table_file(path, empty="the log is empty (0 bytes): give one with at least one decision.")
    try:
        with bounded(folder) as connection:
            if path.suffix == ".parquet":
                return _from_parquet(connection, path)
            return _from_text(connection, path, folder)
    except duckdb.Error as error:
        raise InvalidInput(unreadable(path, error)) from None


def unreadable(path: Path, error: duckdb.Error) -> str:
    """Write the sentence on a file that DuckDB cannot read."""
    if path.suffix == ".parquet":
        return (
            f"{path}: this is no whole Parquet file ({reason_of(error)}): it was cut short or is still being "
            "written; write it again."
        )
    return f"{path}: cannot be read as {path.suffix[1:]} ({reason_of(error)}): write the file again."


def _typed_columns(sources: dict[str, tuple[str, str]], first: str) -> str:
    """Write a SELECT list from the SQL of every column and the DuckDB type of that."""
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


def _sources(path: Path, types: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Pair every column of a log that the file has with its SQL and its type in DuckDB."""
    missing = [name for name in REQUIRED if name not in types]
    if missing:
        raise InvalidInput(
            f"{path}: column {missing[0]!r} is missing among {', '.join(types) or 'none'}: write a log as "
            "docs/log-format.md has it, or import one with `fairlead import-log`."
        )
    return {name: (_cell(path, name), types[name]) for name in KINDS if name in types}


def _cell(path: Path, name: str) -> str:
    """Write SQL of a column; of the text of a CSV file as it was before `files.csv_cell` guarded it."""
    if path.suffix != ".csv" or KINDS[name] != "text":
        return f'"{name}"'
    return f'if(regexp_matches("{name}", \'^\'\'+[=+\\-@\\t\\r]\'), "{name}"[2:], "{name}")'


def _typed_rows(
    connection: duckdb.DuckDBPyConnection, path: Path, table: str, *, row: str, more: str = ""
) -> str:
    """Write the SELECT of a table's typed rows; ``row`` is the SQL of their number in the file."""
    described = connection.execute(f"DESCRIBE FROM {table}").fetchall()
    sources = _sources(path, {str(name): str(kind) for name, kind, *_ in described})
    documents = [document_sql(name, *source) for name, source in sources.items()]
    parsed = ", ".join(["*", *(sql for sql in documents if sql is not None)])
    return f"SELECT {_typed_columns(sources, row)}{more} FROM (SELECT {parsed} FROM {table})"


def _parquet_rows(path: Path) -> str:
    return f"read_parquet({sql_path(path)}, file_row_number=true)"


def _from_parquet(connection: duckdb.DuckDBPyConnection, path: Path) -> Source:
    row, more = "file_row_number + 1", ", file_row_number AS position"
    rows = _typed_rows(connection, path, _parquet_rows(path), row=row, more=more)
    return Source(relation=f"({rows})", unread=())


def _from_text(connection: duckdb.DuckDBPyConnection, path: Path, folder: Path) -> Source:
    facts = scan_text(path)
    readable = path
    if facts.bad:  # read from a copy without the bad lines, so that all other rows are checked too
        readable = folder / f"readable{path.suffix}"
        scan_text(path, copy_to=readable)
    staged = folder / "rows.parquet"
    if path.suffix == ".jsonl":
        unread = list(facts.bad)
        rows = _json_rows(readable, facts)
    else:
        unread = [(line - 1, reason) for line, reason in facts.bad]  # line 1 is the header
        table = f"read_csv({sql_path(readable)}, {_CSV})"
        rows = _typed_rows(connection, path, table, row="row_number() OVER ()")
    connection.execute(f"COPY ({rows}) TO {sql_text(staged)} (FORMAT parquet, COMPRESSION lz4)")
    if path.suffix == ".csv":
        unread += _rejected(connection, facts)
    relation = f"(SELECT *, file_row_number AS position FROM {_parquet_rows(staged)})"
    return Source(relation=relation, unread=tuple(sorted(unread)))


CUT_SHORT: Final = (
    "the line is cut short and the file ends without a line break: it is still being written; wait until it "
    "is whole"
)


def _json_rows(path: Path, facts: TextFacts) -> str:
    """Write the SELECT that parses every line once; ``wrong`` says which line is no JSON object."""
    paths = "[" + ", ".join(f"'$.{name}'" for name in KINDS) + "]"
    sources = {name: (f"x[{i + 1}]", "JSON") for i, name in enumerate(KINDS)}
    cut_short = "false" if facts.ends else f"row = {facts.lines}"
    broken = (
        f"CASE WHEN NOT whole AND {cut_short} THEN '{CUT_SHORT}' WHEN NOT whole THEN 'the line is ' || "
        "left(line, 60) || ', which is not one whole JSON object: mend it' END"
    )
    lines = f"SELECT row_number() OVER () AS row, line FROM read_csv({sql_path(path)}, {_LINES})"
    checked = (
        "SELECT row, line, CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END "
        f"AS whole FROM ({lines}) WHERE trim(line) <> ''"
    )
    parsed = (
        f"SELECT row, line, whole, CASE WHEN whole THEN json_extract(line, {paths}) END AS x FROM ({checked})"
    )
    return (
        f"SELECT * EXCLUDE (line, whole) REPLACE (coalesce({broken}, wrong) AS wrong) "
        f"FROM (SELECT {_typed_columns(sources, 'row')}, line, whole FROM ({parsed}))"
    )


def _rejected(connection: duckdb.DuckDBPyConnection, facts: TextFacts) -> Iterator[tuple[int, str]]:
    """Rows of CSV that DuckDB left out, each with the reason."""
    query = "SELECT line, any_value(error_message) FROM reject_errors GROUP BY line ORDER BY line"
    for line, message in connection.execute(query).fetchall():
        reason = str(message).split("\n")[0].rstrip(". ")
        is_cut = not facts.ends and line == facts.lines
        yield int(line) - 1, CUT_SHORT if is_cut else f"the line does not fit the header ({reason}): mend it"
