"""The OpenAPI document: what FastAPI gathers, and the bodies that the endpoints read themselves."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from api.endpoints.requests import TAKEN

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
        made["security"] = [{}, {"key": []}]
        app.openapi_schema = made
    return app.openapi_schema
