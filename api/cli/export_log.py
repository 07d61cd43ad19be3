"""The log of a service on the command line: `fairlead export-log`, and what `fairlead replay` reads of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from typer import Argument, Option

from fairlead.api.cli import options
from fairlead.api.cli.options import TABLE_SUFFIXES, Config
from fairlead.optimizer.errors import InvalidInput

if TYPE_CHECKING:
    from fairlead.api.settings import Settings
    from fairlead.api.state.decision_log import Exported

_SQLITE: Final = b"SQLite format 3\x00"
_SCHEMES: Final = ("sqlite://", "postgresql://", "postgres://")

_DATABASE = "The log of a service: its SQLite file, or postgresql://... Default: that of the settings."
_ROUTE = "Route whose decisions to write; needed if the log has several."
_SINCE = "Decisions made at this time or later, as 2026-03-01 or 2026-03-01T12:00:00Z."
_UNTIL = "Decisions made before this time."


def export_log(
    database: Annotated[str | None, Argument(help=_DATABASE)] = None,
    *,
    out: Annotated[Path, Option(help="File to write: .jsonl, .csv or .parquet.")],
    route: Annotated[str | None, Option(help=_ROUTE)] = None,
    since: Annotated[str | None, Option(metavar="TIME", help=_SINCE)] = None,
    until: Annotated[str | None, Option(metavar="TIME", help=_UNTIL)] = None,
    config: Config = None,
) -> None:
    """Write the decisions of a route, with outcomes and rewards, as a log that `fairlead replay` reads.

        fairlead export-log fairlead.db --route support-chat --since 2026-03-01 --out march.parquet

    This works while the service runs. Rewards and costs are those that the service has learned: feedback
    scaled and weighed as the route declares, usage at the price list of its time, and nothing that was
    rejected or came too late. What is left out, and why, is printed.
    """
    from fairlead.api.settings import read_settings

    options.check_outputs(Path(database or "fairlead.db"), [(out, TABLE_SUFFIXES)])
    settings = read_settings(config)
    url = settings.database_url if database is None else database_url(database)
    span = options.seconds_of("--since", since), options.seconds_of("--until", until)
    exported = _write(out, url, settings, route=route, span=span)
    for sentence in exported.sentences():
        print(sentence)
    times = f", {exported.first_at} to {exported.last_at}" if exported.decisions else ""
    print(f"Exported {exported.decisions:,} decisions{times}; wrote {out}.")


def _write(
    out: Path,
    url: str,
    settings: Settings,
    *,
    route: str | None,
    span: tuple[float | None, float | None] = (None, None),
) -> Exported:
    from fairlead.api.state.decision_log import Exported, chosen_route, decision_lines
    from fairlead.api.store import open_store
    from fairlead.experiments.logs.write import write_log

    exported = Exported()
    with closing(open_store(url, read_only=True)) as store:
        name = chosen_route(store, route)
        write_log(
            out,
            decision_lines(store, settings, route=name, since_s=span[0], until_s=span[1], exported=exported),
        )
    return exported


def database_url(text: str) -> str:
    """Return the URL of a database that is given as a file or as a URL."""
    return text if text.startswith(_SCHEMES) else f"sqlite:///{text}"


def is_database(text: str) -> bool:
    """Whether this names the log of a service: a URL of a database, or a SQLite file."""
    if text.startswith(_SCHEMES):
        return True
    path = Path(text)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


@contextmanager
def log_file(text: str, *, route: str | None, quiet: bool = False) -> Iterator[Path]:
    """Give the file of a log of decisions; that of a service's database is exported for as long as needed.

    ``route`` chooses among those of a database; `InvalidInput` if a file is not one.
    """
    if not is_database(text):
        if route is not None and Path(text).is_file():
            raise InvalidInput(
                "--route chooses a route of a service's database: leave it out for a file, or use --by route"
            )
        yield Path(text)
        return
    from fairlead.api.settings import read_settings

    with tempfile.TemporaryDirectory(prefix="fairlead-") as folder:
        path = Path(folder) / "exported.jsonl"
        exported = _write(path, database_url(text), read_settings(None), route=route)
        if not quiet:
            for sentence in exported.sentences():
                print(sentence)
        yield path
