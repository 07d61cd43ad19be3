"""The activity of OpenRouter, exported as CSV with a row for each generation."""

from __future__ import annotations

from typing import Final

from fairlead.experiments.logs.importers.gateway import Columns, selection_of
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import GATEWAY, Selection, Source

_COLUMNS: Final = Columns(
    identity=("generation_id", "id"),
    started=("created_at",),
    model=("model_permaslug", "model", "model_slug"),
    latency_ms=("generation_time_ms", "generation_time"),
    cost=("cost_total", "total_cost", "usage"),
    status=("finish_reason_normalized", "finish_reason"),
    route=("app_name",),
    input_tokens=("tokens_prompt", "prompt_tokens"),
    attributes={"user": "user", "api_key_name": "api_key_name", "variant": "variant"},
    remedy="export the activity with a row for each generation, not its sums by day",
)


def _select(table: Table, options: ImportOptions) -> Selection:
    cancelled = f"lower({table.text('cancelled')}) IN ('true', '1', 't')"
    return selection_of(table, options, _COLUMNS, left_out=((cancelled, "'cancelled by the caller'"),))


OPENROUTER: Final = Source(select=_select, applicable=GATEWAY - {"task_tag"}, remedy=_COLUMNS.remedy)
