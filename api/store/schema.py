"""The version of the tables: created where there are none, refused where they do not fit this release."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from fairlead.api.store.base import SchemaMismatch

_FOLDER: Final = Path(__file__).parent / "migrations"


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def known_versions() -> list[str]:
    """The versions that this release knows, oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [revision.revision for revision in script.walk_revisions()][::-1]


def version_of(connection: Connection) -> str | None:
    """The version of the tables; None where there are none."""
    return MigrationContext.configure(connection).get_current_revision()


def check(connection: Connection, *, shown: str, create: bool) -> None:
    """Make sure that the tables are those of this release; an empty database gets them, if ``create``."""
    found, known = version_of(connection), known_versions()
    if found == known[-1]:
        return
    if found is None:
        if not create:
            raise SchemaMismatch(f"{shown} holds no tables of Fairlead: start `fairlead serve` on it once")
        if sqlalchemy.inspect(connection).has_table("events"):
            raise SchemaMismatch(
                f"{shown} has a table `events` that is not Fairlead's: give Fairlead a database of its own"
            )
        migrate(connection, shown=shown)
    elif found in known:
        raise SchemaMismatch(
            f"the tables of {shown} are at version {found}, and this release needs {known[-1]}: "
            "make a copy, stop every replica, and run `fairlead migrate`"
        )
    else:
        raise SchemaMismatch(
            f"the tables of {shown} are at version {found}, which is newer than this release "
            f"({known[-1]}): install the newer release of Fairlead again"
        )


def migrate(connection: Connection, *, shown: str) -> tuple[str | None, str]:
    """Bring the tables to the version of this release, in one transaction; the versions before and after."""
    found, known = version_of(connection), known_versions()
    if found is not None and found not in known:
        check(connection, shown=shown, create=False)
    if connection.dialect.name == "sqlite":
        # Python's driver begins no transaction for statements that change tables: a process that dies between
        # two of them would leave tables that are of no version.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    command.upgrade(_config(connection), "head")
    connection.commit()
    return found, known[-1]
