"""Pages of lists, with cursors that are opaque to the client."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from fairlead.api.problems import Problem

T = TypeVar("T")


class PageQuery(BaseModel):
    """The part of a list that a request asks for."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=500, description="Maximum number of items.")
    cursor: str | None = Field(
        default=None,
        max_length=400,
        description="`next_cursor` of the previous page; leave it out for the first.",
    )


Paging = Annotated[PageQuery, Query()]


def encode_cursor(position: object) -> str:
    """Return a cursor for a position in a list.

    >>> decode_cursor(encode_cursor("small"))
    'small'
    """
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Any:
    """Return the position that a cursor stands for; a problem for anything that is not a cursor."""
    try:
        return json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise Problem("invalid", "The cursor is not from an answer: start without it.") from None


def page_of(items: Mapping[str, T], query: PageQuery) -> tuple[list[T], str | None]:
    """One page of items, in the order of their names, and the cursor of the next page."""
    after = ""
    if query.cursor is not None:
        after = decode_cursor(query.cursor)
        if not isinstance(after, str):
            raise Problem("invalid", "The cursor belongs to another list: start without it.")
    names = sorted(name for name in items if name > after)
    page = names[: query.limit]
    return [items[name] for name in page], encode_cursor(page[-1]) if len(names) > len(page) else None
