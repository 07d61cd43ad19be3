"""Options of the command line: groups as dataclasses, grammars of their own, and checks before any work."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from typer import Option

from fairlead.optimizer.errors import require

if TYPE_CHECKING:
    from fairlead.experiments.simulation.scenario import Newcomer, PriceChange, QualityChange

Options = TypeVar("Options")

Config = Annotated[
    Path | None,
    Option("--config", help="Settings file. Default: FAIRLEAD_CONFIG, or fairlead.yaml if it exists."),
]
TABLE_SUFFIXES = (".jsonl", ".csv", ".parquet")


def command_of(options: type[Options], run: Callable[[Options], None]) -> Callable[..., None]:
    """Make a command of ``run`` whose arguments and options are the fields of a dataclass.

    Typer reads them from the signature of a function, and so would ask for a function of 27 parameters.
    """
    hints = get_type_hints(options, include_extras=True)

    @wraps(run)
    def command(**values: Any) -> None:
        run(options(**values))

    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in fields(options)  # type: ignore[arg-type]
        ]
    )
    command.__annotations__ = {}
    return command


def price_change(text: str) -> PriceChange:
    """Parse ``PROVIDER=FACTOR@STEP``."""
    from fairlead.experiments.simulation.scenario import PriceChange

    pattern, form = r"(.+)=([^=@]+)@(\d+)", "PROVIDER=FACTOR@STEP, such as acme/large=0.3@1200"
    name, factor, step = _split(text, pattern, form=form)
    return PriceChange(provider=name, factor=_number(factor, text), step=int(step))


def quality_change(text: str) -> QualityChange:
    """Parse ``PROVIDER=VALUE@FROM:TO``."""
    from fairlead.experiments.simulation.scenario import QualityChange

    pattern, form = r"(.+)=([^=@]+)@(\d+):(\d+)", "PROVIDER=VALUE@FROM:TO, such as acme/large=0.75@600:1200"
    name, value, start, stop = _split(text, pattern, form=form)
    return QualityChange(provider=name, value=_number(value, text), from_step=int(start), to_step=int(stop))


def newcomer(text: str) -> Newcomer:
    """Parse ``NAME@STEP``."""
    from fairlead.experiments.simulation.scenario import Newcomer

    name, step = _split(text, r"(.+)@(\d+)", form="NAME@STEP, such as acme/new@600")
    return Newcomer(provider=name, step=int(step))


def shares(text: str | None) -> dict[str, float] | None:
    """Parse ``A=0.7,B=0.3``."""
    if text is None:
        return None
    pairs = [
        _split(part.strip(), r"(.+)=([^=]+)", form="NAME=SHARE, such as acme/large=0.3")
        for part in text.split(",")
    ]
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError(f"{text!r} names a provider twice: give each one share.")
    return {name: _number(share, text) for name, share in pairs}


def alias(text: str) -> tuple[str, str]:
    """Parse ``PATTERN=NAME``."""
    pattern, name = _split(text, r"([^=]+)=(.+)", form="PATTERN=NAME, such as gpt-4o-*=gpt-4o")
    return pattern.strip(), name.strip()


def reward_range(text: str) -> tuple[float, float]:
    """Parse ``LOW:HIGH``."""
    low, high = _split(text, r"([^:]+):([^:]+)", form="LOW:HIGH, such as -1:0")
    return _number(low, text), _number(high, text)


def names(text: str | None) -> list[str] | None:
    """Parse ``A,B,C``."""
    if text is None:
        return None
    parts = [name.strip() for name in text.split(",")]
    if not all(parts):
        raise ValueError(f"the list {text!r} has an empty name: write it as A,B,C.")
    return parts


def _split(text: str, pattern: str, *, form: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form {form}.")
    return match.groups()


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} in {whole!r} is not a number: give one, such as 0.3.") from None


def seconds_of(option: str, text: str | None) -> float | None:
    """Parse a date, which begins at midnight UTC, or a time with its zone, as seconds since 1970."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        at = None
    if at is None or (at.tzinfo is None and "T" in text):
        raise ValueError(
            f"{option} is {text!r}: give a date, as 2026-03-01, or a time with its zone, as "
            "2026-03-01T12:00:00Z"
        )
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def check_outputs(source: Path, outputs: Sequence[tuple[Path | None, tuple[str, ...]]]) -> None:
    """Refuse, before hours of work, output files that cannot be written or that would overwrite one another.

    Each output comes with the suffixes that it may have; none allows any.
    """
    used = {source.resolve()}
    for path, suffixes in outputs:
        if path is None:
            continue
        if suffixes and path.suffix in (".html", ".png", ".svg"):
            require("altair", purpose=f"{path}: a chart")
            require("vl_convert", purpose=f"{path}: a chart")
        if suffixes and path.suffix not in suffixes:
            raise ValueError(f"{path}: the suffix is {path.suffix!r}: use {' or '.join(suffixes)}.")
        if path.is_dir():
            raise ValueError(f"{path}: this is a folder: name a file in it.")
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise ValueError(f"{path}: this is a link, a pipe or a device: name a file instead.")
        if not path.parent.is_dir():
            raise ValueError(f"{path}: the folder {path.parent} does not exist: create it first.")
        if not os.access(path.parent, os.W_OK):
            raise ValueError(
                f"{path}: there is no permission to write to the folder {path.parent}: name another."
            )
        if path.resolve() in used:
            raise ValueError(f"{path}: the command reads or writes this file already: name another.")
        used.add(path.resolve())
