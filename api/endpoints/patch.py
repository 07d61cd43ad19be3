"""JSON Merge Patches (RFC 7396) as bodies of requests."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from fairlead.api.endpoints.requests import JsonBody, RequestInfo


class _JsonObject(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="allow")


class PatchBody(JsonBody[Any]):
    """A dependency that reads a patch. The document shows the fields of ``kind``, none of them required."""

    def __init__(self, kind: type[BaseModel], example: dict[str, Any]) -> None:
        super().__init__(_patch_of(kind, example))

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Return the patch of a request; `patched` checks its fields with those that stay."""
        return RequestInfo.of(request.scope).parse(_JsonObject).model_extra or {}


def patch_body(kind: type[BaseModel], *, example: dict[str, Any]) -> Any:
    """Declare a parameter that holds a patch of a declaration of this kind."""
    return Depends(PatchBody(kind, example))


def _patch_of(kind: type[BaseModel], example: dict[str, Any]) -> type[BaseModel]:
    def loosen(schema: dict[str, Any]) -> None:
        schema.pop("required", None)
        schema["examples"] = [example]
        schema["description"] = f"Fields of {kind.__name__} to change; null restores a field's default."
        for name, field in schema.get("properties", {}).items():
            text = {"description": field.pop("description")} if "description" in field else {}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **text}

    name = kind.__name__.replace("In", "Patch")
    body = {"model_config": {"json_schema_extra": loosen}, "__doc__": "", "__module__": __name__}
    return type(name, (kind,), body)
