"""Errors as problem details (RFC 9457). Of what was sent, only names are repeated in them, and cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE: Final = "application/problem+json"
MOST_ERRORS: Final = 10
_MANY: Final = 200
_LONGEST_NAME: Final = 60

TITLES: Final[Mapping[str, tuple[int, str]]] = {
    "malformed": (400, "The body is not JSON"),
    "unauthenticated": (401, "A valid API key is needed"),
    "forbidden": (403, "The API key may not do this"),
    "not-found": (404, "There is no such thing"),
    "unknown-decision": (404, "The decision is not known"),
    "method-not-allowed": (405, "Not by this method"),
    "request-timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "The id belongs to something else"),
    "too-late": (410, "Nothing counts for this decision any more"),
    "too-large": (413, "The body is too large"),
    "unsupported": (415, "The body is of a kind that is not taken"),
    "invalid": (422, "The request cannot be served as it is"),
    "no-provider": (422, "No provider may serve the request"),
    "too-many-requests": (429, "Too much from this key"),
    "fault": (500, "Something is wrong in Fairlead"),
    "overloaded": (503, "Too busy now"),
    "unavailable": (503, "The log cannot be written or read now"),
    "timeout": (503, "It took too long"),
}


class Problem(Exception):
    """An answer that is a problem. ``kind`` is one of `TITLES`."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = TITLES[kind]
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, Any]:
        """The problem details."""
        return {
            "type": f"urn:fairlead:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "errors": None if self.errors is None else list(self.errors),
        }

    def headers(self) -> dict[str, str]:
        """Headers that go with it."""
        found = {}
        if self.retry_after_s is not None:
            found["Retry-After"] = str(self.retry_after_s)
        if self.status == 401:
            found["WWW-Authenticate"] = 'Bearer realm="fairlead"'
        return found

    def response(self) -> Response:
        """The answer."""
        return Response(
            json.dumps(self.body()), status_code=self.status, media_type=MEDIA_TYPE, headers=self.headers()
        )


def name_of(parts: Sequence[object]) -> str:
    """The place of an error, such as body.messages.0.role, cut and in ASCII."""
    shown = [ascii(str(part)[: _LONGEST_NAME + 1])[1:-1] for part in parts[:12]]
    return ".".join(
        part if len(part) <= _LONGEST_NAME else part[: _LONGEST_NAME - 3] + "..." for part in shown
    )


def from_validation(error: ValidationError | RequestValidationError, *, where: str = "body") -> Problem:
    """What a schema says of a request: the first ten errors, with nothing of what was sent."""
    if isinstance(error, ValidationError):
        # Asking for the errors makes an object of each, and a hostile body can have a hundred thousand.
        if error.error_count() > _MANY:
            return Problem("invalid", f"There are {error.error_count():,} errors in the request.")
        found = error.errors(include_url=False, include_context=False, include_input=False)
        start: tuple[str, ...] = (where,)
    else:
        found, start = list(error.errors()), ()
    if any(one["type"] == "json_invalid" for one in found):
        return Problem("malformed", "The body is not one whole JSON value in UTF-8, or is nested too deep.")
    told = [
        {"where": name_of((*start, *one["loc"])), "message": str(one["msg"])[:300]}
        for one in found[:MOST_ERRORS]
    ]
    count = len(found)
    return Problem("invalid", f"{count} error{'s' if count > 1 else ''} in the request.", errors=told)


def install(app: FastAPI) -> None:
    """Answer the errors of an application as problems; those that nobody expected are the guard's."""

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return from_validation(error).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            response = Problem("method-not-allowed", "This address takes other methods.").response()
            response.headers.update(error.headers or {})
            return response
        return Problem("not-found", "There is nothing at this address.").response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
