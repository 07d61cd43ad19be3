"""A file of another system as rows of text, whatever its format, compression and encoding."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import duckdb

from fairlead.experiments.files import sql_name, sql_path, sql_text
from fairlead.experiments.logs.source import CUT_SHORT
from fairlead.experiments.logs.text_scan import MAX_LINE_BYTES, SEPARATOR, TextFacts, scan_text
from fairlead.optimizer.errors import InvalidInput

Sql = str

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".dsjson", ".log", ".csv", ".tsv", ".parquet")
_WIDEST: Final = f"max_line_size={2 * MAX_LINE_BYTES}"
_LINES: Final = (
    f"columns={{'line': 'VARCHAR'}}, delim='{SEPARATOR}', quote='', escape='', header=false, "
    f"auto_detect=false, {_WIDEST}"
)
_NOTHING: Final = "('', 'None', 'none', 'null', 'NULL', 'NaN', 'nan', '\\N')"
_ENCODINGS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LARGEST_OBJECT: Final = 1 << 28
_LARGEST_ROW: Final = 1 << 24
_LISTS: Final = ("data", "logs", "items", "results", "rows", "generations", "observations", "traces")
"""Names under which exports that are one object hold their rows."""

_BLOCK: Final = 1 << 20
_INNER: Final = "in "
"""Begins the names of columns that are read from within another one."""


def suffix_of(path: Path) -> str:
    """Return the suffix in small letters, without that of gzip."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def readable_text(path: Path, folder: Path) -> Path:
    """Return the file as UTF-8 without mark of order and uncompressed: itself, or a copy in the folder."""
    if path.is_dir():
        raise InvalidInput(f"{path}: this is a folder: name one file in it.")
    if not path.exists():
        raise InvalidInput(f"{path}: there is no such file: check the path.")
    if not path.is_file():
        raise InvalidInput(f"{path}: this is a pipe or a device: write its content to a file first.")
    if suffix_of(path) not in SUFFIXES:
        raise InvalidInput(
            f"{path}: unknown suffix {path.suffix!r}: use one of {', '.join(SUFFIXES)}, with .gz if it is "
            "compressed."
        )
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise InvalidInput(f"{path}: the file is empty (0 bytes): export it again.")
    if start[:2] == b"\x1f\x8b":
        path = _uncompressed(path, folder / f"uncompressed{suffix_of(path)}")
    if suffix_of(path) == ".parquet":
        return path
    return _as_utf8(path, folder / f"text{suffix_of(path)}")


def _uncompressed(path: Path, copy: Path) -> Path:
    try:
        with gzip.open(path) as file, copy.open("wb") as target:
            while block := file.read(_BLOCK):
                target.write(block)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(
            f"{path}: this is no whole gzip file ({error}): it was cut short or is still being written; "
            "export it again."
        ) from None
    return copy


def _as_utf8(path: Path, copy: Path) -> Path:
    with path.open("rb") as file:
        start = file.read(4)
    encoding = next((name for mark, name in _ENCODINGS if start.startswith(mark)), None)
    if encoding is None:
        return path
    try:
        with (
            path.open(encoding=encoding, newline="") as file,
            copy.open("w", encoding="utf-8", newline="") as to,
        ):
            while block := file.read(_BLOCK):
                to.write(block)
    except UnicodeError as error:
        raise InvalidInput(f"{path}: this is no whole {encoding} text ({error}): save it as UTF-8.") from None
    return copy


