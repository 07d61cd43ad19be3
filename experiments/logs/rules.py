"""The rules that every row of a log must keep, each with the sentence on a row that breaks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import numpy as np

SUM_TOLERANCE: Final = 1e-6
EXACT: Final = 1e-9
"""Probabilities whose sum is closer to 1 are read as they are; those of other sound rows are normalised."""

_ROUNDED: Final = range(3, 9)
"""Decimal digits to which probabilities may be rounded: with fewer they are too coarse to weight by."""

STATUSES: Final = ("ok", "error", "timeout", "refused")
_LATEST_USD: Final = 1e6
_BATCH: Final = 1 << 20

BadRow = tuple[int, str]
"""A row, counted from 1 as in the file, and what is wrong with it."""

Rule = tuple[str, str]
"""SQL of a condition that bad rows meet, and SQL of the sentence on such a row."""

_CHOSEN: Final = "list_position(providers, provider)"


class ColumnCounts(NamedTuple):
    """Rows and positions of a log, how many rows have each optional list, and the width of the features."""

    rows: int
    positions: int
    propensities: int
    targets: int
    predictions: int
    width: int


IS_ROUNDED: Final = " OR ".join(
    f"coalesce(abs(list_sum({name}) - 1) > {EXACT}, false)"
    for name in ("propensities", "target_propensities")
)
"""SQL of whether the probabilities of a row that keeps the rules have to be normalised."""


def count_columns(connection: duckdb.DuckDBPyConnection, relation: str) -> ColumnCounts:
    """Count what the log holds; the width is the commonest number of features, 0 for none."""
    counts = connection.execute(
        "SELECT count(*), coalesce(max(position) + 1, 0), count(propensities), count(target_propensities), "
        f"count(reward_predictions), coalesce(mode(len(features)), 0) FROM {relation}"
    ).fetchone()
    assert counts is not None
    return ColumnCounts(*map(int, counts))


def row_rules(columns: ColumnCounts) -> list[Rule]:
    """List the rules of a log that has these columns, in the order in which a row is checked."""
    rules = [*_identity_rules(), *_provider_rules(), *_outcome_rules()]
    if columns.propensities:
        rules.append(_everywhere("propensities", "log"))
        rules += _distribution_rules("propensities")
        rules.append(_chosen_rule())
    if columns.targets:
        rules.append(_everywhere("target_propensities", "give"))
        rules += _distribution_rules("target_propensities")
    if columns.predictions:
        rules.append(_prediction_rule())
    if columns.width:
        rules.append(_feature_rule(columns.width))
    return rules


def _number(text: str) -> str:
    """Write SQL of a number to six digits, or to all if these would round away what is wrong with it."""
    short = f"printf('%.6g', {text})"
    return f"if(abs({short}::DOUBLE - ({text})) <= 1e-15, {short}, ({text})::VARCHAR)"


def _rounding(name: str) -> str:
    """Write SQL of how far the sum of a list may be from 1 by the rounding of its numbers.

    That is half a unit of the last digit for each number; 0 if they are not rounded.
    """
    cases = (
        f"WHEN list_max([abs(x - round(x, {digits})) for x in {name}]) <= {min(1e-7, 10.0 ** -(digits + 2))} "
        f"THEN {0.5 * 10.0**-digits} * len({name})"
        for digits in _ROUNDED
    )
    return f"(CASE {' '.join(cases)} ELSE 0.0 END)"


def _identity_rules() -> Iterator[Rule]:
    yield "wrong IS NOT NULL", "wrong"
    yield "coalesce(decision_id, '') = ''", "'decision_id is empty: give every decision an id of its own'"
    yield "decided_at IS NULL", "'decided_at is empty: give the time of the decision, with its zone'"
    time = "'decided_at is ' || left(decided_at, 40) || "
    yield (
        "NOT coalesce(zoned, false)",
        f"{time}', which has no zone: append Z for UTC, or the offset'",
    )
    yield (
        "seconds IS NULL OR NOT isfinite(seconds)",
        f"{time}', which is no time: write it as 2026-03-01T12:00:00Z'",
    )


def _provider_rules() -> Iterator[Rule]:
    yield (
        "coalesce(len(providers), 0) = 0",
        "'providers is empty: list every provider that could be chosen'",
    )
    yield (
        "coalesce(provider, '') = ''",
        "'provider is empty: name the one that was chosen among providers'",
    )
    listed = "left(array_to_string(providers, ', '), 80)"
    sentence = (
        f"'provider ' || left(provider, 60) || ' is not among providers (' || {listed} || '), so it could "
        "not be chosen: add it there with its propensity'"
    )
    yield f"coalesce({_CHOSEN}, 0) = 0", sentence


def _outcome_rules() -> Iterator[Rule]:
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


def _everywhere(name: str, verb: str) -> Rule:
    """Refuse a list that other rows have and this one lacks."""
    sentence = f"'{name} are missing here and present elsewhere: {verb} them for every decision'"
    return f"{name} IS NULL", sentence


def _distribution_rules(name: str) -> Iterator[Rule]:
    """Require a list of probabilities over ``providers``."""
    counts = f"len({name}) || ' numbers for ' || len(providers)"
    yield (
        f"len({name}) <> len(providers)",
        f"'{name} has ' || {counts} || ' providers: give one for each'",
    )
    outside = _number(f"if(list_max({name}) > 1, list_max({name}), list_min({name}))")
    condition = (
        f"NOT coalesce(list_min({name}) >= 0 AND list_max({name}) <= 1 + {SUM_TOLERANCE}, false) "
        f"OR list_count({name}) <> len({name})"
    )
    remedy = "'nothing') || ', which is no probability: give numbers in [0, 1]'"
    yield condition, f"'{name} has ' || coalesce({outside}, {remedy}"
    total, remedy = _number(f"list_sum({name})"), "log the whole distribution that the choice was drawn from"
    gap = f"abs(list_sum({name}) - 1)"
    yield (
        f"{gap} > {SUM_TOLERANCE} AND {gap} > {_rounding(name)} + {EXACT}",
        f"'{name} sum to ' || {total} || ', not 1: {remedy}'",
    )


def _chosen_rule() -> Rule:
    sentence = (
        "'the propensity of the chosen provider ' || left(provider, 60) || ' is 0, yet it was chosen: log "
        "the probability that it was drawn with'"
    )
    return f"propensities[{_CHOSEN}] <= 0", sentence


def _prediction_rule() -> Rule:
    condition = (
        "reward_predictions IS NULL OR len(reward_predictions) <> len(providers) OR "
        "list_count(reward_predictions) <> len(providers) OR "
        "NOT coalesce(isfinite(list_sum(reward_predictions)), false)"
    )
    sentence = (
        "'reward_predictions are not one finite number for each of the ' || len(providers) || ' providers: "
        "give them for every decision, or for none'"
    )
    return condition, sentence


def _feature_rule(width: int) -> Rule:
    condition = (
        f"coalesce(len(features), 0) <> {width} OR list_count(features) <> {width} OR "
        "NOT coalesce(isfinite(list_sum(features)), false)"
    )
    sentence = (
        "'features are ' || coalesce(len(features), 0) || ' numbers, but elsewhere there are "
        f"{width} finite ones: encode every decision alike'"
    )
    return condition, sentence


def broken_rows(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: ColumnCounts
) -> Iterator[BadRow]:
    """Every row that breaks a rule, once for every kind of rule that it breaks."""
    if not columns.rows:
        return
    yield from _rows_against(connection, relation, row_rules(columns))
    yield from _repeated_providers(connection, relation)
    yield from _repeated_ids(connection, relation)
    yield from _late_rows(connection, relation, columns.positions)


def first_reasons(bad: Iterable[BadRow]) -> tuple[BadRow, ...]:
    """Keep the first reason of every row, and sort by row."""
    reasons: dict[int, str] = {}
    for row, reason in bad:
        reasons.setdefault(row, reason)
    return tuple(sorted(reasons.items()))


def _rows_against(
    connection: duckdb.DuckDBPyConnection, relation: str, rules: list[Rule]
) -> Iterator[BadRow]:
    cases = " ".join(f"WHEN {condition} THEN {sentence}" for condition, sentence in rules)
    query = (
        f"SELECT row, bad FROM (SELECT row, CASE {cases} END AS bad FROM {relation}) WHERE bad IS NOT NULL"
    )
    for row, reason in connection.execute(query).fetchall():
        yield int(row), str(reason)


def _repeated_ids(connection: duckdb.DuckDBPyConnection, relation: str) -> Iterator[BadRow]:
    firsts = (
        f"SELECT decision_id, min(row) AS first_row FROM {relation} WHERE decision_id IS NOT NULL "
        "GROUP BY decision_id HAVING count(*) > 1"
    )
    query = (
        f"SELECT r.row, r.decision_id, first_row FROM {relation} r JOIN ({firsts}) d "
        "ON r.decision_id = d.decision_id WHERE r.row > first_row ORDER BY r.row"
    )
    for row, name, first in connection.execute(query).fetchall():
        reason = f"decision_id {str(name)[:60]} stands in row {first} already: keep one line per decision"
        yield int(row), reason


def _repeated_providers(connection: duckdb.DuckDBPyConnection, relation: str) -> Iterator[BadRow]:
    query = f"SELECT DISTINCT providers FROM {relation} WHERE len(providers) > 0"
    bad = [row[0] for row in connection.execute(query).fetchall() if not _are_names(row[0])]
    if not bad:
        return
    query = f"SELECT row FROM {relation} WHERE list_contains(?, providers)"
    for (row,) in connection.execute(query, [bad]).fetchall():
        yield int(row), "providers has a name twice or an empty one: list each provider once by its name"


def _are_names(names: list[str | None]) -> bool:
    return len(set(names)) == len(names) and None not in names and "" not in names


def _late_rows(connection: duckdb.DuckDBPyConnection, relation: str, positions: int) -> Iterator[BadRow]:
    latest = -np.inf
    for start in range(0, positions, _BATCH):
        span = f"position >= {start} AND position < {start + _BATCH}"
        batch = connection.execute(f"SELECT row, seconds FROM {relation} WHERE {span}").fetchnumpy()
        seconds = np.ma.filled(np.ma.asarray(batch["seconds"], dtype=np.float64), -np.inf)
        order = np.argsort(batch["row"], kind="stable")
        seconds, rows = seconds[order], np.asarray(batch["row"])[order]
        so_far = np.maximum.accumulate(np.append(latest, seconds))
        for i in np.flatnonzero((seconds < so_far[:-1]) & np.isfinite(seconds)).tolist():
            reason = "decided_at is earlier than in the row before: sort the log by decided_at"
            yield int(rows[i]), reason
        latest = float(so_far[-1])


def sentence(path: Path, bad: BadRow, *, others: int = 0) -> str:
    """Write the sentence on a bad row, which names the file, the row and the remedy."""
    more = f" ({others:,} more rows are wrong)" if others else ""
    return f"{path}, row {bad[0]}: {bad[1]}, or leave such rows out with --skip-bad{more}."
