"""Requests of Helicone, exported as JSON or CSV."""

from __future__ import annotations

from typing import Final

from fairlead.experiments.logs.importers.gateway import Columns, selection_of
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import Selection, Source

_COLUMNS: Final = Columns(
    identity=("request_id", "requestId", "id", "Request ID"),
    started=("request_created_at", "createdAt", "created_at", "Created At"),
    ended=("response_created_at",),
    model=("request_model", "model", "Model", "response_model"),
    latency_ms=("delay_ms", "latency", "Latency"),
    cost=("cost", "costUSD", "cost_usd", "Cost"),
    status=("response_status", "status", "Status"),
    tags=("request_properties", "properties", "customProperties"),
    input_tokens=("prompt_tokens", "promptTokens", "Prompt Tokens"),
    attributes={"user_id": "request_user_id", "user": "user"},
    remedy="export the requests of Helicone with all columns",
)


def _select(table: Table, options: ImportOptions) -> Selection:
    cached = table.text("cache_reference_id", "cacheReferenceId", "cache_hit", "cached")
    none = "('false', '0', '00000000-0000-0000-0000-000000000000')"
    return selection_of(
        table,
        options,
        _COLUMNS,
        left_out=(
            (
                f"{cached} IS NOT NULL AND lower({cached}) NOT IN {none}",
                "'answered by a cache, so no model was chosen'",
            ),
        ),
    )


HELICONE: Final = Source(select=_select, remedy=_COLUMNS.remedy)
