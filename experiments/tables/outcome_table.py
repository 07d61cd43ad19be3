"""Full-information outcome tables: what every provider would have earned on every prompt.

A table is a JSONL, CSV or Parquet file with one row per prompt and provider; `data/README.md` lists the
columns. The file is checked as it is read, so the rest of `experiments` can rely on what a table holds.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.files import open_table
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.types import Context

_Connection = duckdb.DuckDBPyConnection
_NULLABLE = ("split", "input_tokens", "output_tokens", "latency_s")
_NUMBERS = ("quality", "cost_usd", "input_tokens", "output_tokens", "latency_s")
MATRICES = ("quality", "cost_usd", "latency_s", "input_tokens", "output_tokens")
"""The matrices of a table, shape (n, k)."""

_COLUMNS = ("prompt_id", "task", "prompt", "model", "quality", "cost_usd", *_NULLABLE)
_NUMERIC_TYPE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
_RULES = {  # by column: the condition in SQL, the same in words, and the remedy
    "prompt_id": ("prompt_id <> ''", "a name", "give every prompt one"),
    "model": ("model <> ''", "a name", "give every provider one"),
    "quality": ("quality BETWEEN 0 AND 1", "a number in [0, 1]", "rescale it, or leave out rows without it"),
    "cost_usd": ("cost_usd BETWEEN 0 AND 1000", "a number of USD from 0 to 1,000", "leave out such rows"),
}
_OPTIONAL_RULE = "{0} IS NULL AND raw_{0} IS NULL OR isnan({0}) OR {0} BETWEEN 0 AND 1e6"
for _name in _NULLABLE[1:]:
    _RULES[_name] = (
        _OPTIONAL_RULE.format(_name),
        "a number from 0 to 1e6",
        "leave it empty where unknown",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class OutcomeTable:
    """Outcomes of n prompts at k providers, as matrices of shape (n, k) with NaN in missing cells.

    `providers` run from the lowest mean cost to the highest, prompts in the order of the file. `quality` is
    in [0, 1], `cost_usd` in USD per call, `latency_s` in seconds; latency and token counts are also NaN
    where the file leaves them empty. `splits` holds a str or None per prompt, shape (n,). `text_conflicts`
    counts the prompts whose rows carry different texts; the text of the first row is kept.

    >>> from fairlead.experiments.files import bundled_path
    >>> table = read_outcome_table(bundled_path("synthetic_support.parquet"))
    >>> len(table), table.providers[0], table.quality.shape
    (3000, 'synthetic/nano', (3000, 6))
    >>> table.quality.mean(axis=0).round(3).tolist()
    [0.346, 0.527, 0.568, 0.777, 0.856, 0.905]
    """

    providers: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    splits: NDArray[np.object_]
    tasks: tuple[str, ...]
    prompts: tuple[str, ...]
    quality: NDArray[np.float64]
    cost_usd: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    input_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    text_conflicts: int = 0

    def __len__(self) -> int:
        """Count the prompts."""
        return len(self.prompt_ids)

    def take(self, rows: NDArray[np.intp]) -> Self:
        """Return a table of these prompts, in this order."""
        some = rows.tolist()
        return replace(
            self,
            prompt_ids=tuple(self.prompt_ids[row] for row in some),
            splits=self.splits[rows],
            tasks=tuple(self.tasks[row] for row in some),
            prompts=tuple(self.prompts[row] for row in some),
            **{name: getattr(self, name)[rows] for name in MATRICES},
        )

    def with_outcomes(
        self, providers: Sequence[str], change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> Self:
        """Return a table of the same prompts with other outcomes: ``change`` maps each matrix (n, k)."""
        matrices: dict[str, Any] = {name: change(getattr(self, name)) for name in MATRICES}
        return replace(self, providers=tuple(providers), **matrices)

    def context(self, row: int) -> Context:
        """Return what is known of a prompt before a provider is chosen; an empty text is none."""
        return Context(text=self.prompts[row] or None, task=self.tasks[row] or None)

    @cached_property
    def available(self) -> NDArray[np.bool_]:
        """Whether the provider has an outcome for the prompt, shape (n, k)."""
        return ~(np.isnan(self.quality) | np.isnan(self.cost_usd))

    @cached_property
    def missing(self) -> dict[str, int]:
        """Prompts without an outcome, per provider; 0 where the provider has them all."""
        return dict(zip(self.providers, (~self.available).sum(axis=0).tolist(), strict=True))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that belong beside every result on this table; often none."""
        notes = [
            f"{name} lacks an outcome for {count} of {len(self)} prompts; it is not a candidate there."
            for name, count in self.missing.items()
            if count
        ]
        if len(self.providers) == 1:
            notes.append(f"{self.providers[0]} is the only provider, so there is nothing to choose.")
        if self.text_conflicts:
            notes.append(f"{self.text_conflicts} prompts have rows with different texts; the first is used.")
        return tuple(notes)


