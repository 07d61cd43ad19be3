"""The command `fairlead replay`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from fairlead.api.cli import options
from fairlead.api.cli.export_log import log_file

if TYPE_CHECKING:
    from fairlead.experiments.replay.result import Replay
    from fairlead.experiments.replay.settings import ReplaySettings

_target = partial(Option, rich_help_panel="Targets")
_estimate = partial(Option, rich_help_panel="Estimates")
_processing = partial(Option, rich_help_panel="Input and processes")
_output = partial(Option, rich_help_panel="Output")

_LOG = "Log of decisions: .jsonl, .csv or .parquet; or that of a service: fairlead.db, postgresql://..."
_ROUTE = "Route of a service's log whose decisions to replay; needed if it has several."
_TARGET = (
    "Policy to evaluate, repeatable: default (the router), greedy, uniform, fixed:PROVIDER, linucb, "
    "squarecb[:GAMMA], epsilon-greedy[:EPSILON], FILE.yaml (a router of your own), or column "
    "(the log's target_propensities). Without any: default."
)
_WTP = "USD that one point of quality is worth: targets and verdict weigh quality − cost / WTP."
_BUDGET = "USD per request that a target that learns may spend on average."
_LATENCY = "Points of quality that a second is worth, subtracted from the utility."
_BY = "Slice by task, week, route or the name of an attribute. Repeatable."
_FRONTIER = "Evaluate targets that learn at this many willingnesses to pay: a frontier with bands."
_MODEL = "Reward model of DM and DR. auto: column, else ridge if there is a context, else mean."
_ESTIMATORS = "Compute only these; the one that decides is always computed."
_DELAY = "Number of decisions by which a target that learns gets rewards late."
_SKIP = "Leave out rows that break a rule, and count and list them."
_DESCRIPTIVE = "For a log without propensities: means, costs by provider, a biased model estimate."
_REJECTION = (
    "Also let targets that learn play the log by rejection: they learn from their own decisions alone."
)
_FAILURE = "Quality of a call that failed, from 0 to 1, whatever reward its row has."
_FIXED = (
    "Judge by intervals for a single look that was planned; otherwise by sequences that may be watched, "
    "which alone hold on the log of a policy that learns."
)
_CLUSTER = "Attribute, such as user_id, whose decisions depend on each other."
_TRAINED = (
    "Time (ISO 8601) up to which the policy of the target 'column' has learned, or never; only later "
    "decisions are judged."
)
_SCHEDULER = "Address of a running dask scheduler; its workers must see the same files."


@dataclass(frozen=True, kw_only=True)
class ReplayOptions:
    """Arguments and options of `fairlead replay`."""

    log: Annotated[str, Argument(help=_LOG)]
    target: Annotated[list[str] | None, _target(help=_TARGET)] = None
    wtp: Annotated[float | None, _target(help=_WTP)] = None
    budget: Annotated[float | None, _target(help=_BUDGET)] = None
    latency_weight: Annotated[float, _target(help=_LATENCY)] = 0.0
    frontier: Annotated[int | None, _target(metavar="N", help=_FRONTIER)] = None
    feedback_delay: Annotated[int, _target(help=_DELAY)] = 0
    rejection: Annotated[bool, _target("--rejection", help=_REJECTION)] = False
    by: Annotated[list[str] | None, _estimate(help=_BY)] = None
    estimator: Annotated[str, _estimate(help="The estimator that the verdict rests on.")] = "dr"
    estimators: Annotated[str | None, _estimate(metavar="A,B,C", help=_ESTIMATORS)] = None
    model: Annotated[Literal["auto", "ridge", "boosting", "mean", "column"], _estimate(help=_MODEL)] = "auto"
    tune: Annotated[bool, _estimate("--tune", help="Choose the λ of estimators by SLOPE.")] = False
    level: Annotated[float, _estimate(help="Confidence level of the intervals.")] = 0.95
    fixed_sample: Annotated[bool, _estimate("--fixed-sample", help=_FIXED)] = False
    cluster: Annotated[str | None, _estimate(metavar="ATTRIBUTE", help=_CLUSTER)] = None
    trained_until: Annotated[str | None, _estimate(metavar="TIME", help=_TRAINED)] = None
    failure_reward: Annotated[float, _estimate(help=_FAILURE)] = 0.0
    margin: Annotated[float, _estimate(help="Smallest gain that is worth a change.")] = 0.0
    resamples: Annotated[int, _estimate(help="Number of bootstrap resamples; with 0 there is no lift.")] = (
        2000
    )
    seed: Annotated[int, _estimate(help="Seed of folds and resamples.")] = 0
    engine: Annotated[
        Literal["local", "dask"], _processing(help="Where to compute; the numbers are the same.")
    ] = "local"
    scheduler: Annotated[str | None, _processing(metavar="ADDRESS", help=_SCHEDULER)] = None
    workers: Annotated[int, _processing(help="Number of dask processes to start; not with --scheduler.")] = 2
    route: Annotated[str | None, _processing(help=_ROUTE)] = None
    skip_bad: Annotated[bool, _processing("--skip-bad", help=_SKIP)] = False
    descriptive: Annotated[bool, _processing("--descriptive", help=_DESCRIPTIVE)] = False
    report: Annotated[Path | None, _output(help="Write a report: one .html file that opens offline.")] = None
    json: Annotated[Path | None, _output(help="Write every number as .json.")] = None
    csv: Annotated[Path | None, _output(help="Write one line per estimate as .csv.")] = None
    every_estimator: Annotated[bool, _output("--all", help="Show every estimator in the terminal.")] = False
    quiet: Annotated[
        bool,
        _output("--quiet", help="Print the verdicts and what they rest on: no progress bar, table or notes."),
    ] = False

    def settings(self) -> ReplaySettings:
        """Return the settings of the replay, still without targets, which need the log."""
        from fairlead.experiments.replay.settings import ReplaySettings

        settings = ReplaySettings(
            targets=(),
            wtp_usd=self.wtp,
            latency_weight=self.latency_weight,
            primary=self.estimator,
            model=self.model,
            tune=self.tune,
            rejection=self.rejection,
            by=tuple(self.by or ()),
            level=self.level,
            resamples=self.resamples,
            margin=self.margin,
            seed=self.seed,
            fixed_sample=self.fixed_sample,
            cluster=self.cluster,
            trained_until_s=_trained_until_s(self.trained_until),
        )
        chosen = options.names(self.estimators)
        if chosen is None:
            return settings
        return replace(settings, estimators=tuple(dict.fromkeys((self.estimator, *chosen))))


def _trained_until_s(text: str | None) -> float | None:
    """Return seconds since 1970; None if nothing is said, −∞ if the column's policy has not learned."""
    return -math.inf if text == "never" else options.seconds_of("--trained-until", text)


