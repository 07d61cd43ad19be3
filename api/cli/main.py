"""The command line: the commands below, and those of `replay_commands` and `service_commands`.

Bad input gets one sentence on stderr and exit code 2. Heavy packages are imported by the command that needs
them, so that help appears at once.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Option
from typer.core import TyperGroup

from fairlead.api.cli import replay as replay_commands
from fairlead.api.cli import serve, service
from fairlead.optimizer.errors import MissingExtra

_INTERRUPTED = 130
_INTERRUPTION = "fairlead: interrupted; a file that had not been written by then was not written."


class OneSentence(TyperGroup):
    """A group of commands that answers bad input in one sentence instead of a stack trace."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and leave with its exit code: 0, 2 for bad input, 130 when interrupted."""
        try:
            code = super().main(*args, **(kwargs | {"standalone_mode": False}))
        except (KeyboardInterrupt, typer.Abort):
            print(_INTERRUPTION, file=sys.stderr)
            sys.exit(_INTERRUPTED)
        except Exception as error:
            # Errors of usage are classes of Click, which Typer carries under a name of its own.
            usage = getattr(error, "format_message", None)
            if usage is None and not isinstance(error, (ValueError, OSError, MissingExtra)):
                raise
            message = " ".join(str(usage() if usage else error).split())
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                message = "the disk is full, and no file was left half written: make room and run it again"
            print(f"fairlead: {message}", file=sys.stderr)
            sys.exit(2)
        if code == _INTERRUPTED:  # newer versions of Typer turn the interruption into this code themselves
            print(_INTERRUPTION, file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=OneSentence,
    no_args_is_help=False,
    rich_markup_mode="markdown",
    help="Learns from your own traffic which provider gives the best trade-off of quality, cost and latency.",
)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"fairlead {version('fairlead')}")
        except PackageNotFoundError:
            print("fairlead from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def fairlead(
    show_version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What all commands share."""


_POLICY = (
    "The router: default, greedy, squarecb[:GAMMA], epsilon-greedy[:EPSILON], linucb:ALPHA. "
    "To compare: uniform, fixed:NAME, and the plain peers linucb and thompson. Repeatable."
)
_BUDGETS = (
    "So many budgets, geometric between the mean cost of the cheapest and the dearest provider, on the "
    "warm-up split if any. Without any goal: five, from the cheapest to twice the cost of the best."
)
_FEATURES = "surface, or projection: also 32 dimensions of text, fitted on prompts already seen."
_STEPS = "Steps count from the first scored decision, from 0. Repeatable."
_PRICE = f"Its calls cost FACTOR times as much from STEP on. {_STEPS}"
_QUALITY = f"Its mean quality is VALUE within these steps. {_STEPS}"
_ADD = f"It joins the route at STEP. {_STEPS}"
_DISTINCT = "Keep the first prompt of each text, or all."
_LIST = "Tell the router prices, recovered from the table."
_LOG = "Write the decisions of one run, to be replayed: .jsonl, .csv or .parquet. One policy, one goal."
_SUPERVISED = "Also compute the full-information reference."


@app.command()
def simulate(
    table: Annotated[Path, typer.Argument(help="Outcome table: .parquet, .csv or .jsonl.")],
    policy: Annotated[list[str] | None, Option(help=_POLICY)] = None,
    budget: Annotated[list[float] | None, Option(help="USD per request. Repeatable.")] = None,
    budgets: Annotated[int | None, Option(help=_BUDGETS)] = None,
    wtp: Annotated[list[float] | None, Option(help="USD per point of quality. Repeatable.")] = None,
    warmup_split: Annotated[str | None, Option(help="Learn on this split first.")] = None,
    score_split: Annotated[str | None, Option(help="Score this split only.")] = None,
    providers: Annotated[str | None, Option(help="Only these: A,B,C, or wildcards as in openai/*.")] = None,
    task_labels: Annotated[bool, Option(help="Let policies see the column `task`.")] = False,
    features: Annotated[Literal["surface", "projection"], Option(help=_FEATURES)] = "projection",
    feedback_delay: Annotated[int, Option(help="Decisions until a quality is told.")] = 0,
    feedback_rate: Annotated[float, Option(help="Share of qualities that are ever told.")] = 1.0,
    seeds: Annotated[int, Option(help="How many seeds.")] = 5,
    jobs: Annotated[int | None, Option(help="Processes; one per core if left out.")] = None,
    price_change: Annotated[list[str] | None, Option(metavar="PROVIDER=FACTOR@STEP", help=_PRICE)] = None,
    quality_change: Annotated[
        list[str] | None, Option(metavar="PROVIDER=VALUE@FROM:TO", help=_QUALITY)
    ] = None,
    add_provider: Annotated[list[str] | None, Option(metavar="NAME@STEP", help=_ADD)] = None,
    distinct_prompts: Annotated[bool, Option("--distinct-prompts/--all-prompts", help=_DISTINCT)] = True,
    price_list: Annotated[bool, Option("--price-list/--no-price-list", help=_LIST)] = True,
    supervised: Annotated[bool, Option("--supervised/--no-supervised", help=_SUPERVISED)] = True,
    json: Annotated[Path | None, Option(help="Write records and summary.")] = None,
    csv: Annotated[Path | None, Option(help="Write one line per record.")] = None,
    chart: Annotated[Path | None, Option(help="Draw the cost–quality plane: .png, .svg or .html.")] = None,
    log: Annotated[Path | None, Option(help=_LOG)] = None,
    quiet: Annotated[bool, Option("--quiet", help="No progress bar and no table.")] = False,
) -> None:
    """Play a table of outcomes as traffic: only the chosen provider's outcome is revealed.

    Cold start on a table of your own, five budgets, five seeds:

        fairlead simulate outcomes.parquet

    Learn on one split, score another, against two peers, and keep the numbers:

        fairlead simulate outcomes.csv --warmup-split val --score-split test --budgets 7
        --policy default --policy linucb --policy thompson --seeds 20 --json result.json --chart plane.png

    A log under a policy that explores, to judge others on where the truth is known:

        fairlead simulate outcomes.parquet --policy epsilon-greedy:0.2 --wtp 0.01 --log log.parquet

    A provider gets cheaper at step 600, another worse for 500 steps:

        fairlead simulate outcomes.parquet --budget 0.001 --price-change acme/large=0.3@600
        --quality-change acme/small=0.2@500:1000
    """
    from fairlead.api.cli import options
    from fairlead.experiments.simulation.scenario import Settings

    files = [(json, ()), (csv, ()), (chart, (".png", ".svg", ".html"))]
    options.check_outputs(table, [*files, (log, (".jsonl", ".csv", ".parquet"))])
    settings = Settings(
        policies=tuple(policy or ["default"]),
        budgets_usd=tuple(budget or ()),
        budget_count=budgets,
        wtp_usd=tuple(wtp or ()),
        warmup_split=warmup_split,
        score_split=score_split,
        task_labels=task_labels,
        features=features,
        feedback_delay=feedback_delay,
        feedback_rate=feedback_rate,
        seeds=seeds,
        price_list=price_list,
        supervised=supervised,
        price_changes=tuple(map(options.price_change, price_change or ())),
        quality_changes=tuple(map(options.quality_change, quality_change or ())),
        newcomers=tuple(map(options.newcomer, add_provider or ())),
    )
    if jobs is not None and jobs < 1:
        raise ValueError(f"the number of jobs is {jobs}: give a whole number of at least 1.")
    outputs = (json, csv, chart, log)
    _simulate(table, settings, options.names(providers), distinct_prompts, jobs, outputs, quiet)


def _simulate(
    path: Path,
    settings: Any,
    providers: list[str] | None,
    distinct: bool,
    jobs: int | None,
    outputs: tuple[Path | None, Path | None, Path | None, Path | None],
    quiet: bool,
) -> None:
    from rich.console import Console

    from fairlead.experiments.simulation import records, scenario
    from fairlead.experiments.simulation import terminal as view
    from fairlead.experiments.simulation.run import simulate as run
    from fairlead.experiments.tables.outcome_table import read_outcome_table
    from fairlead.optimizer.persistence.atomic_file import write_atomically

    table = read_outcome_table(path, providers=providers, distinct_prompts=distinct)
    scenario.check_scenario(table, settings)
    if outputs[-1]:
        scenario.check_one_run(table, settings)
    rounds = sum(map(len, scenario.split_rows(table, settings))) * settings.seeds * len(settings.policies)
    rounds *= len(scenario.goals(table, settings))
    cores = min(os.cpu_count() or 1, settings.seeds) if jobs is None else jobs
    with view.progress_bar(Console(stderr=True), rounds, quiet=quiet) as progress:
        result = run(table, settings, jobs=cores, progress=progress)
    as_json, as_csv, chart, log = outputs
    if chart:
        view.write_chart(result, chart)
    if log:
        from fairlead.experiments.logs.write import write_log
        from fairlead.experiments.simulation.log import simulated_lines

        one = {"policy": settings.policies[0], "goal": result.goals[0], "seed": settings.first_seed}
        write_log(log, simulated_lines(table, settings, **one))
    if as_json:
        write_atomically(as_json, records.json_text(result.records, view.summary(result)))
    if as_csv:
        write_atomically(as_csv, records.csv_text(result.records))
    if not quiet:
        console = view.make_console()
        console.print(view.results_table(result))
        for sentence in (*result.notes, view.verdict(result)):
            console.print(sentence, highlight=False)


@app.command()
def demo(seed: Annotated[int, Option(help="Order of the requests and draws.")] = 0) -> None:
    """Show on a bundled synthetic table what routing learns and saves, in seconds and without a network."""
    from fairlead.experiments.simulation.demo import run_demo
    from fairlead.experiments.simulation.terminal import make_console

    run_demo(make_console(), seed=seed)


@app.command()
def fit_features(
    prompts: Annotated[Path, typer.Argument(help="Prompts: .txt (one a line), .jsonl, .csv or .parquet.")],
    out: Annotated[Path, Option(help="Where the projection goes, such as features.npz.")],
    column: Annotated[str, Option(help="Column of the prompts; not for .txt.")] = "prompt",
    width: Annotated[int, Option(help="Number of dimensions.")] = 32,
) -> None:
    """Learn a text projection from prompts of your own; no labels are needed.

    fairlead fit-features prompts.jsonl --out features.npz
    """
    from fairlead.api.cli import options
    from fairlead.optimizer.features import TextProjection

    options.check_outputs(prompts, [(out, (".npz",))])
    texts = options.read_prompts(prompts, column=column)
    projection = TextProjection.fit(texts, width=width)
    projection.save(out)
    print(f"Learned {width} dimensions from {len(texts):,} prompts; wrote {out} ({projection.version}).")


for command in (serve.serve, service.init, service.migrate, service.snapshot, service.create_key):
    app.command()(command)
replay_commands.add_commands(app)


def main() -> None:
    """Entry point of the command `fairlead`."""
    # Before NumPy is imported: the matrices are small, and threads would only compete with processes.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    app()
