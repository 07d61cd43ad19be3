"""DuckDB as every reader and writer of files here uses it: in memory, and silent."""

from __future__ import annotations

import duckdb

Setting = str | bool | int | float | list[str]


def connect(**config: Setting) -> duckdb.DuckDBPyConnection:
    """A connection of its own with these settings of DuckDB; the command line has its own progress bar."""
    connection = duckdb.connect(config=config)
    connection.execute("SET enable_progress_bar = false")
    return connection
