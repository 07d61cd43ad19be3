"""The command line: one application around the commands of the other files in this folder.

Bad input gets one sentence on stderr and exit code 2. Commands import what they need when they run, so that
help appears at once.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fairlead.api.cli import export_log, import_log, replay, serve, service, simulate, warm_start
from fairlead.api.cli.options import command_of
from fairlead.optimizer.errors import MissingExtra

_INTERRUPTED = 130
_INTERRUPTION = "fairlead: interrupted; no file was left incomplete."


class OneSentence(TyperGroup):
    """A group of commands that answers bad input in one sentence instead of a stack trace."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and exit: with 0, with 2 after bad input, with 130 when interrupted."""
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
            from fairlead.experiments.files import printable

            message = printable(" ".join(str(usage() if usage else error).split()))
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                message = "the disk is full, and no file was left incomplete: free some space and try again"
            print(f"fairlead: {message}", file=sys.stderr)
            sys.exit(2)
        if code == _INTERRUPTED:  # newer versions of Typer turn an interruption into this code themselves
            print(_INTERRUPTION, file=sys.stderr)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=OneSentence,
    no_args_is_help=False,
    rich_markup_mode="markdown",
    help="""Learn from your own traffic which provider gives the best trade-off of quality, cost and latency.

    Start with `fairlead demo`; then `fairlead serve` for decisions over HTTP, or `fairlead replay` to
    evaluate other policies on a log.
    """,
)
for command in (
    simulate.demo,
    serve.serve,
    service.init,
    service.migrate,
    service.snapshot,
    service.create_key,
    command_of(warm_start.WarmStartOptions, warm_start.warm_start),
    command_of(simulate.SimulateOptions, simulate.simulate),
    simulate.fit_features,
    command_of(replay.ReplayOptions, replay.replay),
    command_of(import_log.ImportLogOptions, import_log.import_log),
    export_log.export_log,
):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"fairlead {version('fairlead')}")
        except PackageNotFoundError:
            print("fairlead (from a checkout that is not installed)")
        raise typer.Exit


@app.callback()
def fairlead(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that all commands share."""


def main() -> None:
    """Entry point of the command `fairlead`."""
    # Before NumPy is imported: the matrices are small, and threads would only compete with processes.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    # Worker processes inherit the path; with `python -c` it begins with the working directory.
    if "" in sys.path:
        sys.path.remove("")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal of another encoding gets `?` for what it cannot show, instead of an error after the work.
        sys.stdout.reconfigure(errors="replace")
    app()
