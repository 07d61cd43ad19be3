"""The address of the audit trail: what was changed, when, and by which key."""

from __future__ import annotations

from fastapi import APIRouter

from fairlead.api import store
from fairlead.api.endpoints.pagination import Paging, decode_cursor, encode_cursor
from fairlead.api.endpoints.requests import ANYWHERE, Admin
from fairlead.api.problems import Problem
from fairlead.api.schemas.base import Page
from fairlead.api.schemas.configuration import AuditOut
from fairlead.api.service.changes import audit_entry
from fairlead.api.service.service import Service


def router(service: Service) -> APIRouter:
    """Build the address /v1/audit."""
    api = APIRouter(prefix="/v1", responses=ANYWHERE, tags=["keys"])

    @api.get("/audit", summary="List changes of the configuration")
    async def audit(principal: Admin, query: Paging) -> Page[AuditOut]:
        """All changes of the configuration, the latest first."""
        until, limit = _seq_of(query.cursor), query.limit
        rows = await service.rows(store.Query(kind="config", newest_first=True, limit=limit + 1, until=until))
        cursor = encode_cursor(rows[-1].seq) if len(rows) > limit else None
        return Page(items=[audit_entry(row) for row in rows[:limit]], next_cursor=cursor)

    return api


def _seq_of(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    seq = decode_cursor(cursor)
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 <= seq < 2**63:
        raise Problem("invalid", "The cursor belongs to another list: start without it.")
    return seq
