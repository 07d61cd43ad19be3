"""What exports of gateways and tracers have in common: one row for each call, with a column for each fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fairlead.experiments.logs.importers import sql
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import Selection

Names = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names that a fact goes by in the exports of one system; the first that a row has counts.

    ``latency_s`` and ``latency_ms`` are durations, ``ended`` a time. ``cost_factor`` turns ``cost`` into USD.
    ``tags`` are lists or objects of tags. ``attributes`` maps names in the log to columns that were known
    before the choice.
    """

    identity: Names
    started: Names
    model: Names
    ended: Names = ()
    latency_s: Names = ()
    latency_ms: Names = ()
    cost: Names = ()
    cost_factor: float = 1.0
    status: Names = ()
    route: Names = ()
    tags: Names = ()
    input_tokens: Names = ()
    attributes: Mapping[str, str]
    remedy: str


def selection_of(
    table: Table, options: ImportOptions, columns: Columns, *, left_out: tuple[tuple[str, str], ...] = ()
) -> Selection:  # fmt: skip
    """Read calls by the names of their columns; ``left_out`` are those that answer no prompt."""
    text = table.text
    identity, started, model = text(*columns.identity), text(*columns.started), text(*columns.model)
    for names in (columns.identity, columns.started, columns.model):
        if table.columns is not None and text(*names) == NOTHING:
            table.require(names[0], remedy=columns.remedy)
    status, cost = sql.status_of(text(*columns.status)), text(*columns.cost)
    attributes = {name: text(column) for name, column in columns.attributes.items()}
    attributes["input_tokens"] = sql.number(text(*columns.input_tokens))
    attributes |= {name: text(name) for name in options.attributes}
    return Selection(
        columns={
            "decision_id": identity,
            "at_us": sql.time_us(started),
            "route": text(*columns.route),
            "task": sql.task_of(sql.tags(text(*columns.tags)), options.task_tag),
            "attributes": sql.object_of(attributes),
            "provider": model,
            "cost_usd": f"{sql.number(cost)} * {columns.cost_factor!r}",
            "latency_s": _latency(table, columns, started),
            "status": status,
        },
        left_out=(
            *left_out,
            (f"{model} IS NULL AND {status} <> 'ok'", "'failed before a model was chosen'"),
            (f"{model} IS NULL", "'name no model'"),
        ),
        refused=(
            (f"{identity} IS NULL", f"'{columns.identity[0]} is missing: {columns.remedy}'"),
            (f"{started} IS NULL", f"'{columns.started[0]} is missing: {columns.remedy}'"),
            (f"{sql.time_us(started)} IS NULL", sql.no_time(columns.started[0], started)),
            sql.not_a_number(cost, (*columns.cost, "cost")[0], unit="money"),
        ),
    )


NOTHING: Final = "NULL::VARCHAR"
"""What `Table.text` returns of columns that the file does not have."""


def _latency(table: Table, columns: Columns, started: str) -> str:
    seconds, millis = sql.number(table.text(*columns.latency_s)), sql.number(table.text(*columns.latency_ms))
    took = f"({sql.time_us(table.text(*columns.ended))} - {sql.time_us(started)}) / 1e6"
    return f"list_filter([coalesce({seconds}, {millis} / 1000.0, {took})], lambda s: s >= 0)[1]"
