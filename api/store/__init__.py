"""The log of events: append-only, in one total order, on SQLite or PostgreSQL."""

from fairlead.api.store.base import (
    Appended,
    Query,
    Row,
    SchemaMismatch,
    Store,
    StoreUnavailable,
    migrate_store,
    of_session,
    open_store,
)

__all__ = [
    "Appended",
    "Query",
    "Row",
    "SchemaMismatch",
    "Store",
    "StoreUnavailable",
    "migrate_store",
    "of_session",
    "open_store",
]
