"""SQL that reads times, numbers, tags and statuses from text in any form that logs have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fairlead.experiments.files import sql_text

Sql = str

_NUMBER: Final = r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?"
_EARLIEST_US: Final = 946_684_800_000_000  # 2000
_LATEST_US: Final = 4_102_444_800_000_000  # 2100


def time_us(text: Sql) -> Sql:
    """Read a time as microseconds since 1970, NULL if it is none between 2000 and 2100.

    Numbers are seconds, milli-, micro- or nanoseconds since 1970, by their size. Text without a zone is UTC.
    """
    seconds = f"CAST({text} AS DOUBLE)"
    scaled = (
        f"CASE WHEN abs({seconds}) < 1e11 THEN round({seconds} * 1e6) WHEN abs({seconds}) < 1e14 THEN "
        f"round({seconds} * 1e3) WHEN abs({seconds}) < 1e17 THEN {seconds} ELSE {seconds} / 1e3 END"
    )
    micros = (
        f"CASE WHEN regexp_full_match({text}, '{_NUMBER}') THEN TRY_CAST({scaled} AS BIGINT) "
        f"ELSE epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) END"
    )
    return f"list_filter([{micros}], lambda us: us BETWEEN {_EARLIEST_US} AND {_LATEST_US})[1]"


def time_text(micros: Sql) -> Sql:
    """Write microseconds since 1970 as RFC 3339 in UTC, without a fraction that is 0."""
    stamp = f"make_timestamp({micros})"
    return (
        f"CASE WHEN {micros} % 1000000 = 0 THEN strftime({stamp}, '%Y-%m-%dT%H:%M:%SZ') "
        f"ELSE strftime({stamp}, '%Y-%m-%dT%H:%M:%S.%fZ') END"
    )


def no_time(name: str, value: Sql) -> Sql:
    """Return SQL of the sentence on a value that is no time."""
    remedy = sql_text(", which is no time from 2000 to 2099: write it as 2026-03-01T12:00:00Z")
    return f"'{name} is ' || left({value}, 40) || {remedy}"


def number(text: Sql) -> Sql:
    """Read a finite number, NULL if the text is none."""
    return f"list_filter([TRY_CAST({text} AS DOUBLE)], lambda x: isfinite(x))[1]"


def not_a_number(text: Sql, name: str, *, unit: str) -> tuple[Sql, Sql]:
    """Refuse a row where the text of an amount is no number, or is below 0."""
    return (
        f"{text} IS NOT NULL AND NOT coalesce({number(text)} >= 0, false)",
        f"'{name} is ' || left({text}, 40) || ', which is no number of {unit} from 0: correct it'",
    )


def tags(text: Sql) -> Sql:
    """Read tags as a list: JSON, JSON within text, a list of PostgreSQL, or one tag alone.

    Tags that LiteLLM adds for the caller's software (``User-Agent: …``) say nothing of the request.
    """
    inner = f"CASE WHEN json_valid({text}) THEN json_extract_string({text}, '$') ELSE {text} END"
    return (
        f"list_filter(list_transform([{inner}], lambda t: CASE "
        "WHEN t IS NULL THEN [] "
        "WHEN json_valid(t) THEN CASE json_type(t) WHEN 'ARRAY' THEN TRY_CAST(t::JSON AS VARCHAR[]) "
        "WHEN 'OBJECT' THEN list_transform(json_keys(t), lambda k: k || ':' || "
        "coalesce(json_extract_string(t, '$.\"' || k || '\"'), '')) ELSE [t] END "
        "WHEN left(t, 1) IN ('{', '[') THEN list_transform(str_split(trim(t, '{}[]'), ','), "
        "lambda p: trim(p, ' \"''')) ELSE [t] END)[1], "
        "lambda tag: coalesce(trim(tag), '') <> '' AND NOT starts_with(lower(trim(tag)), 'user-agent'))"
    )


def task_of(tag_list: Sql, name: str | None) -> Sql:
    """Choose the task among tags: the first, or the first of the form NAME:VALUE or NAME=VALUE."""
    if name is None:
        return f"{tag_list}[1]"
    name = name.rstrip(":=")
    starts = [sql_text(name + mark) for mark in ":="]
    fits = f"starts_with(tag, {starts[0]}) OR starts_with(tag, {starts[1]})"
    return f"nullif(trim(substr(list_filter({tag_list}, lambda tag: {fits})[1], {len(name) + 2})), '')"


def glob(text: Sql, pattern: str) -> Sql:
    """Compare with a pattern of ``*`` and ``?``; brackets stand for themselves."""
    escaped = pattern.replace("[", "[[]")
    return f"({text} GLOB {sql_text(escaped)})"


def status_of(text: Sql) -> Sql:
    """Read how a call ended from a word or the code of an HTTP answer; no word is `ok`."""
    return (
        f"CASE WHEN {text} IS NULL OR lower({text}) IN ('success', 'succeeded', 'ok', 'completed', 'true', "
        f"'unset', 'default', 'debug', 'warning', 'stop', 'length', 'tool_calls', 'end_turn') "
        f"OR {text} SIMILAR TO '2[0-9][0-9]' "
        f"THEN 'ok' WHEN lower({text}) LIKE '%timeout%' OR lower({text}) LIKE '%timed%out%' OR {text} IN "
        f"('408', '504') THEN 'timeout' WHEN lower({text}) LIKE '%content%policy%' OR lower({text}) LIKE "
        f"'%content_filter%' OR lower({text}) LIKE '%refus%' THEN 'refused' ELSE 'error' END"
    )


def object_of(pairs: Mapping[str, Sql]) -> Sql:
    """Build a JSON object without the pairs whose value is NULL; NULL if none is left."""
    if not pairs:
        return "NULL::JSON"
    inside = ", ".join(f"{sql_text(name)}, {value}" for name, value in pairs.items())
    return f"nullif(json_merge_patch('{{}}'::JSON, json_object({inside}))::VARCHAR, '{{}}')::JSON"
