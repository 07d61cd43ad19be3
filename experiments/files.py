"""Files as every experiment reads and writes them: tables through DuckDB, results whole or not at all.

Text that comes from a file is data wherever it is shown: `printable` for people, `csv_text` for spreadsheets.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput, require

if TYPE_CHECKING:  # an extra, and results are written without it
    import duckdb

Setting = str | bool | int | float | list[str]

TABLE_SUFFIXES: Final = (".jsonl", ".csv", ".parquet")
DATA_FOLDER: Final = Path(__file__).parent.parent / "data"
"""The sample data: `data/` of a checkout, or of the installed package."""

_READERS: Final = {
    ".parquet": "read_parquet({path})",
    ".csv": "read_csv({path}, all_varchar=true, header=true{delimiter})",
    ".jsonl": "read_json({path}, format='newline_delimited', maximum_depth=1, sample_size=-1)",
}
_COMMAS: Final = ", delim=',', quote='\"', escape='\"'"


def connect(**config: Setting) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB in memory with these settings, without its progress bar: the command line has its own."""
    import duckdb

    connection = duckdb.connect(config=config)
    connection.execute("SET enable_progress_bar = false")
    return connection


def sql_text(text: object) -> str:
    """Quote a text for SQL, such as the path of a file to be written."""
    return "'" + str(text).replace("'", "''") + "'"


def sql_path(path: Path) -> str:
    """Quote the path of a file to be read, so that none of its characters is taken for a wildcard."""
    return sql_text(re.sub(r"([*?\[])", r"[\1]", str(path)))


def sql_name(name: str) -> str:
    """Quote the name of a column for SQL."""
    return '"' + name.replace('"', '""') + '"'


def check_table_file(path: Path, *, empty: str, suffixes: Sequence[str] = TABLE_SUFFIXES) -> None:
    """Raise `InvalidInput` if the file is not there, is of another kind, or holds no byte at all."""
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file: check the path.")
    if path.suffix not in suffixes:
        raise InvalidInput(f"{path}: unknown suffix {path.suffix!r}: use one of {', '.join(suffixes)}.")
    if path.stat().st_size == 0:
        raise InvalidInput(f"{path}: {empty}")


def reason_of(error: duckdb.Error) -> str:
    """Return the first line of what DuckDB says, to be put into a sentence."""
    return str(error).split("\n")[0].rstrip(". ")


@dataclass(frozen=True, kw_only=True, eq=False)
class TableFile:
    """An open file of rows: ``SELECT … FROM source`` on ``connection``; ``types`` are DuckDB's, by column."""

    connection: duckdb.DuckDBPyConnection
    types: Mapping[str, str]

    def text(self, name: str) -> str:
        """Return the SQL of a column as text, NULL where it is empty."""
        column = sql_name(name)
        return f"({column} ->> '$')" if self.types[name] == "JSON" else f"{column}::VARCHAR"


@contextmanager
def open_table(
    path: Path,
    *,
    commas_only: bool = False,
    suffixes: Sequence[str] = TABLE_SUFFIXES,
    remedy: str = "write the file again, or give it the suffix of what it holds",
) -> Iterator[TableFile]:
    """Open a JSONL, CSV or Parquet file, by its suffix, to be queried as ``source``.

    Columns of CSV are text and those of JSONL are JSON; Parquet has types of its own. With ``commas_only``
    CSV has commas and double quotes, without it DuckDB looks what it has. Whatever DuckDB fails at while the
    table is open raises `InvalidInput`, which names the file and ends with the ``remedy``.
    """
    check_table_file(path, empty="the file is empty (0 bytes): write the table again.", suffixes=suffixes)
    require("duckdb", purpose=f"reading {path}")
    import duckdb

    delimiter = _COMMAS if commas_only else ""
    reader = _READERS[path.suffix].format(path=sql_path(path), delimiter=delimiter)
    try:
        with connect() as connection:
            connection.execute(f"CREATE TEMP VIEW source AS SELECT * FROM {reader}")
            types = {str(row[0]): str(row[1]) for row in connection.execute("DESCRIBE source").fetchall()}
            yield TableFile(connection=connection, types=types)
    except duckdb.Error as error:
        raise InvalidInput(
            f"{path}: cannot be read as {path.suffix[1:]} ({reason_of(error)}): {remedy}."
        ) from error


def finite_or_none(value: float) -> float | None:
    """Return the number, or None if it is NaN or infinite."""
    return value if math.isfinite(value) else None


def json_value(value: Any) -> Any:
    """Return the value as strict JSON can hold it: no NaN and no infinity, tuples as lists, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): json_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return finite_or_none(value)
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


def json_text(value: Any) -> str:
    """Write a value as indented, strict JSON that ends with a line break."""
    return json.dumps(json_value(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


_UNSEEN: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that are not seen, and steer terminals, line breaks or the way of writing."""

_JOINERS: Final = ("\u200c", "\u200d")
"""Unseen characters of the first categories that are part of words and emoji."""

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")


def printable(text: str) -> str:
    """Return the text with characters that are not seen, such as those that turn its direction, as escapes.

    >>> printable("a/[b] :smile: \x1b[2J")
    'a/[b] :smile: \\\\x1b[2J'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _UNSEEN and char not in _JOINERS
        else char
        for char in text
    )


def csv_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe.

    So does text that begins with apostrophes and goes on like a formula; taking one apostrophe off such a
    cell gives the text back.

    >>> csv_cell("=1+1"), csv_cell("'-x"), csv_cell(-1.5), csv_cell("a=b")
    ("'=1+1", "''-x", -1.5, 'a=b')
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Write rows, of which the first are the heads, as CSV without formulas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([csv_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def bundled_path(name: str) -> Path:
    """Return the path of a file that ships with Fairlead, such as `synthetic_support.parquet`."""
    path = DATA_FOLDER / name
    if Path(name).name == name and path.is_file():
        return path
    names = sorted(file.name for file in DATA_FOLDER.iterdir()) if DATA_FOLDER.is_dir() else []
    raise FileNotFoundError(
        f"no file {name!r} ships with Fairlead, only {', '.join(names) or 'none'}: choose one of these, or "
        "install the package again if it ought to be there."
    )
