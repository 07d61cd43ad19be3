"""What a team knows of its providers, read from a file: evaluations, a log of decisions, or published means.

The columns say which of the three a file is. Each row of `Evaluations.rows` is a request, or without content
the average one of a task, with the answers of providers: what `POST /v1/routes/{route}/evidence` takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fairlead.experiments.files import TableFile, open_table, sql_name, sql_text
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.types.evidence import MOST_ROWS

_NUMBERS: Final = {
    "quality": ("quality", "reward", "mean"),
    "cost_usd": ("cost_usd",),
    "output_tokens": ("output_tokens",),
    "latency_s": ("latency_s",),
    "count": ("n", "count"),
}
"""By field of an answer: the columns that may hold it."""

_MOST: Final = {"cost_usd": 1e6, "output_tokens": 1e9, "latency_s": 1e6}
_PROVIDERS: Final = ("model", "served_provider", "provider")
_SAMPLE_SEED: Final = 0

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Rows of a file, at most 5,000, and sentences about what was left out."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def providers(self) -> list[str]:
        """The providers that anything is said of."""
        return sorted({name for row in self.rows for name in row["answers"]})


def read_evaluations(
    path: str | Path, *, quality_range: tuple[float, float] = (0.0, 1.0), limit: int = MOST_ROWS
) -> Evaluations:
    """Read a JSONL, CSV or Parquet file; its suffix says which.

    An outcome table has a row per prompt and provider (``prompt_id`` or ``prompt``, ``model``, ``quality``),
    a log of decisions is that of `fairlead replay`, and means have ``provider``, ``mean``, ``n`` and perhaps
    a ``task``. All may have ``cost_usd``, ``output_tokens`` and ``latency_s``. Of more requests than
    ``limit`` so many are drawn at random, of requests with the same prompt the first counts, and rows without
    a quality count for what else they say. `InvalidInput` names file, value, reason and remedy.
    """
    path = Path(path)
    with open_table(path) as file:
        columns = _Columns(path, file)
        columns.load()
        columns.check(quality_range)
        notes = columns.drop_repeated_prompts()
        notes += columns.draw(limit)
        rows = tuple(columns.rows())
    names = sorted({name for row in rows for name in row["answers"]})
    if len(names) == 1:
        notes.append(f"All rows are about {names[0]}: of other providers nothing is known.")
    return Evaluations(rows=rows, notes=tuple(notes))


class _Columns:
    """The columns of one file, brought into one form."""

    def __init__(self, path: Path, file: TableFile) -> None:
        self._path, self._file = path, file
        self._connection = file.connection
        self.is_log = "decision_id" in file.types
        provider = next((name for name in _PROVIDERS if name in file.types), None)
        if provider is None or not any(name in file.types for name in _NUMBERS["quality"]):
            raise InvalidInput(
                f"{path}: no column says who answered, or how well ({', '.join(file.types)}): give `model` "
                "and `quality` by `prompt`, the columns of a log of decisions, or `provider`, `mean` and `n`."
            )
        self._provider = provider

    def load(self) -> None:
        """Copy what is used into the table ``answers``: typed, with the number of each row."""
        fields = ["row_number() OVER () AS position", f"{self._who()} AS provider", *self._facts()]
        for field, names in _NUMBERS.items():
            column = next((name for name in names if name in self._file.types), None)
            text = "NULL::VARCHAR" if column is None else self._file.text(column)
            number = f"TRY_CAST({text} AS DOUBLE)"
            fields.append(f"nullif(trim({text}), '') AS raw_{field}")
            fields.append(f"CASE WHEN NOT isnan({number}) THEN {number} END AS {field}")
        self._connection.execute(f"CREATE TEMP TABLE answers AS SELECT {', '.join(fields)} FROM source")

    def _who(self) -> str:
        names = [name for name in _PROVIDERS if name in self._file.types]
        return "coalesce(" + ", ".join(f"nullif({self._file.text(name)}, '')" for name in names) + ")"

    def _facts(self) -> Iterator[str]:
        types = self._file.types

        def text(name: str) -> str:
            return f"nullif({self._file.text(name)}, '')" if name in types else "NULL::VARCHAR"

        task = text("task")
        if self.is_log and "context" in types:
            task = f"json_extract_string({sql_name('context')}::JSON, '$.task')"
        prompt, request = text("prompt"), text("prompt_id")
        if self.is_log:
            request = text("decision_id")
        yield f"{prompt} AS prompt"
        yield f"{task} AS task"
        features = f"to_json({sql_name('features')})::VARCHAR" if "features" in types else "NULL::VARCHAR"
        if "features" in types and types["features"] in ("VARCHAR", "JSON"):
            features = text("features")
        yield f"{features} AS features"
        # Means are about requests of a task, and each row of them stands by itself.
        yield f"coalesce({request}, {prompt}, 'task ' || {task}, 'all') AS request"
        tokens = self._file.text("input_tokens") if "input_tokens" in types else "NULL"
        number = f"TRY_CAST({tokens} AS DOUBLE)"
        yield f"CASE WHEN {number} BETWEEN 0 AND 1e9 THEN {number} END AS input_tokens"

    def check(self, quality_range: tuple[float, float]) -> None:
        """Raise `InvalidInput` for the first row that breaks a rule, and scale quality to [0, 1]."""
        low, high = quality_range
        if not low < high:
            raise InvalidInput(f"quality ranges from {low:g} to {high:g}: give LOW:HIGH with LOW < HIGH.")
        self._refuse("provider", "provider IS NULL", reason="nobody", remedy="name who answered")
        self._refuse(
            "quality",
            f"NOT quality BETWEEN {low!r} AND {high!r}",
            reason=f"outside [{low:g}, {high:g}]",
            remedy="give the metric's range with --quality-range LOW:HIGH, or leave such rows out",
        )
        for field, most in _MOST.items():
            rule, reason = f"NOT {field} BETWEEN 0 AND {most!r}", f"outside [0, {most:g}]"
            self._refuse(field, rule, reason=reason, remedy="leave it empty if it is not known")
        rule, reason = "NOT (count >= 1 AND count = floor(count))", "no whole number of answers"
        self._refuse("count", rule, reason=reason, remedy="give `n`")
        for field in _NUMBERS:
            rule = f"raw_{field} IS NOT NULL AND lower(raw_{field}) <> 'nan' AND {field} IS NULL"
            self._refuse(field, rule, reason="no number", remedy="write it as 0.5, or leave it empty")
        repeated = self._connection.execute(
            "SELECT request, provider, count(*) FROM answers GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL"
        ).fetchone()
        if repeated:
            raise InvalidInput(
                f"{self._path}: {repeated[1]!r} answers {repeated[0]!r} in {repeated[2]} rows, so its "
                "quality is ambiguous: keep one row for each request and provider."
            )
        self._connection.execute(
            f"UPDATE answers SET quality = (quality - {low!r}) / {high - low!r}, "
            f"count = least(coalesce(count, 1), {MOST_ROWS})"
        )
        self._connection.execute(
            "DELETE FROM answers WHERE coalesce(quality, cost_usd, output_tokens, latency_s) IS NULL"
        )
        if not self._connection.execute("SELECT count(*) FROM answers").fetchall()[0][0]:
            raise InvalidInput(f"{self._path}: no row says anything of an answer: fill in `quality`.")

    def _refuse(self, field: str, rule: str, *, reason: str, remedy: str) -> None:
        raw = f"raw_{field}" if field in _NUMBERS else field
        bad = self._connection.execute(
            f"SELECT {raw}, position, provider FROM answers WHERE {rule} ORDER BY position LIMIT 1"
        ).fetchone()
        if bad:
            raise InvalidInput(
                f"{self._path}: {field} is {bad[0]!r} in row {bad[1]} (of {bad[2]}), {reason}: {remedy}."
            )

    def drop_repeated_prompts(self) -> list[str]:
        """Keep the first request of each text; returns a sentence about the others."""
        first = (
            "SELECT request FROM (SELECT request, prompt, min(position) AS position FROM answers "
            "WHERE prompt IS NOT NULL GROUP BY ALL) "
            "QUALIFY row_number() OVER (PARTITION BY prompt ORDER BY position) > 1"
        )
        ((count,),) = self._connection.execute(f"SELECT count(*) FROM ({first})").fetchall()
        self._connection.execute(f"DELETE FROM answers WHERE request IN ({first})")
        return [f"{count:,} requests repeat a prompt; the first of each counts."] if count else []

    def draw(self, limit: int) -> list[str]:
        """Keep at most so many requests, drawn at random; returns a sentence if there are more."""
        ((count,),) = self._connection.execute("SELECT count(DISTINCT request) FROM answers").fetchall()
        if count <= limit:
            return []
        kept = (
            "SELECT request FROM (SELECT DISTINCT request FROM answers) "
            f"ORDER BY hash(request || {sql_text(_SAMPLE_SEED)}), request LIMIT {limit}"
        )
        self._connection.execute(f"DELETE FROM answers WHERE request NOT IN ({kept})")
        return [f"Of {count:,} requests {limit:,} are drawn at random, which is what a route keeps."]

    def rows(self) -> Iterator[Row]:
        """Yield the requests in the order of the file."""
        names = ("request", "prompt", "task", "features", "input_tokens", "provider", *_NUMBERS)
        cells = self._connection.execute(
            f"SELECT {', '.join(names)} FROM answers "
            "ORDER BY min(position) OVER (PARTITION BY request), position"
        ).fetchall()
        row: Row | None = None
        for request, prompt, task, features, input_tokens, provider, *numbers in cells:
            if row is None or row["request"] != request:
                if row is not None:
                    yield row
                row = {"request": request, "prompt": prompt, "task": task}
                row |= {"features": json.loads(features)} if prompt is None and features is not None else {}
                row |= {"input_tokens": round(input_tokens)} if input_tokens is not None else {}
                row = {name: value for name, value in row.items() if value is not None} | {"answers": {}}
            values = zip(_NUMBERS, numbers, strict=True)
            row["answers"][provider] = {
                name: int(value) if name == "count" else value
                for name, value in values
                if value is not None and (name, value) != ("count", 1)
            }
        if row is not None:
            yield row


def parts_of(rows: Sequence[Row], *, most_bytes: int) -> Iterator[list[Row]]:
    """Cut rows into runs whose JSON has at most so many bytes; a longer row stands alone."""
    part: list[Row] = []
    size = 0
    for row in rows:
        length = len(json.dumps(row).encode())
        if part and size + length > most_bytes:
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    yield part
