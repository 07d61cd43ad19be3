"""`fairlead init`, `migrate`, `snapshot` and `create-key`: what keeps a service in order."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Final

from fairlead.optimizer.errors import InvalidInput

STARTER: Final = """\
# Settings of Fairlead. Every one is explained in docs/service.md; FAIRLEAD_NAME in the environment wins.

# The log: a SQLite file for one process, or PostgreSQL for several.
database_url: sqlite:///fairlead.db
# database_url: postgresql://fairlead@localhost/fairlead

# Without API keys only this machine is served. Create one before you listen on another address:
#   fairlead create-key "first admin" --scope admin
host: 127.0.0.1
port: 8300

# full: answered once the log is on the disk. relaxed: a crash can lose the last 20 ms.
durability: full

# Prompts are not kept, unless you say so. Features are.
store_prompts: false

# Created at the start. What you change over the API later stays as you changed it.
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
    default_provider: large   # answers when routing itself fails
    # What may be spent on average; without it quality alone counts.
    # budget: {usd_per_request: 0.002}
    # What feedback means: its range, and whether more of it is better.
    metrics:
      - {name: quality, low: 0, high: 1, higher_is_better: true}
    # How much a person's word counts against a program's.
    sources: {human: 3, judge: 1, code: 1}
"""


def write_starter(path: Path) -> None:
    """Write a starter file; what is there already stays."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        raise InvalidInput(f"{path} is there already and was left as it is: name another file") from None
    print(f"Wrote {path}. Start with: fairlead serve --config {path}")


def migrate(config: Path | None) -> None:
    """Bring the tables to the version of this release."""
    from fairlead.api.settings import read_settings
    from fairlead.api.store import migrate_store

    before, after = migrate_store(read_settings(config).database_url)
    if before == after:
        print(f"The tables are at version {after} already.")
    else:
        print(f"The tables are at version {after} now ({'new' if before is None else f'before: {before}'}).")


def snapshot(config: Path | None, *, until: int | None = None, base: Path | None = None) -> None:
    """Fold the log, without stopping who serves, and save what was learned.

    With ``base`` it is saved there, as it was at the place ``until``, with the roll-ups of the events that it
    stands for and that no base stood for before.
    """
    from fairlead.api.settings import read_settings
    from fairlead.api.state import snapshots
    from fairlead.api.state.fold import Fold
    from fairlead.api.state.runtime import tune_for_serving
    from fairlead.api.store import open_store, retention

    settings = read_settings(config)
    tune_for_serving()
    if sys.platform != "win32":
        # Whoever serves comes first.
        os.nice(10)
    store = open_store(settings.database_url, read_only=True)
    rollup = retention.Rollup()
    try:
        last = store.last_seq()

        def new_fold() -> Fold:
            return Fold(parked_wait_s=settings.parked_wait_s, parked_limit=settings.parked_limit)

        # A base is folded from the one before it: a snapshot may be of a later place already.
        fold = snapshots.latest_fold(settings.state_dir if base is None else base, store, new_fold)
        seen = (lambda row: None) if base is None else rollup.add
        snapshots.rebuild(fold, store, until=last if until is None else min(until, last), seen=seen)
        log = snapshots.log_fingerprint(store, fold.seq if base is None else 0)
    finally:
        store.close()
    path = snapshots.save(fold, settings.state_dir if base is None else base, log=log)
    if base is not None:
        rows = [[*key, *sums.values()] for key, sums in sorted(rollup.sums.items())]
        (base / "rollups.json").write_text(json.dumps(rows), encoding="utf-8")
    print(f"Saved {path}")


def create_key(config: Path | None, name: str, scopes: list[str]) -> None:
    """Make a key and print it, this once."""
    import secrets

    from pydantic import ValidationError

    from fairlead.api.endpoints.keys import key_change
    from fairlead.api.settings import read_settings
    from fairlead.api.state.fold import Fold
    from fairlead.api.state.follower import fold_configuration
    from fairlead.api.store import Row, StoreUnavailable, open_store

    settings = read_settings(config)
    try:
        token, change = key_change(name, tuple(scopes))
    except ValidationError:
        raise InvalidInput(
            f"scopes are {', '.join(scopes)}: give one or more of decide, feedback, read, admin, and a name"
        ) from None
    store = open_store(settings.database_url)
    try:
        fold = Fold(parked_wait_s=1.0, parked_limit=1, learn=False)
        fold_configuration(store, fold)
        if not fold.config.keys and "admin" not in scopes:
            raise InvalidInput("the first key must have the scope admin, or nobody could create another")
        uid = f"c:{secrets.token_hex(12)}"
        store.append([Row.config(change.line(), uid=uid, at_s=time.time(), by="command")])
    except StoreUnavailable as error:
        raise InvalidInput(str(error)) from None
    finally:
        store.close()
    print(token)
    print("It is shown this once. From now on every request needs a key.", file=sys.stderr)