def read_outcome_table(
    path: str | Path, *, providers: Sequence[str] | None = None, distinct_prompts: bool = False
) -> OutcomeTable:
    """Read and check an outcome table; the suffix says whether it is JSONL, CSV or Parquet.

    `providers` keeps only these, by name or by wildcard (`openai/*`); prompts that none of them served are
    dropped. `distinct_prompts` keeps the first prompt of each text; prompts without text are all kept, since
    nothing says that they are the same. In the columns that may be empty, NaN counts as empty.
    `InvalidInput` names the file, the value, the reason and the remedy.
    """
    path = Path(path)
    with open_table(path, commas_only=True) as file:
        _check_columns(path, file.types)
        _load(file.connection, file.types)
        _check(file.connection, path)
        chosen = _choose(file.connection, path, providers)
        return _assemble(file.connection, chosen, distinct_prompts)


def _load(connection: _Connection, types: Mapping[str, str]) -> None:
    """Copy the file into the table `outcomes`: typed columns, the row number, and the text of each number."""
    fields = ["row_number() OVER () AS position"]
    for name in _COLUMNS:
        text, number = _expressions(name, types.get(name))
        fields.append(f"{text} AS {'raw_' * (name in _NUMBERS)}{name}")
        if name in _NUMBERS:
            fields.append(f"{number} AS {name}")
    connection.execute(f"CREATE TEMP TABLE outcomes AS SELECT {', '.join(fields)} FROM source")


def _expressions(name: str, kind: str | None) -> tuple[str, str]:
    """Return SQL for the text of a column and for its number; `kind` is its type in the file."""
    if kind is None:
        return "NULL::VARCHAR", "NULL::DOUBLE"
    if kind == "JSON":
        is_number = f"json_type({name}) IN ('DOUBLE', 'BIGINT', 'UBIGINT')"
        return f"{name} ->> '$'", f"CASE WHEN {is_number} THEN TRY_CAST({name} AS DOUBLE) END"
    if _NUMERIC_TYPE.fullmatch(kind) and name in _NUMBERS:
        return "NULL::VARCHAR", f"{name}::DOUBLE"
    return f"{name}::VARCHAR", f"TRY_CAST({name} AS DOUBLE)" if kind == "VARCHAR" else "NULL::DOUBLE"


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    """Refuse a table without a required column, or with one whose name is almost that of an optional one."""
    absent = [name for name in _COLUMNS if name not in columns]
    extra = [name for name in columns if name not in _COLUMNS]
    for name in absent:
        if name not in _NULLABLE:
            raise InvalidInput(
                f"{path}: column {name!r} is missing: add it to those there are ({', '.join(columns)}); "
                f"required are {', '.join(sorted(set(_COLUMNS) - set(_NULLABLE)))}."
            )
        similar = difflib.get_close_matches(name, extra, n=1, cutoff=0.75)
        if similar:
            raise InvalidInput(
                f"{path}: column {similar[0]!r} is unknown and looks like {name!r}: rename it, in that unit."
            )


