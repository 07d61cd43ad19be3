"""The commands around a service: `fairlead init`, `migrate`, `snapshot` and `create-key`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

from typer import Argument, Option

from fairlead.api.cli.options import Config

STARTER: Final = """\
# Settings of Fairlead, explained in docs/service.md; FAIRLEAD_NAME in the environment overrides the file.

# The log: a SQLite file for one process, or PostgreSQL for several.
database_url: sqlite:///fairlead.db
# database_url: postgresql://fairlead@localhost/fairlead

# Without API keys only this machine is served. Create one before you listen on another address:
#   fairlead create-key "first admin" --scope admin
host: 127.0.0.1
port: 8300

# full: requests are answered once the log is on disk. relaxed: a crash can lose the last 20 ms.
durability: full

# Prompts are not stored by default; features are.
store_prompts: false

# Created at startup. Later changes by the API stay.
providers:
  - name: small
  - name: large
prices:
  # USD per million tokens.
  - {provider: small, input_usd_per_mtok: 0.05, output_usd_per_mtok: 0.4}
  - {provider: large, input_usd_per_mtok: 1.25, output_usd_per_mtok: 10.0}
routes:
  - name: support-chat
    providers: [small, large]
    default_provider: large   # the answer if routing itself fails
    # What a request may cost on average; without a budget, quality alone counts.
    # budget: {usd_per_request: 0.002}
    # What feedback means: its range, and whether more is better.
    metrics:
      - {name: quality, low: 0, high: 1, higher_is_better: true}
    # How much feedback counts, by its source.
    sources: {human: 3, judge: 1, code: 1}
"""


def init(path: Annotated[Path, Argument(help="File to write.")] = Path("fairlead.yaml")) -> None:
    """Write a commented settings file to start from, and print the command that uses it.

        fairlead init

    An existing file is never changed.
    """
    from fairlead.optimizer.errors import InvalidInput

    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise InvalidInput(f"{path} exists already and was not changed: name another file") from None
    print(f"Wrote {path}. Start with: fairlead serve --config {path}")


def migrate(config: Config = None) -> None:
    """Migrate the tables of the log to the version of this release, and print both versions.

        fairlead migrate --config fairlead.yaml

    Stop every replica and copy the database first.
    """
    from fairlead.api.settings import read_settings
    from fairlead.api.store import migrate_store

    before, after = migrate_store(read_settings(config).database_url)
    if before == after:
        print(f"The tables are already at version {after}.")
    else:
        print(f"The tables are now at version {after} ({'new' if before is None else f'before: {before}'}).")


def snapshot(config: Config = None) -> None:
    """Save a snapshot of the learned state, so that the next start is quick, and print its path.

        fairlead snapshot --config fairlead.yaml

    This works while the service runs, at low priority. The service also takes snapshots by itself.
    """
    from fairlead.api.settings import read_settings
    from fairlead.api.state import snapshots

    settings = read_settings(config)
    if sys.platform != "win32":
        # The processes that serve have priority.
        os.nice(10)
    print(f"Saved {snapshots.take(settings)}")


def create_key(
    name: Annotated[str, Argument(help="Name of the key, such as that of the team or program that uses it.")],
    scope: Annotated[
        list[str], Option(help="What the key allows: decide, outcome, feedback, read or admin. Repeatable.")
    ],
    config: Config = None,
) -> None:
    """Create an API key and print it; it cannot be shown again.

        fairlead create-key "first admin" --scope admin

    Once there is a key, every request needs one. The first key must have the scope admin.
    """
    from pydantic import ValidationError

    from fairlead.api.service.keys import key_change
    from fairlead.api.settings import read_settings
    from fairlead.optimizer.errors import InvalidInput

    settings = read_settings(config)
    try:
        token, change = key_change(name, tuple(scope))
    except ValidationError:
        raise InvalidInput(
            f"scopes are {', '.join(scope)}: give one or more of decide, outcome, feedback, read, "
            "admin, and a name"
        ) from None
    _append_key(settings.database_url, change.line(), is_admin="admin" in scope)
    print(token)
    print(
        "This key cannot be shown again: store it now. From now on every request needs a key.",
        file=sys.stderr,
    )


def _append_key(url: str, line: str, *, is_admin: bool) -> None:
    import secrets
    import time
    from contextlib import closing

    from fairlead.api.state.configuration_view import read_configuration
    from fairlead.api.store import Row, StoreUnavailable, open_store
    from fairlead.optimizer.errors import InvalidInput

    try:
        with closing(open_store(url)) as store:
            if not read_configuration(store).config.keys and not is_admin:
                raise InvalidInput(
                    "the first key must have the scope admin, or no other could be created: add --scope admin"
                )
            uid = f"c:{secrets.token_hex(12)}"
            store.append([Row.config(line, uid=uid, at_s=time.time(), by="command")])
    except StoreUnavailable as error:
        raise InvalidInput(str(error)) from None
