"""What must hold of every row of a log, and the sentence that says what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import numpy as np

SUM_TOLERANCE: Final = 1e-6
STATUSES: Final = ("ok", "error", "timeout", "refused")
_LATEST_USD: Final = 1e6
_BATCH: Final = 1 << 20

Bad = tuple[int, str]
"""A row, counted from 1 as the file has them, and what is wrong with it."""


def _number(text: str) -> str:
    return f"printf('%.6g', {text})"


_CHOSEN: Final = "list_position(providers, provider)"


def _always() -> Iterator[tuple[str, str]]:
    """Conditions of a bad row with the SQL of its sentence, the first that applies; for every log."""
    yield "wrong IS NOT NULL", "wrong"
    yield "coalesce(decision_id, '') = ''", "'decision_id is empty: give every decision an id of its own'"
    yield "decided_at IS NULL", "'decided_at is empty: give the time of the decision, with its zone'"
    yield (
        "NOT coalesce(zoned, false)",
        "'decided_at is ' || left(decided_at, 40) || ', which has no zone: append Z for UTC, or the offset'",
    )
    yield (
        "seconds IS NULL OR NOT isfinite(seconds)",
        "'decided_at is ' || left(decided_at, 40) || ', which is no time: write it as 2026-03-01T12:00:00Z'",
    )
    yield "coalesce(len(providers), 0) = 0", "'providers is empty: list everybody who could be chosen'"
    yield (
        "coalesce(provider, '') = ''",
        "'provider is empty: name the one that was chosen among providers'",
    )
    yield (
        f"coalesce({_CHOSEN}, 0) = 0",
        "'provider ' || left(provider, 60) || ' is not among providers (' || left(array_to_string(providers, "
        "', '), 80) || '), so it could not be chosen: add it there with its propensity'",
    )
    for name, high, meaning in (
        ("reward", 1.0, "quality in [0, 1]"),
        ("cost_usd", _LATEST_USD, "USD from 0 to 1e6"),
        ("latency_s", 1e6, "seconds from 0 to 1e6"),
    ):
        yield (
            f"{name} IS NOT NULL AND NOT coalesce({name} BETWEEN 0 AND {high}, false)",
            f"'{name} is ' || {_number(name)} || ', outside {meaning}: rescale it, or leave it out'",
        )
    listed = ", ".join(f"'{status}'" for status in STATUSES)
    yield (
        f"status IS NOT NULL AND status NOT IN ({listed})",
        f"'status is ' || left(status, 40) || ': give one of {', '.join(STATUSES)}'",
    )


def _distribution(name: str) -> Iterator[tuple[str, str]]:
    """What must hold of a list of probabilities over ``providers``."""
    yield (
        f"len({name}) <> len(providers)",
        f"'{name} has ' || len({name}) || ' numbers for ' || len(providers) || ' providers: give one for "
        "each'",
    )
    yield (
        f"NOT coalesce(list_min({name}) >= 0 AND list_max({name}) <= 1 + {SUM_TOLERANCE}, false) "
        f"OR list_count({name}) <> len({name})",
        f"'{name} has ' || "
        f"coalesce({_number(f'if(list_max({name}) > 1, list_max({name}), list_min({name}))')}"
        ", 'nothing') || ', which is no probability: give numbers in [0, 1]'",
    )
    yield (
        f"abs(list_sum({name}) - 1) > {SUM_TOLERANCE}",
        f"'{name} sum to ' || {_number(f'list_sum({name})')} || ', not 1: log the whole distribution "
        "that the choice "
        "was drawn from'",
    )


def row_rules(*, propensities: bool, targets: bool, predictions: bool, width: int) -> list[tuple[str, str]]:
    """The rules of a log that has these columns; features are ``width`` wide, 0 for none."""
    rules = list(_always())
    if propensities:
        rules.append(
            (
                "propensities IS NULL",
                "'propensities are missing here and present elsewhere: log them for every decision'",
            )
        )
        rules += _distribution("propensities")
        chosen = f"propensities[{_CHOSEN}]"
        rules.append(
            (
                f"{chosen} <= 0",
                "'the propensity of the chosen provider ' || left(provider, 60) || ' is 0, yet it was "
                "chosen: log "
                "the probability that it was drawn with'",
            )
        )
    if targets:
        rules.append(
            (
                "target_propensities IS NULL",
                "'target_propensities are missing here and present elsewhere: give them for every decision'",
            )
        )
        rules += _distribution("target_propensities")
    if predictions:
        rules.append(
            (
                "reward_predictions IS NULL OR len(reward_predictions) <> len(providers) OR "
                "list_count(reward_predictions) <> len(providers) OR NOT coalesce(isfinite(list_sum("
                "reward_predictions)), false)",
                "'reward_predictions are not one finite number for each of the ' || len(providers) || ' "
                "providers: "
                "give them for every decision, or for none'",
            )
        )
    if width:
        rules.append(
            (
                f"coalesce(len(features), 0) <> {width} OR list_count(features) <> {width} OR NOT "
                "coalesce(isfinite(list_sum(features)), false)",
                "'features are ' || coalesce(len(features), 0) || ' numbers, but elsewhere there are "
                f"{width} finite ones: encode every decision alike'",
            )
        )
    return rules


def broken_rows(
    connection: duckdb.DuckDBPyConnection, relation: str, rules: list[tuple[str, str]]
) -> list[Bad]:
    """Every row that breaks a rule, with the sentence of the first that it breaks."""
    cases = " ".join(f"WHEN {condition} THEN {sentence}" for condition, sentence in rules)
    query = (
        f"SELECT row, bad FROM (SELECT row, CASE {cases} END AS bad FROM {relation}) WHERE bad IS NOT NULL"
    )
    return [(int(row), str(bad)) for row, bad in connection.execute(query).fetchall()]


def repeated_ids(connection: duckdb.DuckDBPyConnection, relation: str) -> list[Bad]:
    """Every row whose decision_id stands in an earlier one."""
    query = (
        f"SELECT r.row, r.decision_id, first_row FROM {relation} r JOIN (SELECT decision_id, min(row) AS "
        "first_row "
        f"FROM {relation} WHERE decision_id IS NOT NULL GROUP BY decision_id HAVING count(*) > 1) d "
        "ON r.decision_id = d.decision_id WHERE r.row > first_row ORDER BY r.row"
    )
    return [
        (
            int(row),
            f"decision_id {str(name)[:60]} stands in row {first} already: keep one line for each decision",
        )
        for row, name, first in connection.execute(query).fetchall()
    ]


def repeated_providers(connection: duckdb.DuckDBPyConnection, relation: str) -> list[Bad]:
    """Every row whose providers name somebody twice or nobody."""
    query = f"SELECT DISTINCT providers FROM {relation} WHERE len(providers) > 0"
    wrong = [row[0] for row in connection.execute(query).fetchall() if _twice(row[0])]
    if not wrong:
        return []
    query = f"SELECT row FROM {relation} WHERE list_contains(?, providers)"
    told = "providers name somebody twice or nobody: list each once by its name"
    return [(int(row[0]), told) for row in connection.execute(query, [wrong]).fetchall()]


def _twice(names: list[str | None]) -> bool:
    return len(set(names)) != len(names) or None in names or "" in names


def late_rows(connection: duckdb.DuckDBPyConnection, relation: str, places: int) -> list[Bad]:
    """Every row whose time is before that of a row above it."""
    found: list[Bad] = []
    latest = -np.inf
    for start in range(0, places, _BATCH):
        query = f"SELECT row, seconds FROM {relation} WHERE place >= {start} AND place < {start + _BATCH}"
        batch = connection.execute(query).fetchnumpy()
        seconds = np.ma.filled(np.ma.asarray(batch["seconds"], dtype=np.float64), -np.inf)
        order = np.argsort(batch["row"], kind="stable")
        seconds, rows = seconds[order], np.asarray(batch["row"])[order]
        so_far = np.maximum.accumulate(np.append(latest, seconds))
        late = np.flatnonzero(seconds < so_far[:-1])
        told = "decided_at is earlier than in the row before: sort the log by decided_at"
        found += [(int(rows[i]), told) for i in late if np.isfinite(seconds[i])]
        latest = float(so_far[-1])
    return found


def sentence(path: Path, bad: Bad, *, others: int = 0) -> str:
    """The sentence on one bad row that names the file, the row and the remedy."""
    more = f" ({others:,} more rows are wrong)" if others else ""
    return f"{path}, row {bad[0]}: {bad[1]}, or leave such rows out with --skip-bad{more}."