def _check(connection: _Connection, path: Path) -> None:
    """Raise `InvalidInput` for the first cell that breaks a rule, for no rows and for repeated ones."""
    firsts = [f"min(position) FILTER (WHERE ({rule}) IS NOT TRUE)" for rule, _, _ in _RULES.values()]
    rows, *positions = connection.execute(f"SELECT count(*), {', '.join(firsts)} FROM outcomes").fetchall()[0]
    if rows == 0:
        raise InvalidInput(f"{path}: the table has no rows: write at least one outcome.")
    for (column, (_, meaning, remedy)), position in zip(_RULES.items(), positions, strict=True):
        if position is not None:
            raw = f"coalesce(raw_{column}, {column}::VARCHAR)" if column in _NUMBERS else column
            query = f"SELECT {raw}, prompt_id, model FROM outcomes WHERE position = {position}"
            value, prompt_id, model = connection.execute(query).fetchall()[0]
            raise InvalidInput(
                f"{path}: {column} is {repr(value) if value else 'empty'} in row {position} (prompt_id "
                f"{prompt_id!r}, model {model!r}), which is not {meaning}: {remedy}."
            )
    repeated = connection.execute(
        "SELECT prompt_id, model, count(*) FROM outcomes GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL"
    ).fetchone()
    if repeated:
        raise InvalidInput(
            f"{path}: prompt_id {repeated[0]!r} with model {repeated[1]!r} stands in {repeated[2]} rows, so "
            "its outcome is ambiguous: keep one row for each prompt and model."
        )


def _choose(connection: _Connection, path: Path, patterns: Sequence[str] | None) -> tuple[str, ...]:
    """Select providers by names and wildcards."""
    models = connection.execute("SELECT DISTINCT model FROM outcomes").fetchall()
    names = sorted(str(row[0]) for row in models)
    if isinstance(patterns, str) or (patterns is not None and not patterns):
        raise InvalidInput(f"{path}: providers is {patterns!r}, not a list of names: choose among {names}.")
    chosen: set[str] = set()
    for pattern in names if patterns is None else patterns:
        matching = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not matching:
            raise InvalidInput(f"{path}: no provider is called {pattern!r}: choose among {', '.join(names)}.")
        chosen.update(matching)
    return tuple(sorted(chosen))


def _assemble(connection: _Connection, chosen: tuple[str, ...], distinct_prompts: bool) -> OutcomeTable:
    """Turn the checked rows of the chosen providers into matrices."""
    connection.execute(
        "CREATE TEMP TABLE kept AS FROM outcomes WHERE list_contains(?, model)", [list(chosen)]
    )
    facts = connection.execute(
        "SELECT prompt_id, split, coalesce(task, ''), coalesce(prompt, ''), texts > 1 FROM kept JOIN (SELECT "
        "min(position) AS position, count(DISTINCT prompt) AS texts FROM kept GROUP BY prompt_id) "
        "USING (position) ORDER BY position"
    ).fetchall()
    if distinct_prompts:
        first: dict[object, tuple[object, ...]] = {}
        for fact in facts:
            first.setdefault(fact[3] or fact[:1], fact)  # an empty text is like no other
        facts = list(first.values())
    ids, splits, tasks, prompts, conflicts = zip(*facts, strict=True)
    row_of = {name: i for i, name in enumerate(ids)}
    column_of = {name: j for j, name in enumerate(chosen)}
    cells = connection.execute(f"SELECT prompt_id, model, {', '.join(_NUMBERS)} FROM kept").fetchnumpy()
    rows = np.array([row_of.get(name, len(ids)) for name in cells["prompt_id"]], dtype=np.intp)
    columns = np.array([column_of[name] for name in cells["model"]], dtype=np.intp)
    matrices: dict[str, NDArray[np.float64]] = {}
    for name in _NUMBERS:
        matrix = np.full((len(ids) + 1, len(chosen)), np.nan)  # the last row takes what is left out
        matrix[rows, columns] = np.ma.filled(np.ma.asarray(cells[name], dtype=np.float64), np.nan)
        matrices[name] = matrix[:-1]
    mean_cost = np.ma.filled(np.ma.masked_invalid(matrices["cost_usd"]).mean(axis=0), np.inf)
    order = np.argsort(mean_cost, kind="stable")
    return OutcomeTable(
        providers=tuple(chosen[j] for j in order),
        prompt_ids=ids,
        splits=np.array(splits, dtype=object),
        tasks=tasks,
        prompts=prompts,
        text_conflicts=sum(conflicts),
        **{name: matrix[:, order] for name, matrix in matrices.items()},
    )
