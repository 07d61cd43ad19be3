"""The routing algorithm: learns which provider to choose for each request, and how sure it is.

What to declare
    `Route`, `Provider`, `Prices`, `Objective`, `Budget`, `Constraints`, `Metric`, `Source`
What to ask, and what to report
    `Context` → `Decision`; `Outcome`, `Feedback`, `DriftAlarm`, `RouteChanged`
The router
    `Router`: `decide`, `learn`, `configure`, `save`, `load`; `read_log` reads the events that it logged
Features of a request
    `Encoder` of `SurfaceFeatures`, `TaskLabel`, `Attributes`, `CallerEmbedding`, `TextProjection`; each is a
    `Featuriser`, and fills one `Block` of the feature vector
Policies
    `Thompson` (the default), `SquareCB`, `EpsilonGreedy`, `LinUCB`, `Greedy`, `Uniform`, `Fixed`; each is a
    `Policy`, and `policy_from_name` makes one from its name
Errors
    `InvalidInput`, `NoEligibleProvider`, `UnknownDecision`, `SnapshotError`, `FeatureFileError`,
    `MissingExtra` (an optional dependency is not installed)
Folders
    `types` → `features` → `models` → `policies` → `selection` lead from a request to the logged distribution;
    each imports only those before it. `learning` turns events into statistics, `persistence` writes files.

Names are imported when they are first used, so importing the package alone costs next to nothing.

>>> from fairlead.optimizer import Context, Encoder, Feedback, Provider, Route, Router, TaskLabel
>>> route = Route(name="support-chat", providers=(Provider(name="small"), Provider(name="large")))
>>> router = Router(route, encoder=Encoder([TaskLabel(width=8)]))
>>> context = Context(task="billing")
>>> for number, (draw, value) in enumerate([(0.2, 0.9), (0.8, 0.3)]):
...     decision = router.decide(context, decision_id=str(number), draw=draw)
...     print(decision.selected, round(decision.propensity, 2))
...     router.learn(decision)
...     router.learn(Feedback(decision_id=decision.id, value=value))
small 0.5
large 0.5
>>> router.decide(context, decision_id="2", draw=0.2).probabilities.round(2)
array([0.83, 0.17])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fairlead.optimizer.errors import InvalidInput, MissingExtra, NoEligibleProvider, UnknownDecision
    from fairlead.optimizer.features import (
        Attributes,
        Block,
        CallerEmbedding,
        Encoder,
        FeatureFileError,
        Featuriser,
        SurfaceFeatures,
        TaskLabel,
        TextProjection,
    )
    from fairlead.optimizer.persistence.event_log import read_log
    from fairlead.optimizer.persistence.snapshot import SnapshotError
    from fairlead.optimizer.policies import (
        EpsilonGreedy,
        Fixed,
        Greedy,
        LinUCB,
        Policy,
        SquareCB,
        Thompson,
        Uniform,
        policy_from_name,
    )
    from fairlead.optimizer.router import Router
    from fairlead.optimizer.types import (
        Budget,
        Constraints,
        Context,
        Decision,
        DriftAlarm,
        Feedback,
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
    "policies",
    "router",
)

__all__ = [
    "Attributes",
    "Block",
    "Budget",
    "CallerEmbedding",
    "Constraints",
    "Context",
    "Decision",
    "DriftAlarm",
    "Encoder",
    "EpsilonGreedy",
    "FeatureFileError",
    "Featuriser",
    "Feedback",
    "Fixed",
    "Greedy",
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
            home = import_module(f"{__name__}.{module}")
            if hasattr(home, name):
                return globals().setdefault(name, getattr(home, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
