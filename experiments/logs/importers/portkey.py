"""Logs of Portkey, exported as JSONL or CSV."""

from __future__ import annotations

from typing import Final

from fairlead.experiments.logs.importers.gateway import Columns, selection_of
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import Selection, Source

_USD_PER_CENT: Final = 0.01
_COLUMNS: Final = Columns(
    identity=("id", "trace_id"),
    started=("created_at", "time_of_generation"),
    model=("ai_model", "model"),
    latency_ms=("response_time",),
    cost=("cost",),
    cost_factor=_USD_PER_CENT,
    status=("response_status_code",),
    route=("prompt_slug",),
    tags=("metadata",),
    input_tokens=("req_units",),
    attributes={"user": "metadata._user", "environment": "metadata._environment"},
    remedy="export the logs of Portkey with id, created_at and ai_model",
)


def _select(table: Table, options: ImportOptions) -> Selection:
    cached = f"upper({table.text('cache_status')}) IN ('HIT', 'SEMANTIC HIT', 'SEMANTIC_HIT')"
    currency = table.text("cost_currency")
    selection = selection_of(
        table,
        options,
        _COLUMNS,
        left_out=((cached, "'answered by a cache, so no model was chosen'"),),
    )
    other = (
        f"upper({currency}) <> 'USD'",
        f"'cost_currency is ' || left({currency}, 20) || ', not USD: convert the costs'",
    )
    return Selection(
        columns=selection.columns, left_out=selection.left_out, refused=(*selection.refused, other)
    )


PORTKEY: Final = Source(select=_select, remedy=_COLUMNS.remedy)
