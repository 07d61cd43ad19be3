"""Changes of the configuration: checked, shown as a preview, written, and answered once in force."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError

from fairlead.api.http.requests import arrived, body_of, refused
from fairlead.api.problems import Problem, from_validation
from fairlead.api.service.auth import Caller
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider


async def make_change(service: Service, caller: Caller, change: Change, *, preview: bool) -> dict[str, Any]:
    """Check a change, write it unless it is a preview, and return once it is in force here."""
    engine = service.engine
    before = body_in_force(service, change)
    try:
        _, routes = engine.fold.preview(change)
    except (InvalidInput, NoEligibleProvider) as error:
        raise refused(error) from None
    told = {
        "preview": preview,
        "seq": None,
        "entity": change.entity,
        "id": change.id,
        "routes": routes,
        "before": before,
        "after": None if change.body is None else shown(change.body),
    }
    if preview:
        return told
    ((row, _),) = await service.append([service.change_row(change, by=caller.key)])
    await engine.wait_until_folded(row.seq)
    if row.seq in engine.fold.refused:
        # Something else was changed in between, by which this became impossible.
        raise Problem("conflict", engine.fold.refused[row.seq])
    return {**told, "seq": row.seq}


def body_in_force(service: Service, change: Change) -> dict[str, Any] | None:
    """What is declared now under the id of a change."""
    held: dict[str, BaseModel] = getattr(service.engine.fold.config, f"{change.entity}s")
    return shown(held[change.id].model_dump(mode="json")) if change.id in held else None


def shown(body: Any) -> dict[str, Any]:
    """A body without what is not for eyes."""
    return {name: value for name, value in body.items() if name not in ("sha256", "previous_sha256")}


def merged(request: Request, known: BaseModel, kind: type[BaseModel], name: str) -> BaseModel:
    """What is declared with the fields of the body in their place (RFC 7396); `kind` checks the whole."""
    body_of(request, _Fields)
    patch = json.loads(arrived(request).body)
    if patch.get(name, getattr(known, name)) != getattr(known, name):
        raise Problem("invalid", f"The {name} stays: declare another one instead.")
    whole = merge_patch(known.model_dump(mode="json", include=set(kind.model_fields)), patch)
    try:
        return kind.model_validate_json(json.dumps(whole))
    except ValidationError as error:
        raise from_validation(error) from None


class _Fields(BaseModel):
    """Any object."""


def merge_patch(value: Any, patch: Any) -> Any:
    """JSON Merge Patch: null removes a field, which then has its default."""
    if not isinstance(patch, dict):
        return patch
    made = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            made.pop(name, None)
        else:
            made[name] = merge_patch(made.get(name), item)
    return made


def patch_of(kind: type[BaseModel]) -> type[BaseModel]:
    """The schema of a change: the fields of `kind`, none of them needed. For the OpenAPI document."""

    def loosen(schema: dict[str, Any]) -> None:
        schema.pop("required", None)
        schema["description"] = f"Fields of {kind.__name__} to change; null gives a field its default again."
        for name, field in schema.get("properties", {}).items():
            told = {"description": field.pop("description")} if "description" in field else {}
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **told}

    name = kind.__name__.replace("In", "Patch")
    made: type[BaseModel] = type(
        name, (kind,), {"model_config": {"json_schema_extra": loosen}, "__doc__": ""}
    )
    return made
