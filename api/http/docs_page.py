"""The documentation page: the OpenAPI document as plain HTML, whole in one answer.

It loads nothing, from here or elsewhere, and runs no script, so that it works with no network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b2330 }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 } summary { cursor: pointer; padding: .3rem 0 }
code, pre { font: 14px/1.4 ui-monospace, monospace }
pre { background: #f3f5f8; padding: .8rem; overflow-x: auto }
.method { display: inline-block; width: 4.5rem; font-weight: 600 } details { border-top: 1px solid #dde2e9 }
table { border-collapse: collapse; width: 100% } th { font-weight: 600 }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0 }
.muted { color: #5a6675 }
@media (prefers-color-scheme: dark) { body { background: #11161d; color: #dde3ea } pre { background: #1b222c }
details { border-color: #2b3542 } .muted { color: #93a1b1 } a { color: #8ab4ff } }
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page for a document."""
    schemas = document["components"]["schemas"]
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = operation.get("tags", ["other"])[0]
            groups.setdefault(tag, []).append(_operation(path, method, operation))
    parts = [f"<h2>{escape(tag)}</h2>{''.join(operations)}" for tag, operations in groups.items()]
    described = "".join(_schema(name, schema) for name, schema in sorted(schemas.items()))
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{title} {escape(document['info']['version'])}</h1>"
        f"<p>{escape(document['info']['description'])}</p>"
        '<p class="muted">The same as a document for machines: <a href="/openapi.json">/openapi.json</a></p>'
        f"{''.join(parts)}<h2>Schemas</h2>{described}</body></html>"
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{escape({**parameter.get('schema', {}), **parameter}.get('description', ''))}</td></tr>"
        for parameter in operation.get("parameters", [])
    )
    if rows:
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th></th></tr>{rows}</table>")
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        parts.append(f"<p>Body: {_kind(content['schema'])}</p>")
        parts.append(_example(content))
    answers = []
    for status, response in sorted(operation["responses"].items()):
        content = next(iter(response.get("content", {}).values()), None)
        schema = {} if content is None else content.get("schema", {})
        answers.append(f"<code>{escape(status)}</code> {_kind(schema)}")
    parts.append(f"<p>Answers: {', '.join(answers)}</p>")
    good = next(iter(operation["responses"]["200"]["content"].values()))
    parts.append(_example(good))
    head = f'<span class="method">{method.upper()}</span><code>{escape(path)}</code>'
    summary = escape(operation.get("summary", ""))
    return (
        f'<details><summary>{head} <span class="muted">{summary}</span></summary>{"".join(parts)}</details>'
    )


def _example(content: Mapping[str, Any]) -> str:
    example = content["example"]
    return f"<pre>{escape(example if isinstance(example, str) else json.dumps(example, indent=2))}</pre>"


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{_kind(value)}{' *' if field in needed else ''}</td>"
        f"<td>{escape(value.get('description', ''))}</td></tr>"
        for field, value in schema.get("properties", {}).items()
    )
    table = f"<table><tr><th>field</th><th>kind (* needed)</th><th></th></tr>{rows}</table>" if rows else ""
    text = escape(schema.get("description", ""))
    name = escape(name)
    return f'<details id="{name}"><summary><code>{name}</code></summary><p>{text}</p>{table}</details>'


def _kind(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for joiner in ("anyOf", "oneOf", "allOf"):
        if joiner in schema:
            return " or ".join(_kind(choice) for choice in schema[joiner])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(choice))}</code>" for choice in schema["enum"])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything")))
