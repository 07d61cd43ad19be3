"""The three busiest addresses, answered in front of all routing.

Their endpoints need nothing of what Starlette and FastAPI do for a request in between, which took a quarter
of the time of a decision. Everything else about them (schemas, documents, checks) is as for any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Final

from fastapi import Request, Response
from starlette.types import Scope

from fairlead.api.http.requests import StrictRoute

_OUTCOME: Final = "/v1/decisions/{decision_id}/outcome"
SHORT: Final = ("/v1/decisions", "/v1/feedback", _OUTCOME)


def shortcut(routes: Mapping[str, StrictRoute], scope: Scope) -> Awaitable[Response] | None:
    """What answers a request at one of these addresses; None for any other."""
    if scope["method"] != "POST":
        return None
    path, given = scope["path"], {}
    if path not in SHORT:
        parts = path.split("/")
        if len(parts) != 5 or parts[:3] != ["", "v1", "decisions"] or parts[4] != "outcome":
            return None
        path, given = _OUTCOME, {"decision_id": parts[3]}
    route = routes[path]
    scope["route"] = route
    request = Request(scope)
    route.check_query(request)
    answered: Awaitable[Response] = route.endpoint(request, **given)
    return answered
