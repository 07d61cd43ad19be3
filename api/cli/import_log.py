"""The command `fairlead import-log`: the log of another system as a log of decisions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from fairlead.api.cli import options
from fairlead.api.cli.options import TABLE_SUFFIXES

if TYPE_CHECKING:
    from fairlead.experiments.logs.importers import ImportOptions

_rewards = partial(Option, rich_help_panel="Propensities and rewards")
_rows = partial(Option, rich_help_panel="Rows and names")

Kind = Literal[
    "events",
    "dsjson",
    "helicone",
    "langfuse",
    "litellm",
    "open-bandit",
    "openrouter",
    "opentelemetry",
    "portkey",
]
_FROM = (
    "events (a Fairlead event log), dsjson (Vowpal Wabbit), litellm (spend logs), open-bandit, or an export "
    "of helicone, langfuse (observations), openrouter (activity), opentelemetry (GenAI spans) or portkey."
)
_SCORE = "Take the reward from the score of this name (langfuse)."
_WEIGHTS = "Shares, or relative weights, by which traffic was split at random; they become propensities."
_REWARDS = "File of rewards with request_id and reward: .csv, .jsonl, .json or .parquet."
_RANGE = "Lowest and highest reward of the source or of --rewards, mapped onto [0, 1]. Default: 0:1."
_TAG = "Take the task from the tag NAME:VALUE or NAME=VALUE instead of the first tag."
_ALIAS = "Call the models that fit PATTERN (* and ?) by one NAME. Repeatable; the first that fits counts."
_FILTER = "Keep only rows whose column fits a pattern; with != those whose does not. Repeatable."
_ROUTE = "Import the decisions of this route; needed if the log has several (events)."
_ATTRIBUTE = "Keep this column too, as an attribute: what was known before the choice. Repeatable."


@dataclass(frozen=True, kw_only=True)
class ImportLogOptions:
    """Arguments and options of `fairlead import-log`."""

    source: Annotated[Path, Argument(metavar="FILE", help="The log to import.")]
    kind: Annotated[Kind, Option("--from", help=_FROM)]
    out: Annotated[Path | None, Option(help="File to write: .jsonl, .csv or .parquet.")] = None
    dry_run: Annotated[bool, Option("--dry-run", help="Write nothing; only report what there is.")] = False
    weights: Annotated[str | None, _rewards(metavar="A=0.7,B=0.3", help=_WEIGHTS)] = None
    rewards: Annotated[Path | None, _rewards(help=_REWARDS)] = None
    reward_range: Annotated[str | None, _rewards(metavar="LOW:HIGH", help=_RANGE)] = None
    score: Annotated[str | None, _rewards(metavar="NAME", help=_SCORE)] = None
    task_tag: Annotated[str | None, _rows(metavar="NAME", help=_TAG)] = None
    alias: Annotated[list[str] | None, _rows(metavar="PATTERN=NAME", help=_ALIAS)] = None
    filter: Annotated[list[str] | None, _rows(metavar="COLUMN=PATTERN", help=_FILTER)] = None
    attribute: Annotated[list[str] | None, _rows(metavar="COLUMN", help=_ATTRIBUTE)] = None
    route: Annotated[str | None, _rows(metavar="NAME", help=_ROUTE)] = None
    skip_bad: Annotated[
        bool, _rows("--skip-bad", help="Leave out rows that break a rule, and count them.")
    ] = False

    def import_options(self) -> ImportOptions:
        """Parse what the options say."""
        from fairlead.experiments.logs.importers import Filter, ImportOptions

        return ImportOptions(
            reward_range=None if self.reward_range is None else options.reward_range(self.reward_range),
            weights=options.shares(self.weights),
            rewards=self.rewards,
            task_tag=self.task_tag,
            score=self.score,
            aliases=tuple(map(options.alias, self.alias or ())),
            filters=tuple(map(Filter.parse, self.filter or ())),
            attributes=tuple(self.attribute or ()),
            skip_bad=self.skip_bad,
            route=self.route,
        )


def import_log(asked: ImportLogOptions) -> None:
    """Convert the log of another system to a log of decisions, and report what was read and left out.

        fairlead import-log spend.csv --from litellm --weights acme/large=0.5,acme/small=0.5
        --rewards judged.csv --out log.parquet

    Look first, and write nothing:

        fairlead import-log spend.csv --from litellm --dry-run

    docs/log-format.md says what is read from the log of each system, and what it lacks.
    """
    if asked.dry_run == (asked.out is not None):
        raise ValueError("give --out FILE to write the log, or --dry-run to only report: one of the two.")
    options.check_outputs(asked.source, [(asked.out, TABLE_SUFFIXES)])
    from fairlead.experiments.logs import importers

    report = importers.import_log(
        asked.source, source=asked.kind, out=asked.out, options=asked.import_options()
    )
    wrote = "nothing was written" if asked.out is None else f"wrote {asked.out}"
    print(f"Imported {report.kept:,} decisions; {wrote}.")
    for sentence in report.sentences():
        print(sentence)
