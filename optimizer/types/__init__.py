"""The nouns of routing: what is declared, asked, answered and reported.

All are frozen, and checked when they are created. Money is USD, time is seconds, quality is in [0, 1].
"""

from fairlead.optimizer.types.arrays import FloatArray
from fairlead.optimizer.types.budget import Budget, BudgetAlarm
from fairlead.optimizer.types.events import (
    Candidate,
    CircuitChanged,
    Context,
    Decision,
    DriftAlarm,
    EncoderFitted,
    Event,
    Expected,
    Feedback,
    ImplausibleOutcome,
    Outcome,
    RouteChanged,
)
from fairlead.optimizer.types.evidence import Evidence
from fairlead.optimizer.types.route import (
    Constraints,
    Metric,
    Objective,
    Prices,
    Provider,
    Route,
    Source,
)

__all__ = [
    "Budget",
    "BudgetAlarm",
    "Candidate",
    "CircuitChanged",
    "Constraints",
    "Context",
    "Decision",
    "DriftAlarm",
    "EncoderFitted",
    "Event",
    "Evidence",
    "Expected",
    "Feedback",
    "FloatArray",
    "ImplausibleOutcome",
    "Metric",
    "Objective",
    "Outcome",
    "Prices",
    "Provider",
    "Route",
    "RouteChanged",
    "Source",
]
