"""Logs of other systems as lines of the canonical form; columns that they lack stay empty."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fairlead.experiments.files import open_table
from fairlead.experiments.logs.from_events import served_lines
from fairlead.experiments.logs.text_scan import MAX_LINE_BYTES
from fairlead.experiments.logs.write import Line
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import read_log

SOURCES: Final = ("events", "dsjson", "litellm")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the imported file does not say itself.

    ``reward_range`` is the lowest and the highest reward of the source, mapped onto [0, 1]. ``weights`` are
    the probabilities with which traffic was split at random, by provider; None if it was not. ``rewards``
    gives a reward in [0, 1] by request id. `InvalidInput` says which of them cannot be.

    >>> ImportOptions(weights={"small": 0.7, "large": 0.3}).reward_range
    (0.0, 1.0)
    >>> ImportOptions(weights={"small": 0.7, "large": 0.7})
    Traceback (most recent call last):
    fairlead.optimizer.errors.InvalidInput: the weights {'small': 0.7, 'large': 0.7} are not all above 0 ...
    """

    reward_range: tuple[float, float] = (0.0, 1.0)
    weights: Mapping[str, float] | None = None
    rewards: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low, high = self.reward_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InvalidInput(
                f"the reward range is {low:g} to {high:g}: give two finite numbers, the lower first"
            )
        if self.weights is not None and (
            min(self.weights.values()) <= 0.0 or abs(sum(self.weights.values()) - 1.0) > 1e-6
        ):
            raise InvalidInput(
                f"the weights {dict(self.weights)} are not all above 0 with a sum of 1: give the shares "
                "in which "
                "traffic was split at random"
            )


def import_lines(path: Path, *, source: str, options: ImportOptions) -> Iterator[Line]:
    """Read a log of another kind as lines; `InvalidInput` names the file, the line and the remedy."""
    if not path.is_file():
        raise InvalidInput(f"{path}: there is no such file: check the path.")
    if source == "events":
        yield from served_lines(read_log(path))
        return
    if source not in SOURCES:
        raise InvalidInput(f"{source!r} is no kind of log: choose among {', '.join(SOURCES)}")
    lines = _litellm(path, options) if source == "litellm" else _dsjson(path, options)
    empty = True
    for line in lines:
        empty = False
        yield line
    if empty:
        raise InvalidInput(f"{path}: no decision was found in it: check that it is a log of kind {source}.")


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read the JSON objects of a file, one a line, with their line numbers."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                raise InvalidInput(
                    f"{path}, row {number}: the line is longer than {MAX_LINE_BYTES:,} bytes: cut it."
                )
            if not raw.strip():
                continue
            try:
                value = json.loads(raw.decode("utf-8"))
            except (ValueError, RecursionError) as error:
                raise InvalidInput(
                    f"{path}, row {number}: the line is not one whole JSON object ({error}): mend it, or "
                    "wait until "
                    "the file is whole."
                ) from None
            if not isinstance(value, dict):
                raise InvalidInput(
                    f"{path}, row {number}: the line is no JSON object: check the kind of the log."
                )
            yield number, value


def _dsjson(path: Path, options: ImportOptions) -> Iterator[Line]:
    """Read Vowpal Wabbit's decision service JSON for contextual bandits with action-dependent features.

    ``a`` lists the actions, counted from 1, as they were ranked, the drawn one first; ``p`` has their
    probabilities; ``_label_cost`` is the negative reward.
    """
    for number, event in _objects(path):
        if "_label_cost" not in event and "a" not in event:
            continue  # observations that were never joined, and checkpoints
        where = f"{path}, row {number}"
        line, cost = _dsjson_decision(event, where)
        if float(event.get("pdrop", 0.0)) > 0.0:
            raise InvalidInput(
                f"{where}: pdrop is {event['pdrop']}, so events were dropped at random and the rest "
                "would need weights: import a log that is whole."
            )
        reward = _scaled_reward(-cost, options, where)
        is_learned = event.get("_skipLearn") is not True and "_label_cost" in event
        yield {**line, "reward": reward if is_learned else None}


def _dsjson_decision(event: Mapping[str, Any], where: str) -> tuple[dict[str, Any], float]:
    """Read the line of an event without its reward, and its cost."""
    try:
        actions, chances = [int(a) for a in event["a"]], [float(p) for p in event["p"]]
        shared, cost = event.get("c") or {}, float(event.get("_label_cost", 0.0))
        names = [_action_name(shared, action) for action in actions]
        line = {
            "decision_id": str(event["EventId"]),
            "decided_at": str(event["Timestamp"]),
            "context": {"attributes": _flat_attributes(shared)},
            "providers": names,
            "propensities": chances,
            "provider": names[0],
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidInput(
            f"{where}: this is no contextual-bandit event of dsjson ({error!r} about a, p, c, EventId or "
            "Timestamp): slates, continuous actions and CCB cannot be imported."
        ) from None
    return line, cost


def _scaled_reward(reward: float, options: ImportOptions, where: str) -> float:
    low, high = options.reward_range
    scaled = (reward - low) / (high - low)
    if not 0.0 <= scaled <= 1.0:
        raise InvalidInput(
            f"{where}: the reward {reward:g} is outside {low:g} to {high:g}: declare its range with "
            "--reward-range LOW:HIGH."
        )
    return scaled


def _action_name(shared: Mapping[str, Any], action: int) -> str:
    """Name an action by its tag, id or name, else by its number."""
    entry = shared["_multi"][action - 1]
    for key in ("_tag", "id", "name"):
        if isinstance(entry.get(key), str) and entry[key]:
            return str(entry[key])
    return f"action-{action}"


def _flat_attributes(shared: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | bool]:
    """Flatten the shared features into attributes; namespaces become part of the name."""
    attributes: dict[str, str | float | bool] = {}
    for key, value in shared.items():
        if key.startswith("_") or not key:
            continue
        if isinstance(value, Mapping):
            attributes |= _flat_attributes(value, f"{prefix}{key}.")
        elif isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and math.isfinite(value)):
            attributes[prefix + key] = value
    return attributes


