"""Errors as problem details (RFC 9457). They repeat nothing of a request but names of fields, shortened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from fairlead.api.schemas.base import ProblemOut
from fairlead.optimizer.errors import BudgetSpent, InvalidInput, NoEligibleProvider

MEDIA_TYPE: Final = "application/problem+json"
MOST_ERRORS: Final = 10
_MANY: Final = 200
_LONGEST_NAME: Final = 60

TITLES: Final[Mapping[str, tuple[int, str]]] = {
    "malformed": (400, "The body is not JSON"),
    "unauthenticated": (401, "A valid API key is needed"),
    "forbidden": (403, "The API key may not do this"),
    "not-found": (404, "There is no such thing"),
    "unknown-decision": (404, "The decision is unknown"),
    "method-not-allowed": (405, "The address does not take this method"),
    "request-timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "The id belongs to something else"),
    "too-late": (410, "The decision is closed"),
    "too-large": (413, "The body is too large"),
    "unsupported": (415, "The body has an unsupported format"),
    "invalid": (422, "The request cannot be served as it is"),
    "no-provider": (422, "No provider may serve the request"),
    "budget-spent": (429, "The budget of the route is spent"),
    "too-many-requests": (429, "The API key is over its limit"),
    "fault": (500, "Something is wrong in Fairlead"),
    "overloaded": (503, "The service is too busy"),
    "unavailable": (503, "The log is unavailable"),
    "timeout": (503, "The request took too long to answer"),
}


class Problem(Exception):
    """An error that is answered with problem details; ``kind`` is one of `TITLES`.

    >>> problem = Problem("too-many-requests", "The limit is 10 requests/s.", retry_after_s=2)
    >>> problem.status, problem.headers()
    (429, {'Retry-After': '2'})
    >>> problem.details().title
    'The API key is over its limit'
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] | None = None,
        retry_after_s: int | None = None,
        allow: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = TITLES[kind]
        self.detail = detail
        self.errors = errors
        self.retry_after_s = retry_after_s
        self.allow = allow

    def details(self) -> ProblemOut:
        """Return the problem details."""
        errors = None if self.errors is None else [dict(error) for error in self.errors]
        return ProblemOut(f"urn:fairlead:problem:{self.kind}", self.title, self.status, self.detail, errors)

    def body(self) -> bytes:
        """Return the problem details as JSON."""
        return msgspec.json.encode(self.details())

    def headers(self) -> dict[str, str]:
        """Headers of the answer, apart from its content type."""
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.allow is not None:
            headers["Allow"] = self.allow
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="fairlead"'
        return headers


def name_of(parts: Sequence[object]) -> str:
    """Return the position of an error, such as body.messages.0.role, shortened and in ASCII."""
    names = [ascii(str(part)[: _LONGEST_NAME + 1])[1:-1] for part in parts[:12]]
    return ".".join(
        name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 3] + "..." for name in names
    )


def from_validation(error: ValidationError, *, where: str = "body") -> Problem:
    """Return the problem for a body that its schema refuses: the first ten errors, without their input."""
    # Asking for the errors builds an object for each, and a hostile body can have a hundred thousand.
    if error.error_count() > _MANY:
        return Problem("invalid", f"There are {error.error_count():,} errors in the request.")
    return from_errors(
        error.errors(include_url=False, include_context=False, include_input=False), prefix=(where,)
    )


def from_errors(errors: Sequence[Mapping[str, Any]], *, prefix: tuple[str, ...] = ()) -> Problem:
    """Return the problem for a list of pydantic's errors, whose places begin with ``prefix``."""
    if any(error["type"] == "json_invalid" for error in errors):
        return Problem("malformed", "The body is not one whole JSON value in UTF-8, or is nested too deeply.")
    first = [
        {"where": name_of((*prefix, *error["loc"])), "message": str(error["msg"])[:300]}
        for error in errors[:MOST_ERRORS]
    ]
    count = len(errors)
    return Problem("invalid", f"{count} error{'s' if count > 1 else ''} in the request.", errors=first)


def from_refusal(error: InvalidInput | NoEligibleProvider, *, now_s: float = 0.0) -> Problem:
    """Return the problem for a request that the optimizer refuses at this time."""
    if isinstance(error, BudgetSpent):
        wait_s = max(math.ceil(error.end_s - now_s), 1)
        return Problem("budget-spent", str(error), retry_after_s=wait_s)
    return Problem("no-provider" if isinstance(error, NoEligibleProvider) else "invalid", str(error))
