"""The audit trail: who changed what, and when."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from fairlead.api import store
from fairlead.api.http.requests import (
    Page,
    StrictRoute,
    answer,
    caller_of,
    decoded_cursor,
    encoded_cursor,
    problems,
)
from fairlead.api.problems import Problem
from fairlead.api.schemas.configuration import AuditListOut
from fairlead.api.service.answers import timestamp
from fairlead.api.service.changes import shown
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change


def router(service: Service) -> APIRouter:
    """The address /v1/audit."""
    api = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["keys"])

    @api.get(
        "/audit",
        summary="Read who changed what",
        response_model=None,
        responses={200: {"model": AuditListOut}, **problems()},
    )
    async def audit(request: Request, page: Annotated[Page, Query()]) -> Response:
        """All changes of the configuration, the latest first."""
        caller_of(request, "admin")
        until = None
        if page.cursor is not None:
            until = decoded_cursor(page.cursor)
            if not isinstance(until, int) or isinstance(until, bool) or not 0 <= until < 2**63:
                raise Problem("invalid", "The cursor is of another list: begin without it.")
        query = store.Query(kind="config", newest_first=True, limit=page.limit + 1, until=until)
        rows = await service.rows(query)
        items = [_audited(row) for row in rows[: page.limit]]
        more = len(rows) > page.limit
        return answer({"items": items, "next_cursor": encoded_cursor(rows[-1].seq) if more else None})

    return api


def _audited(row: store.Row) -> dict[str, Any]:
    change = Change.from_line(row.line)
    return {
        "seq": row.seq,
        "at": timestamp(row.at_s),
        "by": json.loads(row.metadata).get("by"),
        "entity": change.entity,
        "id": change.id,
        "action": change.action,
        "body": None if change.body is None else shown(change.body),
    }
