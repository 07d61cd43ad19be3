"""The commands around the service: `fairlead serve`, `init`, `migrate`, `snapshot` and `create-key`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Option

_CONFIG = Annotated[
    Path | None,
    Option("--config", help="Settings; without it FAIRLEAD_CONFIG, or fairlead.yaml if there is one."),
]


def serve(
    config: _CONFIG = None,
    check: Annotated[bool, Option("--check", help="Say whether it could start, and end.")] = False,
    host: Annotated[str | None, Option(help="Listen here instead.")] = None,
    port: Annotated[
        int | None, Option(min=0, max=65_535, help="Listen there instead; 0 takes a free one.")
    ] = None,
) -> None:
    """Serve decisions over HTTP, and learn from what comes of them."""
    from fairlead.api.cli import serve as serving

    serving.serve(config, check=check, host=host, port=port)


def init(path: Annotated[Path, typer.Argument(help="Where it goes.")] = Path("fairlead.yaml")) -> None:
    """Write a commented file of settings to start from."""
    from fairlead.api.cli import service as keeping

    keeping.write_starter(path)


def migrate(config: _CONFIG = None) -> None:
    """Bring the tables of the log to the version of this release."""
    from fairlead.api.cli import service as keeping

    keeping.migrate(config)


def snapshot(
    config: _CONFIG = None,
    until: Annotated[int | None, Option(hidden=True)] = None,
    base: Annotated[Path | None, Option(hidden=True)] = None,
) -> None:
    """Fold the log and save what was learned, so that the next start is quick."""
    from fairlead.api.cli import service as keeping

    keeping.snapshot(config, until=until, base=base)


def create_key(
    name: Annotated[str, typer.Argument(help="Whose it is.")],
    scope: Annotated[list[str], Option(help="decide, feedback, read or admin. Repeatable.")],
    config: _CONFIG = None,
) -> None:
    """Create an API key and print it, this once."""
    from fairlead.api.cli import service as keeping

    keeping.create_key(config, name, scope)


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (serve, init, migrate, snapshot, create_key):
        app.command()(command)
