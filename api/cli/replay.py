"""The commands about logs: `fairlead replay` and `fairlead import-log`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Option

_TARGET = (
    "Policy to judge, repeatable: default (the router), greedy, uniform, fixed:PROVIDER, linucb, "
    "squarecb[:GAMMA], epsilon-greedy[:EPSILON], FILE.yaml (a router of your own), or column "
    "(the log's target_propensities). Without any: default."
)
_WTP = "USD that one point of quality is worth: targets and verdict weigh quality − cost / WTP."
_BUDGET = "USD per request that targets which learn may spend on average."
_LATENCY = "Points of quality that a second is worth, taken off the utility."
_BY = "Slice by task, week or the name of an attribute. Repeatable."
_FRONTIER = "Judge targets that learn at so many willingnesses to pay: a frontier with bands."
_MODEL = "Reward model of DM and DR. auto: column, else ridge where there is a context, else mean."
_ESTIMATORS = "Only these, as A,B,C; the deciding one is always computed."
_DELAY = "Decisions until a target that learns hears of a reward."
_SKIP = "Leave rows out that break a rule, count and list them."
_DESCRIPTIVE = "For a log without propensities: means, costs by provider, a biased model estimate."
_REJECTION = "Also play targets that learn through the log by rejection: on their own decisions alone."
_SCHEDULER = "Address of a dask scheduler that runs already; its workers must see the same files."


def replay(
    log: Annotated[Path, typer.Argument(help="Log of decisions: .jsonl, .csv or .parquet.")],
    target: Annotated[list[str] | None, Option(help=_TARGET)] = None,
    wtp: Annotated[float | None, Option(help=_WTP)] = None,
    budget: Annotated[float | None, Option(help=_BUDGET)] = None,
    latency_weight: Annotated[float, Option(help=_LATENCY)] = 0.0,
    by: Annotated[list[str] | None, Option(help=_BY)] = None,
    frontier: Annotated[int | None, Option(metavar="N", help=_FRONTIER)] = None,
    estimator: Annotated[str, Option(help="The estimator that the verdict rests on.")] = "dr",
    estimators: Annotated[str | None, Option(metavar="A,B,C", help=_ESTIMATORS)] = None,
    model: Annotated[Literal["auto", "ridge", "boosting", "mean", "column"], Option(help=_MODEL)] = "auto",
    rejection: Annotated[bool, Option("--rejection", help=_REJECTION)] = False,
    tune: Annotated[bool, Option("--tune", help="Choose the λ of estimators by SLOPE.")] = False,
    level: Annotated[float, Option(help="Confidence of the intervals.")] = 0.95,
    margin: Annotated[float, Option(help="Smallest gain that is worth a change.")] = 0.0,
    resamples: Annotated[int, Option(help="Bootstrap resamples; 0 for none, and no lift.")] = 2000,
    feedback_delay: Annotated[int, Option(help=_DELAY)] = 0,
    seed: Annotated[int, Option(help="Of folds and resamples.")] = 0,
    engine: Annotated[
        Literal["local", "dask"], Option(help="Where it runs; the numbers are the same.")
    ] = "local",
    scheduler: Annotated[str | None, Option(metavar="ADDRESS", help=_SCHEDULER)] = None,
    workers: Annotated[int, Option(help="Dask processes to start, without --scheduler.")] = 2,
    skip_bad: Annotated[bool, Option("--skip-bad", help=_SKIP)] = False,
    descriptive: Annotated[bool, Option("--descriptive", help=_DESCRIPTIVE)] = False,
    report: Annotated[Path | None, Option(help="Write a report: one .html that opens offline.")] = None,
    json: Annotated[Path | None, Option(help="Write every number.")] = None,
    csv: Annotated[Path | None, Option(help="Write one line per estimate.")] = None,
    every_estimator: Annotated[bool, Option("--all", help="Show every estimator in the terminal.")] = False,
    quiet: Annotated[bool, Option("--quiet", help="No progress bar and no table.")] = False,
) -> None:
    """Judge other policies on a log of decisions: what would they have earned, and how sure is that?

    The router and always one provider, where a point of quality is worth a cent:

        fairlead replay log.parquet --target default --target fixed:acme/large --wtp 0.01 --report out.html

    By kind of request, with what to promote only if it gains a whole point:

        fairlead replay log.parquet --wtp 0.01 --by task --by week --margin 0.01

    The frontier of quality against cost, on two processes:

        fairlead replay log.parquet --frontier 7 --engine dask --workers 2 --report out.html

    A verdict is promote, keep, or not enough evidence; diagnostics that fail name no winner. The log's
    form is in
    docs/log-format.md, every number in docs/replay.md. `fairlead import-log` makes such a log from others,
    `fairlead simulate --log` from a table of outcomes.
    """
    from fairlead.api.cli import options

    options.check_outputs(log, [(report, (".html",)), (json, (".json",)), (csv, (".csv",))])
    chosen = None if estimators is None else tuple(options.names(estimators) or ())
    settings = {
        "latency_weight": latency_weight, "by": tuple(by or ()), "primary": estimator, "model": model,
        "tune": tune, "rejection": rejection, "level": level, "margin": margin, "resamples": resamples,
        "seed": seed, "wtp_usd": wtp,
    }  # fmt: skip
    if chosen is not None:
        settings["estimators"] = tuple(dict.fromkeys((estimator, *chosen)))
    goals = {"wtp": wtp, "budget": budget, "frontier": frontier, "feedback_delay": feedback_delay}
    where = {"engine": engine, "scheduler": scheduler, "workers": workers}
    outputs = (report, json, csv)
    if descriptive:
        _describe(log, skip_bad, outputs)
        return
    _replay(log, target or ["default"], goals, settings, where, outputs, skip_bad, every_estimator, quiet)


def _replay(
    path: Path,
    names: list[str],
    goals: dict[str, Any],
    settings: dict[str, Any],
    where: dict[str, Any],
    outputs: tuple[Path | None, Path | None, Path | None],
    skip_bad: bool,
    every_estimator: bool,
    quiet: bool,
) -> None:
    from rich.console import Console

    from fairlead.experiments.logs.log import open_log
    from fairlead.experiments.replay import export
    from fairlead.experiments.replay import terminal as view
    from fairlead.experiments.replay.executors import make_engine
    from fairlead.experiments.replay.run import replay as judge
    from fairlead.experiments.replay.settings import ReplaySettings
    from fairlead.experiments.simulation.terminal import make_console
    from fairlead.experiments.targets.base import goals_of, target_specs
    from fairlead.optimizer.persistence.atomic_file import write_atomically

    ReplaySettings(targets=(), **settings)  # refuse what cannot be before the log is read
    with (
        open_log(path, skip_bad=skip_bad) as log,
        make_engine(where["engine"], scheduler=where["scheduler"], workers=where["workers"]) as engine,
        view.stages(Console(stderr=True), quiet=quiet) as progress,
    ):
        wanted = goals_of(log, wtp_usd=goals["wtp"], budget_usd=goals["budget"], frontier=goals["frontier"])
        specs = target_specs(names, wanted, feedback_delay=goals["feedback_delay"])
        result = judge(log, ReplaySettings(targets=tuple(specs), **settings), engine, progress=progress)
    report, as_json, as_csv = outputs
    if report:
        from fairlead.experiments.report.page import report_html

        write_atomically(report, report_html(result))
    if as_json:
        write_atomically(as_json, export.json_text(result))
    if as_csv:
        write_atomically(as_csv, export.csv_text(result))
    if not quiet:
        view.show(make_console(), result, every_estimator=every_estimator)


def _describe(path: Path, skip_bad: bool, outputs: tuple[Path | None, Path | None, Path | None]) -> None:
    from fairlead.experiments.logs.log import open_log
    from fairlead.experiments.replay import descriptive
    from fairlead.experiments.simulation.terminal import make_console
    from fairlead.optimizer.persistence.atomic_file import write_atomically

    report, as_json, as_csv = outputs
    if report or as_csv:
        raise ValueError(
            "--descriptive has no report and no CSV: leave --report and --csv out, or give --json."
        )
    with open_log(path, skip_bad=skip_bad) as log:
        found = descriptive.describe(log)
    if as_json:
        write_atomically(as_json, descriptive.json_text(found))
    descriptive.show(make_console(), found)


_FROM = "events (a Fairlead event log), dsjson (Vowpal Wabbit), litellm (LiteLLM spend logs)."
_WEIGHTS = "Traffic was split at random by these shares: they become propensities (litellm)."
_REWARDS = "Rewards in [0, 1]: .csv or .jsonl with request_id and reward (litellm)."
_RANGE = "Lowest and highest reward of the source, mapped onto [0, 1] (dsjson)."


def import_log(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The log to import.")],
    kind: Annotated[Literal["events", "dsjson", "litellm"], Option("--from", help=_FROM)],
    out: Annotated[Path, Option(help="Where the log goes: .jsonl, .csv or .parquet.")],
    weights: Annotated[str | None, Option(metavar="A=0.7,B=0.3", help=_WEIGHTS)] = None,
    rewards: Annotated[Path | None, Option(help=_REWARDS)] = None,
    reward_range: Annotated[str, Option(metavar="LOW:HIGH", help=_RANGE)] = "0:1",
) -> None:
    """Write a log of decisions from the log of another system; docs/log-format.md says what each lacks.

    fairlead import-log spend.csv --from litellm --weights acme/large=0.5,acme/small=0.5
    --rewards judged.csv --out log.parquet
    """
    from fairlead.api.cli import options
    from fairlead.experiments.logs.importers import ImportOptions, import_lines, read_rewards
    from fairlead.experiments.logs.write import write_log

    options.check_outputs(source, [(out, (".jsonl", ".csv", ".parquet"))])
    given = ImportOptions(
        reward_range=options.reward_range(reward_range),
        weights=options.shares(weights),
        rewards=read_rewards(rewards) if rewards is not None else {},
    )
    count = write_log(out, import_lines(source, source=kind, options=given))
    print(f"Imported {count:,} decisions; wrote {out}.")


def add_commands(app: typer.Typer) -> None:
    """Make the commands part of the command line."""
    app.command()(replay)
    app.command()(import_log)
