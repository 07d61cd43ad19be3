"""The OpenAPI document: what FastAPI gathers, and the bodies that the endpoints read themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from fairlead.api.http.examples import ANSWERS, BODIES, DETAILS, REBUILDING
from fairlead.api.http.requests import TAKEN
from fairlead.api.problems import MEDIA_TYPE, TITLES, Problem

_DESCRIPTION: Final = """Fairlead decides, per request, which LLM provider serves it, and learns from what
comes of it: ask for a decision, report its outcome, judge it. Errors are problem details (RFC 9457)."""


def document(app: FastAPI) -> dict[str, Any]:
    """The document of an application, made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes)
        template = "#/components/schemas/{model}"
        _, schemas = models_json_schema(
            [(kind, "validation") for kind in TAKEN.values()], ref_template=template
        )
        components = made.setdefault("components", {})
        known = components.setdefault("schemas", {})
        known.update(schemas["$defs"])
        for unused in ("HTTPValidationError", "ValidationError"):
            known.pop(unused, None)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        _add_examples(made["paths"])
        made["security"] = [{}, {"key": []}]
        app.openapi_schema = made
    return app.openapi_schema


def _add_examples(paths: dict[str, Any]) -> None:
    for path, methods in paths.items():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["example"] = BODIES[_schema(content)]
            for status, told in operation["responses"].items():
                for kind, content in told.get("content", {}).items():
                    if kind == MEDIA_TYPE:
                        # One object is shared by all problems of all addresses.
                        told["content"] = {kind: {**content, "example": _problem(int(status))}}
                    elif path == "/readyz" and status == "503":
                        content["example"] = REBUILDING
                    elif "$ref" in content["schema"]:
                        content["example"] = ANSWERS[_schema(content)]


def _schema(content: dict[str, Any]) -> str:
    reference: str = content["schema"]["$ref"]
    return reference.rpartition("/")[2]


def _problem(status: int) -> dict[str, Any]:
    kind = next(name for name, (known, _) in TITLES.items() if known == status)
    return Problem(kind, DETAILS[status]).body()
