"""API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from fairlead.api.http.requests import (
    Page,
    Preview,
    StrictRoute,
    answer,
    body_of,
    caller_of,
    paged,
    problems,
    takes,
)
from fairlead.api.problems import Problem
from fairlead.api.schemas.base import Strict
from fairlead.api.schemas.configuration import ChangeOut, KeyListOut, KeyMadeOut, KeyOut
from fairlead.api.schemas.declarations import KeyIn
from fairlead.api.service.auth import Caller, new_id, new_secret
from fairlead.api.service.changes import make_change, merged, patch_of
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change, Key

LONGEST_OVERLAP_S: Final = 604_800


class RotateIn(Strict):
    """How a key gets a new secret."""

    overlap_s: Annotated[int, Field(ge=0, le=LONGEST_OVERLAP_S)] = Field(
        default=3_600, description="Seconds for which the old secret is still taken."
    )


def _in_force(key: Key, now_s: float) -> bool:
    return key.expires_at is None or key.expires_at.timestamp() > now_s


def check_admin_left(keys: dict[str, Key], now_s: float) -> None:
    """A problem where nobody could change anything any more."""
    if not any("admin" in key.scopes and _in_force(key, now_s) for key in keys.values()):
        raise Problem(
            "conflict", "No key of the scope admin would be left that is valid: create another one first."
        )


class _Keys:
    """The keys of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def all(self) -> dict[str, Key]:
        """All of them, by id."""
        return self._service.engine.fold.config.keys

    def one(self, key_id: str) -> Key:
        """The key of an id; a problem where there is none."""
        if key_id not in self.all():
            raise Problem("not-found", "There is no key of this id.")
        return self.all()[key_id]

    async def put(self, caller: Caller, key: Key, *, preview: bool) -> dict[str, Any]:
        """Make or change a key."""
        if "admin" in key.scopes and (key.routes is not None or key.sources is not None):
            raise Problem(
                "invalid",
                "A key of the scope admin can change any key, itself too, and so cannot be limited to routes "
                "or sources: leave out the limits, or the scope.",
            )
        check_admin_left({**self.all(), key.id: key}, self._service.clock())
        change = Change("key", key.id, "put", key.model_dump(mode="json"))
        return await make_change(self._service, caller, change, preview=preview)

    async def remove(self, caller: Caller, key_id: str, *, preview: bool) -> dict[str, Any]:
        """Remove a key."""
        self.one(key_id)
        left = {name: key for name, key in self.all().items() if name != key_id}
        check_admin_left(left, self._service.clock())
        return await make_change(
            self._service, caller, Change("key", key_id, "remove", None), preview=preview
        )


def _told(key: Key) -> dict[str, Any]:
    return key.model_dump(mode="json", include={*KeyIn.model_fields, "id"})


def router(service: Service) -> APIRouter:
    """The addresses below /v1/keys."""
    api = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["keys"])

    held = _Keys(service)

    @api.get(
        "/keys",
        summary="List keys",
        response_model=None,
        responses={200: {"model": KeyListOut}, **problems()},
    )
    async def list_keys(request: Request, page: Annotated[Page, Query()]) -> Response:
        """Without their secrets, of which only a digest is kept."""
        caller_of(request, "admin")
        found = paged(dict(held.all()), page)
        return answer({**found, "items": [_told(key) for key in found["items"]]})

    @api.post(
        "/keys",
        summary="Create a key",
        response_model=None,
        status_code=201,
        responses={200: {"model": ChangeOut}, 201: {"model": KeyMadeOut}, **problems(409)},
        openapi_extra=takes(KeyIn),
    )
    async def create_key(request: Request, ask: Annotated[Preview, Query()]) -> Response:
        """The answer holds the key; it is shown this once. From the first key on, everybody needs one."""
        caller = caller_of(request, "admin")
        body = body_of(request, KeyIn)
        name = new_id()
        token, digest = new_secret(name)
        made = await held.put(caller, Key(**body.model_dump(), id=name, sha256=digest), preview=ask.preview)
        if ask.preview:
            return answer(made)
        return answer({"id": name, "key": token, "seq": made["seq"]}, status=201)

    @api.get(
        "/keys/{key_id}",
        summary="Read a key",
        response_model=None,
        responses={200: {"model": KeyOut}, **problems(404)},
    )
    async def read_key(request: Request, key_id: str) -> Response:
        caller_of(request, "admin")
        return answer(_told(held.one(key_id)))

    @api.patch(
        "/keys/{key_id}",
        summary="Change a key",
        response_model=None,
        responses={200: {"model": ChangeOut}, **problems(404, 409)},
        openapi_extra=takes(patch_of(KeyIn)),
    )
    async def change_key(request: Request, key_id: str, ask: Annotated[Preview, Query()]) -> Response:
        """A JSON Merge Patch; the secret stays."""
        caller = caller_of(request, "admin")
        async with service.changing:
            known = held.one(key_id)
            body = merged(request, known, KeyIn, "id")
            kept = {
                name: getattr(known, name) for name in Key.model_fields.keys() - KeyIn.model_fields.keys()
            }
            return answer(await held.put(caller, Key(**body.model_dump(), **kept), preview=ask.preview))

    @api.post(
        "/keys/{key_id}/rotate",
        summary="Give a key a new secret",
        response_model=None,
        responses={200: {"model": KeyMadeOut}, **problems(404, 409)},
        openapi_extra=takes(RotateIn),
    )
    async def rotate_key(request: Request, key_id: str) -> Response:
        """The old secret is taken for a while longer, so that whoever uses it can change over."""
        caller = caller_of(request, "admin")
        body = body_of(request, RotateIn)
        token, digest = new_secret(key_id)
        until_s = service.clock() + body.overlap_s
        async with service.changing:
            known = held.one(key_id)
            update = {"sha256": digest, "previous_sha256": known.sha256, "previous_until_s": until_s}
            made = await held.put(caller, known.model_copy(update=update), preview=False)
        return answer({"id": key_id, "key": token, "seq": made["seq"]})

    @api.delete(
        "/keys/{key_id}",
        summary="Remove a key",
        response_model=None,
        responses={200: {"model": ChangeOut}, **problems(404, 409)},
    )
    async def remove_key(request: Request, key_id: str, ask: Annotated[Preview, Query()]) -> Response:
        """From then on it is refused. The last key of the scope admin stays."""
        caller = caller_of(request, "admin")
        async with service.changing:
            return answer(await held.remove(caller, key_id, preview=ask.preview))

    return api


def key_change(name: str, scopes: tuple[Any, ...]) -> tuple[str, Change]:
    """A new key and the change that makes it, for the command line."""
    key_id = new_id()
    token, digest = new_secret(key_id)
    note = f"made on the command line on {datetime.now(UTC).date()}"
    key = Key(name=name, scopes=scopes, id=key_id, sha256=digest, note=note)
    return token, Change("key", key_id, "put", key.model_dump(mode="json"))
