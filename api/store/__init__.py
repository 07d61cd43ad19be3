"""The log of events: append-only, in one total order, on SQLite or PostgreSQL."""

from fairlead.api.store.base import Appended, Query, Row, Store, StoreUnavailable, of_session
from fairlead.api.store.factory import migrate_store, open_store, sqlite_path
from fairlead.api.store.schema import SchemaMismatch

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
    "sqlite_path",
]
