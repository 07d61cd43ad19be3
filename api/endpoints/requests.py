"""Requests as endpoints see them: the principal, the body, the headers that matter.

The middleware attaches a `RequestInfo` to each request. `Reader`, `Admin` and `json_body` hand parts of it to
FastAPI's endpoints, as dependencies.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fairlead.api.problems import MEDIA_TYPE, Problem, from_validation
from fairlead.api.service.auth import Principal

Body = TypeVar("Body", bound=BaseModel)

LONGEST_KEY: Final = 200
_SCOPE: Final = "fairlead"


@dataclass(slots=True)
class RequestInfo:
    """A request that was let in: its principal, its whole body, its headers."""

    principal: Principal
    body: bytes
    headers: Mapping[bytes, bytes]
    """By name in lower case; of a repeated header the last value."""

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> RequestInfo:
        """Return the information that the middleware attached to a request."""
        info: RequestInfo = scope[_SCOPE]
        return info

    def attach(self, scope: MutableMapping[str, Any]) -> None:
        """Attach it to a request, for the endpoint."""
        scope[_SCOPE] = self

    def parse(self, kind: type[Body]) -> Body:
        """Return the body as its schema reads it; a problem that repeats nothing of it if it does not fit."""
        content_type = self.headers.get(b"content-type", b"")
        if content_type.split(b";")[0].strip().lower() != b"application/json":
            raise Problem("unsupported", "Send JSON, with the header Content-Type: application/json.")
        try:
            return kind.model_validate_json(self.body)
        except ValidationError as error:
            raise from_validation(error) from None

    @property
    def idempotency_key(self) -> str | None:
        """The header Idempotency-Key."""
        key = self.headers.get(b"idempotency-key")
        if key is not None and not 0 < len(key) <= LONGEST_KEY:
            raise Problem("invalid", f"Idempotency-Key must have 1 to {LONGEST_KEY} characters.")
        return None if key is None else key.decode("latin-1")

    def idempotency_keys(self, count: int) -> list[str | None]:
        """Return a key for each item of a batch, from the header of the whole."""
        key = self.idempotency_key
        return [None if key is None else f"{key}#{i}" for i in range(count)]


def _requires(scope: str) -> Any:
    async def principal(request: Request) -> Principal:
        principal = RequestInfo.of(request.scope).principal
        principal.require(scope)
        return principal

    return Depends(principal)


Reader = Annotated[Principal, _requires("read")]
Admin = Annotated[Principal, _requires("admin")]


class JsonBody(Generic[Body]):
    """A dependency that reads the body by its schema.

    FastAPI's own way parses JSON with the standard library, which accepts NaN, and checks the result in
    pydantic's Python mode, in which a strict schema takes no list for a tuple.
    """

    def __init__(self, kind: type[Body]) -> None:
        self.kind = kind

    async def __call__(self, request: Request) -> Body:
        """Return the body of a request."""
        return RequestInfo.of(request.scope).parse(self.kind)


def json_body(kind: type[BaseModel]) -> Any:
    """Declare a parameter that holds the body of the request."""
    return Depends(JsonBody(kind))


class Preview(BaseModel):
    """Whether to change anything."""

    model_config = ConfigDict(extra="forbid")

    preview: bool = Field(default=False, description="Show what would change, and change nothing.")

    @property
    def status_code(self) -> int:
        """Status of an answer about something new."""
        return 200 if self.preview else 201


PreviewQuery = Annotated[Preview, Query()]


async def no_unknown_query(request: Request) -> None:
    """Raise a problem for query parameters if the address has none; FastAPI checks those that it has."""
    if request.scope["query_string"] and not request.scope["route"].dependant.query_params:
        raise Problem("invalid", "This address takes no query parameters.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Declare the problems that an address can answer with, for the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}}
    return {status: {"description": "Problem", "content": content} for status in statuses}


ANYWHERE: Final = problems(400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
"""The problems that every address can answer with."""
