"""The addresses below /v1/keys: API keys."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Response

from fairlead.api.endpoints.configuration import PREVIEW
from fairlead.api.endpoints.pagination import Paging, page_of
from fairlead.api.endpoints.patch import patch_body
from fairlead.api.endpoints.requests import ANYWHERE, Admin, PreviewQuery, json_body, problems
from fairlead.api.schemas.base import Page
from fairlead.api.schemas.configuration import ChangeOut
from fairlead.api.schemas.keys import KeyIn, KeyMadeOut, KeyOut, RotateIn
from fairlead.api.service.keys import KeyService, key_answer
from fairlead.api.service.service import Service

_PATCH = {"requests_per_s": 100.0, "expires_at": None}


def router(service: Service) -> APIRouter:
    """Build the addresses below /v1/keys."""
    api = APIRouter(prefix="/v1", responses=ANYWHERE, tags=["keys"])
    keys = KeyService(service)

    @api.get("/keys", summary="List keys")
    async def list_keys(principal: Admin, query: Paging) -> Page[KeyOut]:
        """Keys without their secrets, of which only a digest is stored."""
        items, cursor = page_of(keys.all(), query)
        return Page(items=[key_answer(key) for key in items], next_cursor=cursor)

    @api.post(
        "/keys",
        summary="Create a key",
        status_code=201,
        response_model=KeyMadeOut,
        responses={200: PREVIEW, **problems(409)},
    )
    async def create_key(
        principal: Admin, query: PreviewQuery, body: Annotated[KeyIn, json_body(KeyIn)]
    ) -> KeyMadeOut | Response:
        """Return the key, which cannot be shown again. Once there is a key, every request needs one."""
        answer = await keys.create(body, principal, preview=query.preview)
        if isinstance(answer, ChangeOut):
            return Response(answer.model_dump_json(), media_type="application/json")
        return answer

    @api.get("/keys/{key_id}", summary="Read a key", responses=problems(404))
    async def read_key(principal: Admin, key_id: str) -> KeyOut:
        return key_answer(keys.get(key_id))

    _add_changes(api, keys)
    return api


def _add_changes(api: APIRouter, keys: KeyService) -> None:
    @api.patch("/keys/{key_id}", summary="Change a key", responses=problems(404, 409))
    async def change_key(
        *,
        principal: Admin,
        key_id: str,
        query: PreviewQuery,
        patch: Annotated[dict[str, Any], patch_body(KeyIn, example=_PATCH)],
    ) -> ChangeOut:
        """Apply a JSON Merge Patch; the secret stays."""
        return await keys.patch(key_id, patch, principal, preview=query.preview)

    @api.post("/keys/{key_id}/rotate", summary="Give a key a new secret", responses=problems(404, 409))
    async def rotate_key(
        principal: Admin, key_id: str, body: Annotated[RotateIn, json_body(RotateIn)]
    ) -> KeyMadeOut:
        """Keep the old secret valid for a while, so that clients can switch."""
        return await keys.rotate(key_id, body, principal)

    @api.delete("/keys/{key_id}", summary="Remove a key", responses=problems(404, 409))
    async def remove_key(principal: Admin, key_id: str, query: PreviewQuery) -> ChangeOut:
        """Refuses the key from now on. The last key with the scope admin cannot be removed."""
        return await keys.remove(key_id, principal, preview=query.preview)