@dataclass(kw_only=True, eq=False)
class Table:
    """Rows of a file; `text` says which columns are wanted, and `relation` reads these.

    ``columns`` are those of the file as {name: SQL of its text}; a file of JSON has none, as its rows may
    each have others. ``source`` is SQL of the rows with their number, ``row``, and ``broken``, the reason why
    one cannot be read.
    """

    path: Path
    source: Sql
    columns: Mapping[str, Sql] | None
    unread: tuple[tuple[int, str], ...] = ()
    _wanted: dict[str, Sql] = field(default_factory=dict)
    _inner: dict[str, tuple[Sql, str]] = field(default_factory=dict)

    def require(self, *names: str, remedy: str) -> None:
        """Raise `InvalidInput` if a table lacks one of these columns."""
        if self.columns is None:
            return
        for name in names:
            if self._column(name) is None:
                raise InvalidInput(
                    f"{self.path}: {name} is missing among {', '.join(self.columns)}: {remedy}."
                )

    def text(self, *names: str) -> Sql:
        """Return SQL of the first of these columns that has a value, as text, else NULL.

        A dot leads into an object: ``metadata.key``.
        """
        parts = [part for name in names for part in self._parts(name)]
        if not parts:
            return "NULL::VARCHAR"
        return parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})"

    def _parts(self, name: str) -> list[Sql]:
        head, _, rest = name.partition(".")
        parts = [part for part in (self._column(name),) if part is not None]
        if rest and (outer := self._column(head)) is not None:
            self._inner[_INNER + name] = (outer, rest)
            parts.append(sql_name(_INNER + name))
        return parts

    def _column(self, name: str) -> Sql | None:
        if self.columns is None:
            return self._want(name, f"json_extract_string(document, {sql_text(_path(name))})")
        actual = next((column for column in self.columns if column.lower() == name.lower()), None)
        return None if actual is None else self._want(name, self.columns[actual])

    def _want(self, alias: str, expression: Sql) -> Sql:
        self._wanted[alias] = expression
        return sql_name(alias)

    def relation(self) -> Sql:
        """Return SQL of the rows with the columns that were asked for."""
        plain, source = self._wanted, self.source
        if self.columns is None and plain:  # all columns of a document by one pass over it
            paths = ", ".join(sql_text(_path(alias)) for alias in plain)
            source = f"(SELECT row, broken, json_extract_string(document, [{paths}]) AS x FROM {source})"
            plain = {alias: _value(f"x[{i}]") for i, alias in enumerate(plain, 1)}
        rows = f"(SELECT {', '.join(['row', 'broken', *_named(plain)])} FROM {source})"
        return self._with_inner(rows) if self._inner else rows

    def _with_inner(self, rows: Sql) -> Sql:
        """Add what was asked for from within columns, each of which is parsed once."""
        paths: dict[Sql, list[str]] = {}
        values = {}
        for alias, (outer, rest) in self._inner.items():
            own = paths.setdefault(outer, [])
            nested = "$" + "".join(f'."{part}"' for part in rest.split("."))
            parts = []
            for path in dict.fromkeys((_path(rest), nested)):
                own.append(path)
                parts.append(f"{_of(outer)}[{len(own)}]")
            values[alias] = _value(parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})")
        parsed = [
            f"CASE WHEN json_valid({outer}) THEN json_extract_string({outer}, "
            f"[{', '.join(map(sql_text, own))}]) END AS {_of(outer)}"
            for outer, own in paths.items()
        ]
        lists = ", ".join(map(_of, paths))
        added = ", ".join([f"* EXCLUDE ({lists})", *_named(values)])
        return f"(SELECT {added} FROM (SELECT {', '.join(['*', *parsed])} FROM {rows}))"


def _of(outer: Sql) -> Sql:
    return sql_name("parsed " + outer.strip('"'))


def _named(expressions: Mapping[str, Sql]) -> list[Sql]:
    return [f"{expression} AS {sql_name(alias)}" for alias, expression in expressions.items()]


def _value(text: Sql) -> Sql:
    return f"CASE WHEN {text} IN {_NOTHING} THEN NULL ELSE {text} END"


def _path(name: str) -> str:
    return '$."' + name.replace('"', '\\"') + '"'


def open_rows(connection: duckdb.DuckDBPyConnection, path: Path, folder: Path) -> Table:
    """Open a file of JSON, CSV or Parquet by its suffix; work files go into the folder."""
    text = readable_text(path, folder)
    suffix = suffix_of(text)
    if suffix == ".parquet":
        return _parquet(connection, text, path)
    if suffix in (".csv", ".tsv"):
        return replace(_csv(connection, text, folder), path=path)
    return _json(text, path, folder)


def _parquet(connection: duckdb.DuckDBPyConnection, text: Path, path: Path) -> Table:
    source = f"read_parquet({sql_path(text)}, file_row_number=true)"
    columns = {}
    for name, kind, *_ in connection.execute(f"DESCRIBE FROM {source}").fetchall():
        nested = str(kind).endswith("]") or str(kind).startswith(("STRUCT", "MAP"))
        value = f"to_json({sql_name(name)})" if nested else sql_name(name)
        columns[str(name)] = _value(value) if str(kind) == "VARCHAR" else f"{value}::VARCHAR"
    columns.pop("file_row_number", None)
    rows = f"(SELECT file_row_number + 1 AS row, NULL::VARCHAR AS broken, * FROM {source})"
    return Table(path=path, source=rows, columns=columns)


