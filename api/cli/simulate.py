"""The commands that need no log: `fairlead simulate`, `demo` and `fit-features`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Option

from fairlead.api.cli import options
from fairlead.api.cli.options import TABLE_SUFFIXES

if TYPE_CHECKING:
    from fairlead.experiments.simulation.run import Result
    from fairlead.experiments.simulation.scenario import Settings

_goal = partial(Option, rich_help_panel="Policies and goals")
_traffic = partial(Option, rich_help_panel="Traffic")
_change = partial(Option, rich_help_panel="Changes on the way")
_output = partial(Option, rich_help_panel="Output")

_POLICY = (
    "The router: default, greedy, squarecb[:GAMMA], epsilon-greedy[:EPSILON], linucb:ALPHA. "
    "To compare: uniform, fixed:NAME, and the plain peers linucb and thompson. Repeatable."
)
_BUDGETS = (
    "Number of budgets, geometric between the mean cost of the cheapest and of the dearest provider, on the "
    "warm-up split if there is one. Without any goal: five, from the cheapest to twice the cost of the best."
)
_FEATURES = "surface, or projection: also 32 dimensions of the text, fitted on earlier prompts."
_STEPS = "Steps count from the first scored decision, from 0. Repeatable."
_LOG = "Write the decisions of one policy with one goal, for a replay: .jsonl, .csv or .parquet."


@dataclass(frozen=True, kw_only=True)
class SimulateOptions:
    """Arguments and options of `fairlead simulate`."""

    table: Annotated[Path, Argument(help="Outcome table: .parquet, .csv or .jsonl.")]
    policy: Annotated[list[str] | None, _goal(help=_POLICY)] = None
    budget: Annotated[list[float] | None, _goal(help="USD per request. Repeatable.")] = None
    budgets: Annotated[int | None, _goal(help=_BUDGETS)] = None
    wtp: Annotated[list[float] | None, _goal(help="USD per point of quality. Repeatable.")] = None
    supervised: Annotated[bool, _goal(help="Also compute the reference that sees every outcome.")] = True
    warmup_split: Annotated[str | None, _traffic(help="Split to learn on first.")] = None
    score_split: Annotated[str | None, _traffic(help="Split to score; the others are not scored.")] = None
    providers: Annotated[
        str | None, _traffic(help="Use only these: A,B,C, or patterns such as openai/*.")
    ] = None
    task_labels: Annotated[bool, _traffic(help="Let policies see the column `task`.")] = False
    features: Annotated[Literal["surface", "projection"], _traffic(help=_FEATURES)] = "projection"
    feedback_delay: Annotated[int, _traffic(help="Number of decisions by which feedback is late.")] = 0
    feedback_rate: Annotated[float, _traffic(help="Share of decisions that get any feedback.")] = 1.0
    distinct_prompts: Annotated[
        bool, _traffic("--distinct-prompts/--all-prompts", help="Keep one prompt of each text, or all.")
    ] = True
    price_list: Annotated[bool, _traffic(help="Give the router prices, estimated from the table.")] = True
    warm_start: Annotated[
        Path | None, _traffic(help="Outcome table that the router is told about before the first request.")
    ] = None
    warm_start_prompts: Annotated[
        int,
        _traffic(
            help="Prompts of the table, drawn at random, that it is told about instead of playing them."
        ),
    ] = 0
    seeds: Annotated[int, _traffic(help="Number of seeds.")] = 5
    seed: Annotated[int, _traffic(help="The first of the seeds, and the one of --log.")] = 0
    jobs: Annotated[int | None, _traffic(help="Number of processes. Default: one per core.")] = None
    price_change: Annotated[
        list[str] | None,
        _change(
            metavar="PROVIDER=FACTOR@STEP",
            help=f"The provider's calls cost FACTOR times as much from STEP on. {_STEPS}",
        ),
    ] = None
    quality_change: Annotated[
        list[str] | None,
        _change(
            metavar="PROVIDER=VALUE@FROM:TO",
            help=f"The provider's mean quality is VALUE within these steps. {_STEPS}",
        ),
    ] = None
    add_provider: Annotated[
        list[str] | None, _change(metavar="NAME@STEP", help=f"The provider joins the route at STEP. {_STEPS}")
    ] = None
    json: Annotated[Path | None, _output(help="Write records and summary.")] = None
    csv: Annotated[Path | None, _output(help="Write one line per record.")] = None
    chart: Annotated[Path | None, _output(help="Draw the cost–quality plane: .png, .svg or .html.")] = None
    log: Annotated[Path | None, _output(help=_LOG)] = None
    quiet: Annotated[
        bool, _output("--quiet", help="Print the table only: no progress bar, notes or verdict.")
    ] = False

    def settings(self) -> Settings:
        """Return the settings of the simulation."""
        from fairlead.experiments.simulation.scenario import Settings
        from fairlead.experiments.tables.outcome_table import read_outcome_table

        names = options.names(self.providers)
        warm_start = None if self.warm_start is None else read_outcome_table(self.warm_start, providers=names)
        return Settings(
            policies=tuple(self.policy or ["default"]),
            budgets_usd=tuple(self.budget or ()),
            budget_count=self.budgets,
            wtp_usd=tuple(self.wtp or ()),
            warmup_split=self.warmup_split,
            score_split=self.score_split,
            task_labels=self.task_labels,
            features=self.features,
            feedback_delay=self.feedback_delay,
            feedback_rate=self.feedback_rate,
            seeds=self.seeds,
            first_seed=self.seed,
            price_list=self.price_list,
            supervised=self.supervised,
            price_changes=tuple(map(options.price_change, self.price_change or ())),
            quality_changes=tuple(map(options.quality_change, self.quality_change or ())),
            newcomers=tuple(map(options.newcomer, self.add_provider or ())),
            warm_start=warm_start,
            warm_start_prompts=self.warm_start_prompts,
        )


def simulate(asked: SimulateOptions) -> None:
    """Play a table of outcomes as traffic and print what each policy earned, by budget.

    A policy sees only the outcome of the provider that it chose. The command prints quality, cost, the share
    of the budget that was used, and the lift over the best fixed mix at the same spend.

    Five budgets, five seeds, from a cold start and from one that knows 300 prompts:

        fairlead simulate outcomes.parquet
        fairlead simulate outcomes.parquet --warm-start-prompts 300

    Learn on one split, score another, against two peers, and keep the numbers:

        fairlead simulate outcomes.csv --warmup-split val --score-split test --budgets 7
        --policy default --policy linucb --policy thompson --seeds 20 --json result.json --chart plane.png

    Write a log of a policy that explores, to evaluate others where the truth is known:

        fairlead simulate outcomes.parquet --policy epsilon-greedy:0.2 --wtp 0.01 --log log.parquet

    A provider gets cheaper at step 600, another worse for 500 steps:

        fairlead simulate outcomes.parquet --budget 0.001 --price-change acme/large=0.3@600
        --quality-change acme/small=0.2@500:1000
    """
    from fairlead.experiments.simulation import terminal

    files = [(asked.json, ()), (asked.csv, ()), (asked.chart, (".png", ".svg", ".html"))]
    options.check_outputs(asked.table, [*files, (asked.log, TABLE_SUFFIXES)])
    if asked.jobs is not None and asked.jobs < 1:
        raise ValueError(f"the number of jobs is {asked.jobs}: give a whole number of at least 1.")
    result = _play(asked)
    _write(result, asked)
    console = terminal.make_console()
    console.print(terminal.results_table(result))
    if not asked.quiet:
        for sentence in (*result.notes, terminal.verdict(result)):
            console.print(sentence, highlight=False)


def _play(asked: SimulateOptions) -> Result:
    from rich.console import Console

    from fairlead.experiments.simulation import run, scenario, terminal
    from fairlead.experiments.tables.outcome_table import read_outcome_table

    settings, providers = asked.settings(), options.names(asked.providers)
    table = read_outcome_table(asked.table, providers=providers, distinct_prompts=asked.distinct_prompts)
    scenario.check_scenario(table, settings)
    if asked.log:
        scenario.check_one_run(table, settings)
    rounds = sum(map(len, scenario.split_rows(table, settings))) * settings.seeds * len(settings.policies)
    rounds *= len(scenario.goals(table, settings))
    jobs = asked.jobs or min(os.cpu_count() or 1, settings.seeds)
    with terminal.progress_bar(Console(stderr=True), rounds, quiet=asked.quiet) as progress:
        return run.simulate(table, settings, jobs=jobs, progress=progress)


def _write(result: Result, asked: SimulateOptions) -> None:
    from fairlead.experiments.logs.write import write_log
    from fairlead.experiments.simulation import records, terminal
    from fairlead.experiments.simulation.run import simulated_lines
    from fairlead.optimizer.persistence.atomic_file import write_atomically

    settings = result.settings
    if asked.chart:
        terminal.write_chart(result, asked.chart)
    if asked.log:
        policy, goal, seed = settings.policies[0], result.goals[0], settings.first_seed
        write_log(asked.log, simulated_lines(result.table, settings, policy=policy, goal=goal, seed=seed))
    if asked.json:
        write_atomically(asked.json, records.json_text(result.records, terminal.summary(result)))
    if asked.csv:
        write_atomically(asked.csv, records.csv_text(result.records))


def demo(
    seed: Annotated[int, Option(help="Seed of the order of requests and of the random choices.")] = 0,
) -> None:
    """Show on a bundled synthetic table what routing learns and saves, within seconds and offline.

        fairlead demo

    Prints what the router, chance and the dearest provider earned, and which provider serves which kind of
    request.
    """
    from fairlead.experiments.simulation.demo import run_demo
    from fairlead.experiments.simulation.terminal import make_console

    run_demo(make_console(), seed=seed)


def fit_features(
    prompts: Annotated[Path, Argument(help="Prompts: .txt (one per line), .jsonl, .csv or .parquet.")],
    *,
    out: Annotated[Path, Option(help="File to write, such as features.npz.")],
    column: Annotated[str, Option(help="Column with the prompts; not used for .txt.")] = "prompt",
    width: Annotated[int, Option(help="Number of dimensions.")] = 32,
) -> None:
    """Learn a text projection from prompts of your own, and print its version.

        fairlead fit-features prompts.jsonl --out features.npz

    No labels are needed. A route whose features name the file uses the projection of each request's text.
    """
    from fairlead.optimizer.features import TextProjection

    options.check_outputs(prompts, [(out, (".npz",))])
    texts = _read_prompts(prompts, column=column)
    projection = TextProjection.fit(texts, width=width)
    projection.save(out)
    print(f"Learned {width} dimensions from {len(texts):,} prompts; wrote {out} ({projection.version}).")


def _read_prompts(path: Path, *, column: str) -> list[str]:
    """Return the non-empty prompts of a file: the lines of a .txt, or one column of a table."""
    from fairlead.experiments.files import check_table_file, open_table, sql_name

    empty = "the file is empty (0 bytes): write at least one prompt."
    check_table_file(path, empty=empty, suffixes=(".txt", *TABLE_SUFFIXES))
    if path.suffix == ".txt":
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8.") from None
        return [line for line in lines if line.strip()]
    with open_table(path, suffixes=(".txt", *TABLE_SUFFIXES), remedy="write it again") as table:
        if column not in table.types:
            columns = ", ".join(table.types)
            raise ValueError(f"{path}: no column {column!r} among {columns}: name one with --column.")
        text, sql_type = table.text(column), table.types[column]
        kind = f"lower(json_type({sql_name(column)}))" if sql_type == "JSON" else "'varchar'"
        rows = table.connection.execute(f"SELECT {text}, {kind} FROM source").fetchall()
    for value, kind in rows:
        if sql_type not in ("VARCHAR", "JSON") or kind not in ("varchar", "null", None):
            raise ValueError(
                f"{path}: column {column!r} holds {value!r}, which is not text: name another with --column."
            )
    return [str(value) for value, _ in rows if value and value.strip()]
