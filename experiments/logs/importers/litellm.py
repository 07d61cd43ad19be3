"""LiteLLM's table of spend (LiteLLM_SpendLogs)."""

from __future__ import annotations

from typing import Final

from fairlead.experiments.files import sql_text
from fairlead.experiments.logs.importers import names, sql
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table
from fairlead.experiments.logs.importers.source import Selection, Source

_OTHER_CALLS: Final = (
    "embedding|image|transcription|speech|moderation|rerank|vector_store|search|file|batch|mcp|ocr|video|"
    "fine_tun|assistant|thread|^a?(get|list|delete|cancel|retrieve)_|health"
)
"""Kinds of calls that answer no prompt, or ask again for the answer to one."""

_RETRIES: Final = "coalesce(TRY_CAST({} AS BIGINT), 0)"


def _select(table: Table, options: ImportOptions) -> Selection:
    text = table.text
    table.require("request_id", "startTime", "model", remedy="export LiteLLM_SpendLogs whole")
    identity, started, model = text("request_id"), text("startTime", "start_time"), text("model")
    tags = sql.tags(text("request_tags"))
    selected, fell_back = _selected(table, options)
    return Selection(
        columns={
            "decision_id": identity,
            "at_us": sql.time_us(started),
            "route": text("model_group"),
            "task": sql.task_of(tags, options.task_tag),
            "attributes": sql.object_of(_attributes(table, options)),
            "provider": selected,
            "served_provider": f"CASE WHEN {fell_back} THEN {model} END",
            "cost_usd": sql.number(text("spend")),
            "latency_s": _latency(table, started),
            "status": _status(table),
        },
        left_out=_left_out(table, selected, fell_back),
        refused=_refused(table),
        tally={
            "{count} calls were served by a fallback: served_provider says by which model.": fell_back,
            "{count} calls were retried; their cost and latency are those of all attempts.": (
                f"{_RETRIES.format(text('metadata.attempted_retries'))} > 0"
            ),
        },
    )


def _left_out(table: Table, selected: str, fell_back: str) -> tuple[tuple[str, str], ...]:
    """Tell which rows are no decision among models, and why."""
    text, model = table.text, table.text("model")
    kind, group = text("call_type"), text("model_group")
    return (
        (_is_health_check(table), "'health checks'"),
        (
            f"regexp_matches(lower({kind}), '{_OTHER_CALLS}')",
            f"'call_type ' || {kind} || ', no completion'",
        ),
        (
            f"lower({text('cache_hit')}) IN ('true', '1', 't')",
            "'answered by a cache, so no model was chosen'",
        ),
        (
            f"{model} IS NULL AND lower({text('status')}) = 'failure'",
            f"'failed before a model was chosen' || coalesce(', in group ' || {group}, '')",
        ),
        (f"{model} IS NULL", "'name no model'"),
        (f"{fell_back} AND {selected} IS NULL", "'fell back from a model that the row does not name'"),
    )


def _refused(table: Table) -> tuple[tuple[str, str], ...]:
    text = table.text
    identity, started = text("request_id"), text("startTime", "start_time")
    return (
        (f"{identity} IS NULL", "'request_id is missing: export LiteLLM_SpendLogs whole'"),
        (f"{started} IS NULL", "'startTime is missing: export LiteLLM_SpendLogs whole'"),
        (f"{sql.time_us(started)} IS NULL", sql.no_time("startTime", started)),
        sql.not_a_number(text("spend"), "spend", unit="USD"),
    )


def _selected(table: Table, options: ImportOptions) -> tuple[str, str]:
    """Return SQL of the model that was drawn, and of whether a fallback served instead of it.

    A fallback changes ``model`` to what served; what was drawn stands in the metadata. Retries within one
    group of models leave no trace of the first choice, so they are only counted.
    """
    original = table.text("metadata.original_model_group", "metadata.original_model")
    fell_back = f"{_RETRIES.format(table.text('metadata.attempted_fallbacks'))} > 0"
    is_model = f"{original} <> coalesce({table.text('model_group')}, '')"
    if options.shares is not None:
        is_model = (
            f"{names.aliased(original, options.aliases)} IN ({', '.join(map(sql_text, options.shares))})"
        )
    model = table.text("model")
    return f"CASE WHEN NOT ({fell_back}) THEN {model} WHEN {is_model} THEN {original} END", f"({fell_back})"


def _is_health_check(table: Table) -> str:
    fields = ("request_tags", "team_id", "end_user", "user", "api_key", "metadata.user_api_key_alias")
    joined = ", ".join(table.text(name) for name in (*fields, "call_type"))
    return f"regexp_matches(lower(concat_ws(' ', {joined})), 'health[-_ ]?check')"


def _status(table: Table) -> str:
    """Read the end of a call; what kind of error it was stands in the metadata."""
    status = table.text("status")
    error = table.text("metadata.error_information.error_class", "metadata.error_information.error_code")
    return (
        f"CASE WHEN lower(coalesce({status}, 'success')) = 'success' THEN 'ok' WHEN {error} IS NULL THEN "
        f"{sql.status_of(status)} ELSE replace({sql.status_of(error)}, 'ok', 'error') END"
    )


def _latency(table: Table, started: str) -> str:
    took = f"({sql.number(table.text('request_duration_ms'))} / 1000.0)"
    ended = f"({sql.time_us(table.text('endTime', 'end_time'))} - {sql.time_us(started)}) / 1e6"
    return f"list_filter([coalesce({took}, {ended})], lambda s: s >= 0)[1]"


def _attributes(table: Table, options: ImportOptions) -> dict[str, str]:
    """Keep what was known before the choice: no tokens of the answer, and nothing of how the call went."""
    return {
        "call_type": table.text("call_type"),
        "team_id": table.text("team_id"),
        "end_user": table.text("end_user"),
        "api_key_alias": table.text("metadata.user_api_key_alias"),
        "input_tokens": sql.number(table.text("prompt_tokens", "metadata.usage_object.prompt_tokens")),
        **{name: table.text(name) for name in options.attributes},
    }


LITELLM: Final = Source(
    select=_select,
    remedy="export LiteLLM_SpendLogs whole",
)
