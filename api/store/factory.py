"""Opening and migrating the store that a URL names."""

from __future__ import annotations

from fairlead.api.store.base import Store
from fairlead.optimizer.errors import InvalidInput, require


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the store behind a URL: ``sqlite:///FILE`` or ``postgresql://...``.

    An empty database gets its tables, unless ``read_only``. Raises `SchemaMismatch` if the tables belong to
    another release, and `InvalidInput` if the URL or the database cannot be used.
    """
    if _is_sqlite(url):
        from fairlead.api.store.sqlite import SQLiteStore

        return SQLiteStore(sqlite_path(url), read_only=read_only)
    require("psycopg", purpose="a log on PostgreSQL")
    from fairlead.api.store.postgres import PostgresStore

    return PostgresStore(url, read_only=read_only)


def migrate_store(url: str) -> tuple[str | None, str]:
    """Bring the tables to the version of this release; returns the versions before and after."""
    if _is_sqlite(url):
        from fairlead.api.store import sqlite

        return sqlite.migrate(sqlite_path(url))
    require("psycopg", purpose="a log on PostgreSQL")
    from fairlead.api.store import postgres

    return postgres.migrate(url)


def sqlite_path(url: str) -> str:
    """Return the file of a SQLite URL: three slashes before a relative path, four before an absolute one."""
    path = url.removeprefix("sqlite:///")
    if not url.startswith("sqlite:///") or not path or path.startswith(":memory:") or "?" in path:
        raise InvalidInput(
            f"database_url is {url!r}: give a file, as in sqlite:///fairlead.db or sqlite:////var/lib/f.db"
        )
    return path


def _is_sqlite(url: str) -> bool:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return True
    if scheme in ("postgresql", "postgres") and rest:
        return False
    # Without a scheme the text may be anything, a password included: it is not repeated.
    start = f"starts with {scheme!r}" if "://" in url else "has no scheme"
    raise InvalidInput(
        f"database_url {start}: give sqlite:///FILE for one process, "
        "or postgresql://USER@HOST/DATABASE for several"
    )
