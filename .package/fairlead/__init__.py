"""Fairlead: a router that learns which LLM provider gives the best trade-off for each kind of request.

What to declare
    `Route`, `Provider`, `Prices`, `Objective`, `Budget`, `Constraints`, `Metric`, `Source`
What to ask, and what to report
    `Context` → `Decision`; `Outcome`, `Feedback`, `Evidence`, `RouteChanged`
    `DriftAlarm`, `CircuitChanged`, `BudgetAlarm`, `ImplausibleOutcome` are answered
The router
    `Router`: `decide`, `learn`, `configure`, `save`, `load`; `read_log` reads the events that it logged
Features of a request
    `Encoder` of `SurfaceFeatures`, `TaskLabel`, `Attributes`, `CallerEmbedding`, `TextProjection`; each is a
    `Featuriser`, and fills one `Block` of the feature vector. Of hashed terms (`TermCounter`) a router learns
    features by itself (`EncoderFitted`)
Policies
    `Thompson` (the default), `SquareCB`, `EpsilonGreedy`, `LinUCB`, `Greedy`, `Uniform`, `Fixed`; each is a
    `Policy`, and `policy_from_name` makes one from its name
Errors
    `InvalidInput`, `NoEligibleProvider`, `BudgetSpent`, `UnknownDecision`, `SnapshotError`,
    `FeatureFileError`, `MissingExtra` (an optional dependency is not installed)
Off-policy evaluation: what another policy would have earned
    `fairlead.experiments.ope`: from a `LoggedBatch` through estimators such as `snips` and `dr` to a verdict
The service and the command line
    `fairlead serve`, `fairlead simulate`, `fairlead replay`; `fairlead --help` lists them all

All of these but the last two are names of this module. They are imported when they are first used, so that
`import fairlead` alone costs next to nothing.

>>> from fairlead import Context, Encoder, Feedback, Provider, Route, Router, TaskLabel
>>> route = Route(name="support-chat", providers=(Provider(name="small"), Provider(name="large")))
>>> router = Router(route, encoder=Encoder([TaskLabel(width=8)]))
>>> decision = router.decide(Context(task="billing"), decision_id="d1", draw=0.2)
>>> decision.selected, round(decision.propensity, 2)
('small', 0.5)
>>> router.learn(decision)
>>> router.learn(Feedback(decision_id="d1", value=0.9))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fairlead.optimizer.errors import (
        BudgetSpent,
        InvalidInput,
        MissingExtra,
        NoEligibleProvider,
        UnknownDecision,
    )
    from fairlead.optimizer.features import (
        Attributes,
        Block,
        CallerEmbedding,
        Encoder,
        FeatureFileError,
        Featuriser,
        SurfaceFeatures,
        TaskLabel,
        TermCounter,
        TextProjection,
    )
    from fairlead.optimizer.persistence.event_log import read_log
    from fairlead.optimizer.persistence.snapshot import SnapshotError
    from fairlead.optimizer.policies.base import Policy
    from fairlead.optimizer.policies.epsilon_greedy import EpsilonGreedy
    from fairlead.optimizer.policies.fixed import Fixed
    from fairlead.optimizer.policies.greedy import Greedy
    from fairlead.optimizer.policies.linucb import LinUCB
    from fairlead.optimizer.policies.presets import policy_from_name
    from fairlead.optimizer.policies.squarecb import SquareCB
    from fairlead.optimizer.policies.thompson import Thompson
    from fairlead.optimizer.policies.uniform import Uniform
    from fairlead.optimizer.router import Router
    from fairlead.optimizer.types import (
        Budget,
        BudgetAlarm,
        CircuitChanged,
        Constraints,
        Context,
        Decision,
        DriftAlarm,
        EncoderFitted,
        Evidence,
        Feedback,
        ImplausibleOutcome,
        Metric,
        Objective,
        Outcome,
        Prices,
        Provider,
        Route,
        RouteChanged,
        Source,
    )

# In this order a name is looked up: modules that import little come first.
_MODULES: Final = (
    "types",
    "errors",
    "features",
    "persistence.event_log",
    "persistence.snapshot",
    "policies.presets",
    "router",
)

__all__ = [
    "Attributes",
    "Block",
    "Budget",
    "BudgetAlarm",
    "BudgetSpent",
    "CallerEmbedding",
    "CircuitChanged",
    "Constraints",
    "Context",
    "Decision",
    "DriftAlarm",
    "Encoder",
    "EncoderFitted",
    "EpsilonGreedy",
    "Evidence",
    "FeatureFileError",
    "Featuriser",
    "Feedback",
    "Fixed",
    "Greedy",
    "ImplausibleOutcome",
    "InvalidInput",
    "LinUCB",
    "Metric",
    "MissingExtra",
    "NoEligibleProvider",
    "Objective",
    "Outcome",
    "Policy",
    "Prices",
    "Provider",
    "Route",
    "RouteChanged",
    "Router",
    "SnapshotError",
    "Source",
    "SquareCB",
    "SurfaceFeatures",
    "TaskLabel",
    "TermCounter",
    "TextProjection",
    "Thompson",
    "Uniform",
    "UnknownDecision",
    "policy_from_name",
    "read_log",
]


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name in __all__:
        for module in _MODULES:
            home = import_module(f"{__name__}.optimizer.{module}")
            if hasattr(home, name):
                return globals().setdefault(name, getattr(home, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
