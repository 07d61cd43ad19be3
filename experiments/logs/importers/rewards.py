"""Rewards by id from a file, and how they meet the decisions."""

from __future__ import annotations

from pathlib import Path

import duckdb

from fairlead.experiments.files import sql_text
from fairlead.experiments.logs.importers import sql
from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import open_rows
from fairlead.experiments.logs.importers.report import RewardReport
from fairlead.optimizer.errors import InvalidInput

_IDS = ("request_id", "decision_id", "trace_id", "id")
_REWARDS = ("reward", "score", "value")
_REMEDY = "give the columns request_id and reward"


def read_rewards(connection: duckdb.DuckDBPyConnection, options: ImportOptions, folder: Path) -> None:
    """Read the file of rewards into a table ``rewards``, one row for each id, scaled to [0, 1]."""
    path = options.rewards
    if path is None:
        connection.execute("CREATE TABLE rewards (id VARCHAR, reward DOUBLE, times BIGINT)")
        return
    folder.mkdir()
    table = open_rows(connection, path, folder)
    for names in (_IDS, _REWARDS):
        if table.columns is not None and not {name.lower() for name in table.columns} & set(names):
            raise InvalidInput(
                f"{path}: column {names[0]!r} is missing among {', '.join(table.columns)}: {_REMEDY}."
            )
    identity, text = table.text(*_IDS), table.text(*_REWARDS)
    value = scaled(
        f"CASE lower({text}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE {sql.number(text)} END", options
    )
    wrong = (
        f"coalesce(broken, CASE WHEN {identity} IS NULL THEN {sql_text(f'the id is empty: {_REMEDY}')} "
        f"WHEN NOT coalesce({value} BETWEEN 0 AND 1, false) THEN {outside(text, options)} END)"
    )
    connection.execute(
        f"CREATE TABLE judged AS SELECT row, {identity} AS id, {value} AS reward, {wrong} AS wrong "
        f"FROM {table.relation()} WHERE {text} IS NOT NULL OR broken IS NOT NULL"
    )
    first = connection.execute(
        "SELECT row, wrong FROM judged WHERE wrong IS NOT NULL ORDER BY row"
    ).fetchone()
    if first is not None and not options.skip_bad:
        raise InvalidInput(f"{path}, row {first[0]}: {first[1]}.")
    connection.execute(
        "CREATE TABLE rewards AS SELECT id, arg_max(reward, row) AS reward, count(*) AS times FROM judged "
        "WHERE wrong IS NULL GROUP BY id"
    )


def scaled(value: str, options: ImportOptions) -> str:
    """Return SQL that maps a reward from its range onto [0, 1]."""
    low, high = options.reward_range or (0.0, 1.0)
    return f"(({value}) - ({low!r}::DOUBLE)) / ({high - low!r}::DOUBLE) + 0.0"


def outside(text: str, options: ImportOptions) -> str:
    """Return SQL of the sentence on a reward that is outside its range."""
    low, high = options.reward_range or (0.0, 1.0)
    remedy = sql_text(f" is outside {low:g} to {high:g}: declare its range with --reward-range LOW:HIGH")
    return f"'the reward ' || left({text}, 40) || {remedy}"


def reward_report(connection: duckdb.DuckDBPyConnection) -> RewardReport:
    """Count how the rewards met the tables ``decisions`` (all rows) and ``kept``."""
    counts = connection.execute(
        "SELECT coalesce(sum(times), 0), count(*) FILTER (k.decision_id IS NOT NULL), "
        "count(*) FILTER (k.decision_id IS NULL AND a.id IS NOT NULL), count(*) FILTER (a.id IS NULL), "
        "(list(r.id ORDER BY r.id) FILTER (a.id IS NULL))[1:3], count(*) FILTER (times > 1), "
        "(list(r.id ORDER BY r.id) FILTER (times > 1))[1:3] FROM rewards r "
        "LEFT JOIN (SELECT decision_id FROM kept) k ON k.decision_id = r.id "
        "LEFT JOIN (SELECT DISTINCT decision_id AS id FROM decisions SEMI JOIN rewards "
        "ON rewards.id = decisions.decision_id) a ON a.id = r.id"
    ).fetchone()
    assert counts is not None
    read, matched, of_left_out, unmatched, strangers, repeated, repeats = counts
    return RewardReport(
        read=int(read),
        matched=int(matched),
        of_left_out=int(of_left_out),
        unmatched=int(unmatched),
        unmatched_examples=tuple(strangers or ()),
        repeated=int(repeated),
        repeated_examples=tuple(repeats or ()),
    )
