"""A log from a full-information outcome table under a known logging policy, so that every truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fairlead.experiments.logs.from_events import time_text
from fairlead.experiments.logs.write import Line
from fairlead.experiments.simulation.goals import Goal
from fairlead.experiments.simulation.run import play
from fairlead.experiments.simulation.scenario import Settings, check_scenario
from fairlead.experiments.simulation.stream import make_stream
from fairlead.experiments.tables.outcome_table import OutcomeTable

_START_S: Final = 1_767_225_600.0
"""2026-01-01T00:00:00Z. Any time will do, as long as every run has the same."""

_EVERY_S: Final = 60.0


def simulated_lines(
    table: OutcomeTable, settings: Settings, *, policy: str, goal: Goal, seed: int
) -> Iterator[Line]:
    """Play the table once and yield its decisions as lines, a minute apart.

    A reward stays empty if its feedback is never revealed. The features of all lines are in the space of the
    last text projection, so that they can be compared.
    """
    check_scenario(table, settings)
    stream = make_stream(table, settings, seed)
    distributions: list[Mapping[int, float]] = []
    trace = play(
        table, settings, stream, policy=policy, goal=goal,
        watch=lambda step, probabilities: distributions.append(probabilities),
    )  # fmt: skip
    features = stream.segments[-1].features
    for step, row in enumerate(stream.rows.tolist()):
        chosen = int(trace.columns[step])
        chances = distributions[step]
        latency = float(table.latency_s[row, chosen])
        line: dict[str, Any] = {
            "decision_id": table.prompt_ids[row],
            "decided_at": time_text(_START_S + _EVERY_S * step, table.prompt_ids[row]),
            "route": "simulation",
            "context": {"task": table.tasks[row]} if table.tasks[row] else None,
            "features": features[step].tolist(),
            "providers": [table.providers[column] for column in chances],
            "propensities": list(chances.values()),
            "provider": table.providers[chosen],
            "served_provider": table.providers[chosen],
            "reward": float(stream.quality[step, chosen]) if stream.has_feedback[step] else None,
            "cost_usd": float(stream.cost_usd[step, chosen]),
            "latency_s": latency if latency == latency else None,
            "status": "ok",
        }
        yield line
