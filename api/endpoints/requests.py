"""Requests as endpoints see them: the principal, the body, the headers that matter.

The middleware attaches a `RequestInfo` to each request. A `JsonRoute` hands it to its handler; `Reader`,
`Admin` and `json_body` hand parts of it to FastAPI's endpoints, as dependencies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated, Any, Final, Generic, TypeVar, get_type_hints

import msgspec
from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fairlead.api.metrics import Histogram
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


class JsonRoute(Route):
    """A plain Starlette route for a busy address, whose answer is a msgspec struct encoded in one step.

    What FastAPI does for each request took a third to a half of a decision's time.

    ``handler`` is called with the request, with the body if it has a parameter of that name, and with the
    parameters of the path. Its annotations say how the body is read, and document body and answer. ``name``
    begins its operationId, ``needs`` is the scope that a key must have, and ``stages`` are histograms of the
    time that parsing and encoding take.
    """

    def __init__(
        self,
        path: str,
        handler: Callable[..., Awaitable[msgspec.Struct]],
        *,
        name: str,
        needs: str,
        summary: str,
        tag: str,
        statuses: tuple[int, ...] = (),
        stages: Mapping[str, Histogram] | None = None,
    ) -> None:
        super().__init__(path, handler, name=name)
        types = get_type_hints(handler)
        self.body: type[BaseModel] | None = types.get("body")
        self.answer: type[msgspec.Struct] = types["return"]
        self.method = "GET" if self.body is None else "POST"
        self.methods = {self.method}
        self.handler = handler
        self.summary, self.tag = summary, tag
        self.responses = ANYWHERE | problems(*statuses)
        self._needs, self._stages = needs, stages

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request for this address; a problem for other methods."""
        if scope["method"] != self.method:
            raise Problem("method-not-allowed", "The header Allow names the methods.", allow=self.method)
        await self._serve(scope, send)

    async def _serve(self, scope: Scope, send: Send) -> None:
        started = perf_counter()
        if scope["query_string"]:
            raise Problem("invalid", "This address takes no query parameters.")
        info = RequestInfo.of(scope)
        info.principal.require(self._needs)
        bodies: tuple[Any, ...] = () if self.body is None else (info.parse(self.body),)
        parsed = perf_counter()
        answer = await self.handler(info, *bodies, **scope["path_params"])
        answered = perf_counter()
        content = msgspec.json.encode(answer)
        if self._stages is not None:
            self._stages["parse"].observe(parsed - started)
            self._stages["answer"].observe(perf_counter() - answered)
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
