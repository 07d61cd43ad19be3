"""The log of events: append-only, in one total order, on SQLite or PostgreSQL."""

from api.store.base import (
    Appended,
    Query,
    Row,
    SchemaMismatch,
    Store,
    StoreUnavailable,
    migrate_store,
    open_store,
    session_place,
)

__all__ = [
    "Appended",
    "Query",
    "Row",
    "SchemaMismatch",
    "Store",
    "StoreUnavailable",
    "migrate_store",
    "open_store",
    "session_place",
]
