"""Observations of Langfuse, exported as JSON or CSV."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fairlead.experiments.files import sql_text
from fairlead.experiments.logs.importers import sql
from fairlead.experiments.logs.importers.gateway import Columns, selection_of
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import GATEWAY, Selection, Source

_COLUMNS: Final = Columns(
    identity=("id", "observationId", "observation_id"),
    started=("startTime", "start_time", "timestamp"),
    ended=("endTime", "end_time"),
    model=("model", "providedModelName", "provided_model_name", "modelName"),
    latency_s=("latency",),
    cost=("calculatedTotalCost", "totalCost", "total_cost", "costDetails.total", "cost_details.total"),
    status=("level",),
    route=("traceName", "trace_name", "name"),
    tags=("tags", "traceTags", "trace_tags"),
    input_tokens=("promptTokens", "inputTokens", "usage.input", "usageDetails.input", "usage_details.input"),
    attributes={"user_id": "userId", "environment": "environment"},
    remedy="export the observations of Langfuse with all columns",
)


def _select(table: Table, options: ImportOptions) -> Selection:
    kind = table.text("type", "observationType")
    other = f"upper({kind}) NOT IN ('GENERATION', 'CHAT', 'LLM')"
    selection = selection_of(
        table,
        options,
        _COLUMNS,
        left_out=((other, f"'observations of type ' || {kind} || ', which answer no prompt'"),),
    )
    if options.score is None:
        return selection
    return replace(selection, columns={**selection.columns, "reward": _score(table, options.score)})


def _score(table: Table, name: str) -> str:
    """Read a score by its name: from an object of values or of lists, or from a list of scores."""
    scores = table.text("scores")
    inside = table.text(f"scores.{name}", name)
    mean = f"list_avg(TRY_CAST({inside}::JSON AS DOUBLE[]))"
    listed = f"TRY_CAST({scores}::JSON AS STRUCT(name VARCHAR, value VARCHAR)[])"
    last = f"list_filter({listed}, lambda s: s.name = {sql_text(name)})[-1].value"
    from_list = f"CASE WHEN left({scores}, 1) = '[' THEN {sql.number(last)} END"
    from_object = f"CASE WHEN left({inside}, 1) = '[' THEN {mean} ELSE {sql.number(inside)} END"
    return f"coalesce({from_list}, {from_object})"


LANGFUSE: Final = Source(
    select=_select,
    applicable=GATEWAY | {"score"},
    remedy="export the observations of Langfuse, not its traces",
)
