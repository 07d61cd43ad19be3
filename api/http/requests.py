"""What every endpoint does with a request: whose is it, what is in it, and what goes back."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from fairlead.api.http.middleware import STATE, Arrived
from fairlead.api.problems import Problem, from_validation
from fairlead.api.schemas.decisions import ProblemOut
from fairlead.api.service.auth import Caller
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider

M = TypeVar("M", bound=BaseModel)

JSON: Final = "application/json"
LONGEST_KEY: Final = 200


class StrictRoute(APIRoute):
    """An address that refuses query parameters it does not know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with the check in front."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            self.check_query(request)
            return await handler(request)

        return strict

    def check_query(self, request: Request) -> None:
        """A problem for query parameters where there are none to take."""
        if request.scope["query_string"] and not self.dependant.query_params:
            raise Problem("invalid", "This address takes no query parameters.")


class Page(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=500, description="Most items.")
    cursor: str | None = Field(
        default=None,
        max_length=400,
        description="`next_cursor` of the page before; leave it out for the first.",
    )


class Preview(BaseModel):
    """Whether to change anything."""

    model_config = ConfigDict(extra="forbid")

    preview: bool = Field(default=False, description="Say what would change, and change nothing.")


def arrived(request: Request) -> Arrived:
    """What the guard knows of the request."""
    known: Arrived = request.scope[STATE]
    return known


def caller_of(request: Request, scope: str) -> Caller:
    """Who calls; a problem where the key lacks the scope."""
    caller = arrived(request).caller
    caller.require(scope)
    return caller


def body_of(request: Request, kind: type[M]) -> M:
    """The body by its schema; a problem that repeats nothing of it where it does not fit."""
    known = arrived(request)
    if known.headers.get(b"content-type", b"").split(b";")[0].strip().lower() == b"application/json":
        try:
            return kind.model_validate_json(known.body)
        except ValidationError as error:
            raise from_validation(error) from None
    raise Problem("unsupported", "Send JSON, with the header Content-Type: application/json.")


def idempotency_key(request: Request) -> str | None:
    """The header Idempotency-Key."""
    given = arrived(request).headers.get(b"idempotency-key")
    if given is not None and not 0 < len(given) <= LONGEST_KEY:
        raise Problem("invalid", f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.")
    return None if given is None else given.decode("latin-1")


def idempotency_keys(request: Request, count: int) -> list[str | None]:
    """One key for each part of a batch, from the header of the whole."""
    key = idempotency_key(request)
    return [None if key is None else f"{key}#{i}" for i in range(count)]


def digest_of(body: BaseModel) -> str:
    """Tells whether two requests with one id ask for the same."""
    return blake2b(body.model_dump_json(exclude={"id"}).encode(), digest_size=16).hexdigest()


def refused(error: InvalidInput | NoEligibleProvider) -> Problem:
    """What the optimiser refuses, as a problem."""
    return Problem("no-provider" if isinstance(error, NoEligibleProvider) else "invalid", str(error))


_WRITER: Final = msgspec.json.Encoder(enc_hook=to_jsonable_python)


class JsonResponse(Response):
    """A body of JSON that is written already, with the headers that belong to it and no others."""

    def __init__(self, body: bytes, status: int) -> None:
        # Not Response's own, which works them out anew for each answer.
        self.body, self.status_code, self.background = body, status, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]


def answer(content: Any, *, status: int = 200) -> Response:
    """An answer as JSON."""
    return JsonResponse(_WRITER.encode(content), status)


def encoded_cursor(value: object) -> str:
    """A cursor that says nothing to whoever gets it."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def decoded_cursor(cursor: str) -> Any:
    """What `encoded_cursor` was given; a problem for anything else."""
    try:
        return json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise Problem("invalid", "The cursor is not one that was given: begin without it.") from None


def paged(items: dict[str, Any], page: Page) -> dict[str, Any]:
    """One page of items, in the order of their names."""
    after = ""
    if page.cursor is not None:
        after = decoded_cursor(page.cursor)
        if not isinstance(after, str):
            raise Problem("invalid", "The cursor is of another list: begin without it.")
    names = sorted(name for name in items if name > after)
    shown = names[: page.limit]
    more = len(names) > len(shown)
    return {
        "items": [items[name] for name in shown],
        "next_cursor": encoded_cursor(shown[-1]) if more else None,
    }


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an address can answer, for the OpenAPI document."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
    everywhere = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
    return {status: {"description": "Problem", "content": content} for status in (*everywhere, *statuses)}


def takes(kind: type[BaseModel]) -> dict[str, Any]:
    """The body that an address takes, for the OpenAPI document; `api.openapi` adds schema and example."""
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{kind.__name__}"}}
    TAKEN[kind.__name__] = kind
    return {"requestBody": {"required": True, "content": {JSON: content}}}


TAKEN: Final[dict[str, type[BaseModel]]] = {"ProblemOut": ProblemOut}
"""Schemas of bodies, by name."""
