"""Errors as answers: problem details for whatever an endpoint raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from fairlead.api.problems import MEDIA_TYPE, Problem, from_errors


def problem_response(problem: Problem) -> Response:
    """Return the answer for a problem."""
    return Response(
        problem.body(), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers()
    )


async def _problem(_: Request, error: Problem) -> Response:
    return problem_response(error)


async def _invalid(_: Request, error: RequestValidationError) -> Response:
    return problem_response(from_errors(list(error.errors())))


async def _http(_: Request, error: HTTPException) -> Response:
    if error.status_code == 405:
        response = problem_response(Problem("method-not-allowed", "The header Allow names the methods."))
        response.headers.update(error.headers or {})
        return response
    return problem_response(Problem("not-found", "There is nothing at this address."))


HANDLERS: Final[dict[int | type[Exception], Callable[..., Any]]] = {
    Problem: _problem,
    RequestValidationError: _invalid,
    HTTPException: _http,
}
"""FastAPI's handlers by type of error; unexpected errors are answered by the middleware."""