def _csv(connection: duckdb.DuckDBPyConnection, path: Path, folder: Path) -> Table:
    facts = scan_text(path)
    if facts.bad:
        copy = folder / "readable.csv"
        scan_text(path, copy_to=copy)
        path = copy
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        header = file.readline(MAX_LINE_BYTES)
    delimiter = max(",;\t|", key=header.count)
    reader = (
        f"read_csv({sql_path(path)}, all_varchar=true, header=true, delim={sql_text(delimiter)}, quote='\"', "
        f"escape='\"', store_rejects=true, {_WIDEST})"
    )
    names = [str(row[0]) for row in connection.execute(f"DESCRIBE FROM {reader}").fetchall()]
    rows = f"(SELECT row_number() OVER () AS row, NULL::VARCHAR AS broken, * FROM {reader})"
    unread = tuple((line - 1, reason) for line, reason in facts.bad)  # line 1 is the header
    return Table(
        path=path, source=rows, columns={name: _value(sql_name(name)) for name in names}, unread=unread
    )


def _json(text: Path, path: Path, folder: Path) -> Table:
    with text.open("rb") as file:
        start = file.read(MAX_LINE_BYTES).lstrip()
    if start.startswith(b"["):
        reader = f"read_json_objects({sql_path(text)}, format='array', maximum_object_size={_LARGEST_ROW})"
        rows = f"SELECT row_number() OVER () AS row, NULL::VARCHAR AS broken, json AS document FROM {reader}"
        return Table(path=path, source=f"({rows})", columns=None)
    if suffix_of(text) == ".json" and (listed := _rows_of_object(text, path)) is not None:
        return documents(listed, folder)
    facts = scan_text(text)
    if facts.bad:
        copy = folder / "readable.jsonl"
        scan_text(text, copy_to=copy)
        text = copy
    return Table(path=path, source=_json_lines(text, facts), columns=None, unread=facts.bad)


def _rows_of_object(text: Path, path: Path) -> list[dict[str, Any]] | None:
    """Return the rows of an export that is one object, None if the file has an object on each line."""
    with text.open("rb") as file:
        try:
            first = json.loads(file.readline(MAX_LINE_BYTES))
            if file.readline(MAX_LINE_BYTES).strip():
                return None
        except ValueError:
            first = None
    if first is None:
        if text.stat().st_size > _LARGEST_OBJECT:
            raise InvalidInput(f"{path}: one object of over {_LARGEST_OBJECT:,} bytes: export it as .jsonl.")
        try:
            first = json.loads(text.read_text("utf-8"))
        except (ValueError, RecursionError):
            return None
    lists = [first[name] for name in _LISTS if isinstance(first, dict) and isinstance(first.get(name), list)]
    return lists[0] if lists else None


def documents(rows: Iterable[Mapping[str, Any]], folder: Path) -> Table:
    """Write documents to a work file and read them as rows; ``row`` and ``wrong`` of each are kept."""
    staged = folder / "documents.jsonl"
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    with staged.open("w", encoding="utf-8", newline="\n") as file:
        for number, row in enumerate(rows, 1):
            file.write(encode({"row": number, **row}) + "\n")
    lines = f"read_csv({sql_path(staged)}, {_LINES.replace(str(2 * MAX_LINE_BYTES), str(_LARGEST_ROW))})"
    source = (
        "(SELECT json_extract(line, '$.row')::BIGINT AS row, json_extract_string(line, '$.wrong') AS broken, "
        f"line::JSON AS document FROM {lines})"
    )
    return Table(path=staged, source=source, columns=None)


def _json_lines(path: Path, facts: TextFacts) -> Sql:
    cut_short = "false" if facts.ends else f"row = {facts.lines}"
    broken = (
        f"CASE WHEN whole THEN NULL WHEN {cut_short} THEN {sql_text(CUT_SHORT)} ELSE 'the line is ' || "
        "left(line, 60) || ', which is not one whole JSON object: mend it' END"
    )
    lines = f"SELECT row_number() OVER () AS row, line FROM read_csv({sql_path(path)}, {_LINES})"
    checked = (
        "SELECT row, line, CASE WHEN json_valid(line) THEN json_type(line) = 'OBJECT' ELSE false END "
        f"AS whole FROM ({lines}) WHERE trim(line) <> ''"
    )
    return f"(SELECT row, {broken} AS broken, CASE WHEN whole THEN line END AS document FROM ({checked}))"
