"""The version of the tables: created in an empty database, refused if they do not fit this release."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from fairlead.optimizer.errors import InvalidInput

_FOLDER: Final = Path(__file__).parent / "migrations"


class SchemaMismatch(InvalidInput):
    """The tables have another version than this release needs."""


def versions() -> list[str]:
    """Return the versions that this release can read or migrate, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [revision.revision for revision in script.walk_revisions()][::-1]


def check(connection: Connection, *, shown: str, create: bool) -> None:
    """Raise `SchemaMismatch` unless the tables fit this release; if ``create``, fill an empty database.

    ``shown`` names the database in errors, without a password.
    """
    current, supported = _version(connection), versions()
    if current == supported[-1]:
        return
    if current is None:
        if not create:
            raise SchemaMismatch(f"{shown} has no tables of Fairlead: start `fairlead serve` on it once")
        if sqlalchemy.inspect(connection).has_table("events"):
            raise SchemaMismatch(
                f"{shown} has a table `events` that is not Fairlead's: give Fairlead a database of its own"
            )
        migrate(connection, shown=shown)
    elif current in supported:
        raise SchemaMismatch(
            f"the tables of {shown} are at version {current}, and this release needs {supported[-1]}: "
            "make a copy, stop every replica, and run `fairlead migrate`"
        )
    else:
        raise SchemaMismatch(
            f"the tables of {shown} are at version {current}, which is newer than this release "
            f"({supported[-1]}): install the newer release of Fairlead again"
        )


def migrate(connection: Connection, *, shown: str) -> tuple[str | None, str]:
    """Migrate the tables in one transaction; returns the versions before and after."""
    current, supported = _version(connection), versions()
    if current is not None and current not in supported:
        check(connection, shown=shown, create=False)
    if connection.dialect.name == "sqlite":
        # Python's driver begins no transaction for statements that change tables: a process that dies between
        # two of them would leave tables of no version at all.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    command.upgrade(_config(connection), "head")
    connection.commit()
    return current, supported[-1]


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