_STATUS: Final = {"success": "ok", "failure": "error", None: "ok", "": "ok"}
_OUTSIDE: Final = "--weights lacks it: name every provider that traffic was split over"


def _litellm(path: Path, options: ImportOptions) -> Iterator[Line]:
    """Read LiteLLM's table of spend (LiteLLM_SpendLogs), exported as JSONL, CSV or Parquet, by starting time.

    Calls that a cache answered chose no provider and are left out.
    """
    rows = list(_spend_rows(path))
    names = sorted(options.weights or {str(row["model"]) for _, row in rows if row.get("model")})
    chances = None if options.weights is None else [options.weights[name] for name in names]
    for number, row in sorted(rows, key=lambda item: (str(item[1]["startTime"]), item[0])):
        model, identity = str(row.get("model") or ""), str(row["request_id"])
        if str(row.get("cache_hit", "")).lower() in ("true", "1") or not model:
            continue
        where = f"{path}, row {number}"
        if model not in names:
            raise InvalidInput(f"{where}: model {model!r} is none of {', '.join(names)}: {_OUTSIDE}.")
        started = _utc(str(row["startTime"]))
        yield {
            "decision_id": identity,
            "decided_at": started,
            "route": row.get("model_group") or None,
            "context": {"task": _tag(row.get("request_tags"))},
            "providers": names,
            "propensities": chances,
            "provider": model,
            "reward": options.rewards.get(identity),
            "cost_usd": _amount(row.get("spend"), where, "spend"),
            "latency_s": _seconds(row.get("request_duration_ms"), started, row.get("endTime")),
            "status": _STATUS.get(row.get("status"), "error"),
        }


def _spend_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = _objects(path) if path.suffix == ".jsonl" else _text_rows(path)
    for number, row in rows:
        missing = [name for name in ("request_id", "startTime", "model") if not row.get(name)]
        if missing and not (missing == ["model"] and "model" in row):
            raise InvalidInput(
                f"{path}, row {number}: {missing[0]} is missing: export LiteLLM_SpendLogs whole."
            )
        yield number, row


def _text_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a table as rows of text, with their numbers from 1."""
    with open_table(path, remedy="export it again") as file:
        rows = file.connection.execute("SELECT COLUMNS(*)::VARCHAR FROM source").fetchall()
    for number, row in enumerate(rows, 1):
        yield number, dict(zip(file.types, row, strict=True))


def _utc(text: str) -> str:
    """Add a Z to a time without zone: LiteLLM writes UTC, with or without saying so."""
    text = text.strip().replace(" ", "T", 1)
    zoned = text.endswith(("Z", "z")) or "+" in text[10:] or "-" in text[10:]
    return text if zoned else f"{text}Z"


def _seconds(duration_ms: Any, started: str, ended: Any) -> float | None:
    try:
        if duration_ms not in (None, ""):
            return float(duration_ms) / 1000.0
        took = datetime.fromisoformat(_utc(str(ended))) - datetime.fromisoformat(started)
    except ValueError:
        return None
    return took.total_seconds() if took.total_seconds() >= 0.0 else None


def _amount(value: Any, where: str, name: str) -> float | None:
    if value in (None, ""):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidInput(
            f"{where}: {name} is {value!r}, which is no number: export the table again."
        ) from None


def _tag(tags: Any) -> str | None:
    """Take the first of a request's tags as its task."""
    if isinstance(tags, str):
        try:
            tags = json.loads(tags)
        except ValueError:
            return tags or None
    return str(tags[0]) if isinstance(tags, list) and tags else None


def read_rewards(path: Path) -> dict[str, float]:
    """Read rewards by request id from a CSV or JSONL file with the columns ``request_id`` and ``reward``."""
    remedy = "give the columns request_id and reward, a number in [0, 1]"
    with open_table(path, suffixes=(".csv", ".jsonl"), remedy=remedy) as file:
        for name in ("request_id", "reward"):
            if name not in file.types:
                raise InvalidInput(f"{path}: column {name!r} is missing: {remedy}.")
        identity, reward = file.text("request_id"), file.text("reward")
        query = f"SELECT {identity}, {reward}::DOUBLE FROM source WHERE {reward} IS NOT NULL"
        return {str(name): float(value) for name, value in file.connection.execute(query).fetchall()}
