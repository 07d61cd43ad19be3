"""The shape of a source: what its rows mean as decisions, and which of them are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fairlead.experiments.logs.importers.options import ImportOptions
from fairlead.experiments.logs.importers.reading import Table

Sql = str
Document = Mapping[str, Any]
"""A row that Python prepared, with ``row``, its number in the file; ``wrong`` is why it is refused."""

COMMON: Final = frozenset({"aliases", "filters", "skip_bad"})
"""Options that apply to every source but the event log."""

GATEWAY: Final = COMMON | {"weights", "rewards", "reward_range", "task_tag", "attributes"}
"""Options of gateways and tracers: they log no propensities, and rewards come from elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """SQL of each column of a decision, over the columns of a `Table`.

    ``columns`` has ``decision_id``, ``at_us`` (microseconds since 1970), ``provider`` and any of ``route``,
    ``task``, ``attributes`` (JSON), ``served_provider``, ``cost_usd``, ``latency_s``, ``status``, ``reward``
    (as the source has it), ``providers`` and ``propensities``, or ``propensity`` (of the provider alone).
    ``left_out`` are pairs of a condition and the reason why a row that meets it is no decision; ``refused``
    of a condition and the sentence on a row that is one but cannot be right. The first that applies counts,
    and ``left_out`` comes first. ``tally`` counts kept rows for notes, as {sentence with {count}: condition}.
    """

    columns: Mapping[str, Sql]
    left_out: tuple[tuple[Sql, Sql], ...] = ()
    refused: tuple[tuple[Sql, Sql], ...] = ()
    tally: Mapping[str, Sql] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of log: how its rows become decisions, and which options apply to it.

    ``prepare`` turns a file into documents where SQL cannot, with a folder for work files; without it, or if
    it returns None, rows are read as they are. ``judges`` says that the rows themselves have rewards.
    """

    select: Callable[[Table, ImportOptions], Selection]
    applicable: frozenset[str] = GATEWAY
    prepare: Callable[[Path, Path], Iterator[Document] | None] | None = None
    judges: bool = False
    remedy: str = "check that it is a log of that kind"