def replay(asked: ReplayOptions) -> None:
    """Evaluate other policies on a log: print what they would have earned, and how certain that is.

    The verdict is promote, keep, or not enough evidence; if a check fails, there is no winner. docs/replay.md
    explains every number, docs/log-format.md the log. `fairlead import-log` writes such a log from the log of
    another system, `fairlead simulate --log` from a table of outcomes.

    Evaluate the router, and one provider for every request, if a point of quality is worth a cent:

        fairlead replay log.parquet --target default --target fixed:acme/large --wtp 0.01 --report out.html

    Look at kinds of request and weeks, and promote only for a gain of a whole point:

        fairlead replay log.parquet --wtp 0.01 --by task --by week --margin 0.01

    Judge from the log of a running service:

        fairlead replay fairlead.db --route support-chat

    Draw the frontier of quality against cost, in two processes:

        fairlead replay log.parquet --frontier 7 --engine dask --workers 2 --report out.html
    """
    files = [(asked.report, (".html",)), (asked.json, (".json",)), (asked.csv, (".csv",))]
    options.check_outputs(Path(asked.log), files)
    with log_file(asked.log, route=asked.route, quiet=asked.quiet) as log:
        if asked.descriptive:
            _describe(asked, log)
            return
        result = _judge(asked, log)
    _write(result, asked)
    _show(result, asked)


def _judge(asked: ReplayOptions, path: Path) -> Replay:
    from rich.console import Console

    from fairlead.experiments.logs.log import open_log
    from fairlead.experiments.replay import run, terminal
    from fairlead.experiments.simulation.pool import open_pool
    from fairlead.experiments.targets.base import goals_of, target_specs

    settings = asked.settings()
    with (
        open_log(path, skip_bad=asked.skip_bad, failure_reward=asked.failure_reward) as log,
        open_pool(asked.engine, scheduler=asked.scheduler, workers=asked.workers) as pool,
        terminal.stages(Console(stderr=True), quiet=asked.quiet) as progress,
    ):
        goals = goals_of(log, wtp_usd=asked.wtp, budget_usd=asked.budget, frontier=asked.frontier)
        specs = target_specs(asked.target or ["default"], goals, feedback_delay=asked.feedback_delay)
        return run.replay(log, replace(settings, targets=tuple(specs)), pool, progress=progress)


def _write(result: Replay, asked: ReplayOptions) -> None:
    from fairlead.experiments.replay import export
    from fairlead.optimizer.persistence.atomic_file import write_atomically

    if asked.report:
        from fairlead.experiments.report.page import report_html

        write_atomically(asked.report, report_html(result))
    if asked.json:
        write_atomically(asked.json, export.json_text(result))
    if asked.csv:
        write_atomically(asked.csv, export.csv_text(result))


def _show(result: Replay, asked: ReplayOptions) -> None:
    from fairlead.experiments.replay import terminal
    from fairlead.experiments.simulation.terminal import make_console

    console = make_console()
    if not asked.quiet:
        terminal.show(console, result, every_estimator=asked.every_estimator)
        return
    terminal.show_verdicts(console, result)


def _describe(asked: ReplayOptions, path: Path) -> None:
    from fairlead.experiments.logs.log import open_log
    from fairlead.experiments.replay import descriptive
    from fairlead.experiments.simulation.terminal import make_console
    from fairlead.optimizer.persistence.atomic_file import write_atomically

    if asked.report or asked.csv:
        raise ValueError(
            "--descriptive writes no report and no CSV: leave out --report and --csv, or use --json."
        )
    with open_log(path, skip_bad=asked.skip_bad, failure_reward=asked.failure_reward) as log:
        description = descriptive.describe(log)
    if asked.json:
        write_atomically(asked.json, descriptive.json_text(description))
    descriptive.show(make_console(), description)
