"""Spans of OpenTelemetry that follow its conventions for generative AI, as OTLP JSON, flat JSON or CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fairlead.experiments.logs.importers.gateway import Columns, selection_of
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table, readable_text, suffix_of
from fairlead.experiments.logs.importers.source import Document, Selection, Source
from fairlead.experiments.logs.source import CUT_SHORT

_ATTRIBUTES: Final = ("", "attributes.", "SpanAttributes.")


def _names(name: str) -> tuple[str, ...]:
    return tuple(prefix + name for prefix in _ATTRIBUTES)


_COLUMNS: Final = Columns(
    identity=("spanId", "span_id", "SpanId", "context.span_id"),
    started=("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "Timestamp"),
    ended=("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime"),
    model=(*_names("gen_ai.request.model"), *_names("gen_ai.response.model")),
    cost=(*_names("gen_ai.usage.cost"), *_names("gen_ai.usage.total_cost")),
    route=(*_names("service.name"), "ServiceName"),
    input_tokens=(*_names("gen_ai.usage.input_tokens"), *_names("gen_ai.usage.prompt_tokens")),
    attributes={"user": "enduser.id"},
    status=(*_names("error.type"), "status.code", "status.status_code", "StatusCode"),
    remedy="export spans with spanId, startTimeUnixNano and the attribute gen_ai.request.model",
)


def _documents(path: Path, folder: Path) -> Iterator[Document] | None:
    """Read spans out of OTLP JSON, None if the file is a table or has a span on each row already."""
    text = readable_text(path, folder)
    if suffix_of(text) in (".csv", ".tsv", ".parquet"):
        return None
    with text.open(encoding="utf-8", errors="replace") as file:
        return _spans(text) if "resourceSpans" in file.read(1 << 16) else None


def _spans(path: Path) -> Iterator[Document]:
    for number, batch in _batches(path):
        if isinstance(batch, str):
            yield {"row": number, "wrong": batch}
            continue
        for resource in batch.get("resourceSpans") or ():
            shared = _flat((resource.get("resource") or {}).get("attributes"))
            for scope in resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans") or ():
                for span in scope.get("spans") or ():
                    own = {key: value for key, value in span.items() if key not in ("attributes", "events")}
                    yield {**shared, **own, **_flat(span.get("attributes"))}


def _batches(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Read objects, one a line or one in the whole file, or the reason why a line is none."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
        if _object(first) is None:  # one object over many lines
            whole = _object(first + file.read())
            yield 1, "the file is no whole OTLP JSON: export it again" if whole is None else whole
            return
        file.seek(0)
        for number, line in enumerate(file, 1):
            batch = _object(line) if line.strip() else {}
            if batch is None:
                reason = (
                    "the line is not one whole JSON object: mend it" if line.endswith("\n") else CUT_SHORT
                )
                yield number, reason
            else:
                yield number, batch


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _flat(attributes: Any) -> dict[str, Any]:
    """Turn a list of {key, value: {stringValue: …}} into an object."""
    if isinstance(attributes, Mapping):
        return dict(attributes)
    pairs = {}
    for attribute in attributes or ():
        value = attribute.get("value")
        inner = next(iter(value.values()), None) if isinstance(value, Mapping) else value
        pairs[str(attribute.get("key"))] = inner
    return pairs


def _select(table: Table, options: ImportOptions) -> Selection:
    operation = table.text(*_names("gen_ai.operation.name"))
    other = f"{operation} NOT IN ('chat', 'text_completion', 'generate_content', 'responses')"
    no_model = f"{table.text(*_COLUMNS.model)} IS NULL"
    selection = selection_of(
        table,
        options,
        _COLUMNS,
        left_out=(
            (other, f"'spans of ' || {operation} || ', which answer no prompt'"),
            (no_model, "'spans that call no model'"),
        ),
    )
    columns = dict(selection.columns)
    columns["task"] = table.text(*_names(options.task_tag)) if options.task_tag else "NULL"
    columns["status"] = f"CASE WHEN {_is_fine(table)} THEN 'ok' ELSE {columns['status']} END"
    return Selection(columns=columns, left_out=selection.left_out, refused=selection.refused)


def _is_fine(table: Table) -> str:
    """Read a status by number or name: 0 is unset and 1 is fine; the type of an error comes first."""
    status = table.text("status.code", "status.status_code", "StatusCode")
    error = table.text(*_names("error.type"))
    return f"{error} IS NULL AND regexp_matches(upper(coalesce({status}, 'OK')), '^(.*[._])?(0|1|OK|UNSET)$')"


OPENTELEMETRY: Final = Source(select=_select, prepare=_documents, remedy=_COLUMNS.remedy)
