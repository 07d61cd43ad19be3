"""Options of the command line that have a grammar of their own, and checks before any work is done."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fairlead.experiments.files import TABLE_SUFFIXES, check_table_file, open_table, sql_name
from fairlead.experiments.simulation.scenario import Newcomer, PriceChange, QualityChange
from fairlead.optimizer.errors import require


def price_change(text: str) -> PriceChange:
    """PROVIDER=FACTOR@STEP."""
    name, factor, step = _parts(text, r"(.+)=([^=@]+)@(\d+)", "PROVIDER=FACTOR@STEP", "acme/large=0.3@1200")
    return PriceChange(provider=name, factor=_number(factor, text), step=int(step))


def quality_change(text: str) -> QualityChange:
    """PROVIDER=VALUE@FROM:TO."""
    pattern, example = r"(.+)=([^=@]+)@(\d+):(\d+)", "acme/large=0.75@600:1200"
    name, value, start, stop = _parts(text, pattern, "PROVIDER=VALUE@FROM:TO", example)
    return QualityChange(provider=name, value=_number(value, text), from_step=int(start), to_step=int(stop))


def newcomer(text: str) -> Newcomer:
    """NAME@STEP."""
    name, step = _parts(text, r"(.+)@(\d+)", "NAME@STEP", "acme/new@600")
    return Newcomer(provider=name, step=int(step))


def shares(text: str | None) -> dict[str, float] | None:
    """A=0.7,B=0.3."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, share = _parts(part.strip(), r"(.+)=([^=]+)", "NAME=SHARE", "acme/large=0.3")
        found[name] = _number(share, text)
    return found


def reward_range(text: str) -> tuple[float, float]:
    """LOW:HIGH."""
    low, high = _parts(text, r"([^:]+):([^:]+)", "LOW:HIGH", "-1:0")
    return _number(low, text), _number(high, text)


def names(text: str | None) -> list[str] | None:
    """A,B,C."""
    if text is None:
        return None
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise ValueError(f"the list {text!r} has an empty name: write it as A,B,C.")
    return found


def _parts(text: str, pattern: str, form: str, example: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form {form}: write it as in {example}.")
    return match.groups()


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} in {whole!r} is no number: give one, such as 0.3.") from None


def check_outputs(table: Path, outputs: Sequence[tuple[Path | None, tuple[str, ...]]]) -> None:
    """Refuse, before hours of work, files that could not be written or that would replace one another.

    Each output comes with the suffixes it may have, none for any.
    """
    taken = {table.resolve()}
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
            raise ValueError(f"{path}: the folder {path.parent} is not there: create it first.")
        if not os.access(path.parent, os.W_OK):
            raise ValueError(f"{path}: the folder {path.parent} may not be written to: name another.")
        if path.resolve() in taken:
            raise ValueError(f"{path}: this file is read or written already: name another.")
        taken.add(path.resolve())


def read_prompts(path: Path, *, column: str) -> list[str]:
    """Read the prompts of a file and leave empty ones out: the lines of a .txt file, else one column."""
    if path.suffix == ".txt":
        check_table_file(
            path, suffixes=(".txt",), empty="the file is empty (0 bytes): write a prompt or more."
        )
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: byte {error.start} is not UTF-8: save the file as UTF-8.") from None
        return [line for line in lines if line.strip()]
    with open_table(path, suffixes=(".txt", *TABLE_SUFFIXES), remedy="write it again") as file:
        kind = file.types.get(column)
        if kind is None:
            raise ValueError(
                f"{path}: there is no column {column!r} among {', '.join(file.types)}: "
                "name one with --column."
            )
        json_kind = f"lower(json_type({sql_name(column)}))" if kind == "JSON" else "'varchar'"
        rows = file.connection.execute(f"SELECT {file.text(column)}, {json_kind} FROM source").fetchall()
    for value, value_kind in rows:
        if kind not in ("VARCHAR", "JSON") or value_kind not in ("varchar", "null", None):
            raise ValueError(
                f"{path}: column {column!r} holds {value!r}, which is not text: name another with --column."
            )
    return [str(value) for value, _ in rows if value and value.strip()]
