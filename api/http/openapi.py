"""The OpenAPI document: FastAPI's endpoints and plain routes alike, with an example for every body.

An example is put together from the examples at the fields of a schema, so that it cannot contradict it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from fastapi.utils import generate_unique_id
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from fairlead.api.endpoints.requests import JsonBody, JsonRoute
from fairlead.api.problems import MEDIA_TYPE, TITLES, Problem
from fairlead.api.schemas.base import ProblemOut

_DESCRIPTION: Final = """Fairlead decides, per request, which LLM provider serves it, and learns from the
results: ask for a decision, report its outcome, give feedback. Errors are problem details (RFC 9457)."""

_REFERENCE: Final = "#/components/schemas/{model}"
_JSON: Final = "application/json"


def document(app: FastAPI, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the document of an application with these routes, built once."""
    if app.openapi_schema is None:
        app.openapi_schema = _Document(app, routes).build()
    return app.openapi_schema


def example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """Return an example of a schema: its own, or one that is put together from those of its parts.

    >>> example_of({"type": "array", "items": {"$ref": "#/components/schemas/N"}}, {"N": {"examples": [7]}})
    [7]
    """
    if "examples" in schema:
        return schema["examples"][0]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        if {"type": "null"} in schema["anyOf"]:
            return None
        return example_of(schema["anyOf"][0], schemas)
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    if "properties" in schema:
        required = schema.get("required", ())
        return {
            name: example_of(field, schemas)
            for name, field in schema["properties"].items()
            if "examples" in field or name in required
        }
    return {"small": example_of(schema["additionalProperties"], schemas)}


def _body_of(route: BaseRoute) -> type[BaseModel] | None:
    if isinstance(route, JsonRoute):
        return route.body
    if isinstance(route, APIRoute):
        for dependency in route.dependant.dependencies:
            if isinstance(dependency.call, JsonBody):
                return dependency.call.kind
    return None


class _Document:
    def __init__(self, app: FastAPI, routes: Sequence[BaseRoute]) -> None:
        self._routes = routes
        self._document = get_openapi(
            title=app.title, version=app.version, description=_DESCRIPTION, routes=app.routes
        )
        self._schemas = self._document["components"]["schemas"]

    def build(self) -> dict[str, Any]:
        """Complete what FastAPI gathered."""
        plain = [route for route in self._routes if isinstance(route, JsonRoute)]
        answers = [route.answer for route in plain]
        _, schemas = msgspec.json.schema_components(
            [*answers, ProblemOut], ref_template=_REFERENCE.format(model="{name}")
        )
        _add_types(schemas)
        models = {body for route in self._routes if (body := _body_of(route)) is not None}
        _, definitions = models_json_schema(
            [(model, "validation") for model in models], ref_template=_REFERENCE
        )
        self._schemas |= schemas | definitions["$defs"]
        for unused in ("HTTPValidationError", "ValidationError"):
            self._schemas.pop(unused, None)
        paths = {route.path_format: {} for route in plain} | self._document["paths"]
        for route in plain:
            paths[route.path_format][_method(route)] = _operation(route)
        self._document["paths"] = paths
        for documented in self._routes:
            self._add_body(documented)
        self._add_examples()
        self._document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        self._document["security"] = [{}, {"key": []}]
        return self._document

    def _add_body(self, route: BaseRoute) -> None:
        model = _body_of(route)
        if model is None:
            return
        assert isinstance(route, JsonRoute | APIRoute)
        content = {_JSON: {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}}
        operation = self._document["paths"][route.path_format][_method(route)]
        operation["requestBody"] = {"required": True, "content": content}

    def _add_examples(self) -> None:
        for path, methods in self._document["paths"].items():
            for operation in methods.values():
                for content in operation.get("requestBody", {}).get("content", {}).values():
                    content["example"] = example_of(content["schema"], self._schemas)
                for status, response in operation["responses"].items():
                    for kind, content in response.get("content", {}).items():
                        if kind == MEDIA_TYPE:
                            # One object is shared by all problems of all addresses.
                            response["content"] = {kind: {**content, "example": _problem(int(status))}}
                        elif "example" not in content:
                            content["example"] = example_of(content["schema"], self._schemas)
                            if path == "/readyz" and status == "503":
                                content["example"] |= {"ready": False, "progress": 0.4, "age_s": 3.1}


def _operation(route: JsonRoute) -> dict[str, Any]:
    """Return the operation of a plain route, as FastAPI writes it for its own."""
    answer = {"schema": {"$ref": _REFERENCE.format(model=route.answer.__name__)}}
    responses = {"200": {"description": "Successful Response", "content": {_JSON: answer}}}
    responses |= {str(status): dict(response) for status, response in route.responses.items()}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in route.param_convertors
    ]
    return {
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.handler.__doc__,
        "operationId": generate_unique_id(cast(APIRoute, route)),
        **({"parameters": parameters} if parameters else {}),
        "responses": responses,
    }


def _add_types(schema: Any) -> None:
    """Say of every choice between words that it is a string: generators of clients need it."""
    if isinstance(schema, dict):
        if "enum" in schema:
            schema.setdefault("type", "string")
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        _add_types(part)


def _method(route: JsonRoute | APIRoute) -> str:
    assert route.methods is not None
    (method,) = route.methods
    return method.lower()


def _problem(status: int) -> Any:
    kind, title = next((name, title) for name, (other, title) in TITLES.items() if other == status)
    return msgspec.to_builtins(Problem(kind, f"{title}.").details())
