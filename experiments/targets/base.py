"""Target policies and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.experiments.simulation.scenario import Goal
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.presets import policy_from_name
from fairlead.optimizer.types import FloatArray

COLUMN: Final = "column"
FIXED: Final = "fixed:"
PEER: Final = "linucb"
STATIC: Final = ("uniform", COLUMN)
NAMES: Final = "default, greedy, uniform, fixed:PROVIDER, linucb, squarecb[:GAMMA], FILE.yaml, column"


class Target(Protocol):
    """A policy that gives its probabilities for the parts of a log, which come in their order."""

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return probabilities of shape (n, k): rows sum to 1, and ineligible providers have 0.

        Those of a decision depend on the log before it, never on its own outcome or a later decision.
        """
        ...


class LearningTarget(Target, Protocol):
    """A target that learns: `Target.probabilities` answers each decision, then learns from it."""

    def answer(self, batch: LogBatch, row: int) -> FloatArray:
        """Return the probabilities for one decision of a part, shape (k,), from what was learned before."""
        ...

    def learn(self, batch: LogBatch, row: int) -> None:
        """Learn the logged choice and outcome of the decision that was answered last."""
        ...


NO_GOAL: Final = Goal()


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    """A target by name, with its goal and the delay of its rewards, in decisions.

    Plain data, so that any process can make the policy from it: see `targets.factory.make_target`.

    >>> TargetSpec(name="policies/support.yaml").label, TargetSpec(name="fixed:acme/small").learns
    ('support', False)
    """

    name: str
    goal: Goal = NO_GOAL
    feedback_delay: int = 0

    @property
    def learns(self) -> bool:
        """Whether the policy has to read the log in order; others answer for any part by itself."""
        return self.name not in STATIC and not self.name.startswith(FIXED)

    @property
    def is_file(self) -> bool:
        """Whether the name is that of a file which declares a router."""
        return self.name.endswith((".yaml", ".yml"))

    @property
    def label(self) -> str:
        """The name in reports, with the goal if the target has one of its own."""
        name = Path(self.name).stem if self.is_file else self.name
        return name if self.goal == NO_GOAL or not self.learns else f"{name} @ {self.goal}"


def target_specs(names: Sequence[str], goals: Sequence[Goal], *, feedback_delay: int) -> list[TargetSpec]:
    """Return a target per name and goal; those that do not learn, and files with their own, have none.

    >>> [spec.label for spec in target_specs(["uniform", "greedy"], [Goal(wtp_usd=0.01)], feedback_delay=0)]
    ['uniform', 'greedy @ wtp 0.01']
    """
    if feedback_delay < 0:
        raise InvalidInput(f"the feedback delay is {feedback_delay}: give a number of decisions, at least 0")
    specs = []
    for name in names:
        plain = TargetSpec(name=name, feedback_delay=feedback_delay)
        has_goal = plain.learns and not plain.is_file
        specs += [replace(plain, goal=goal) for goal in goals or [NO_GOAL]] if has_goal else [plain]
    return list(dict.fromkeys(specs))


def goals_of(
    log: Log, *, wtp_usd: float | None, budget_usd: float | None, frontier: int | None
) -> list[Goal]:
    """Return what targets aim at: one willingness to pay or budget, or ``frontier`` of the first.

    A frontier runs from a tenth of the cheapest and a hundred times the dearest provider's mean cost: there,
    cost is all that counts, and hardly counts.
    """
    if sum(value is not None for value in (wtp_usd, budget_usd, frontier)) > 1:
        raise InvalidInput("more than one of --wtp, --budget and --frontier is given: choose one")
    if frontier is None:
        return [Goal(wtp_usd=wtp_usd, budget_usd=budget_usd)]
    costs = [fact.mean_cost_usd for fact in log.facts if fact.mean_cost_usd > 0.0]
    if not costs:
        raise InvalidInput(f"{log.path} has no cost above 0, so there is no frontier: leave --frontier out")
    if not 2 <= frontier <= 100:
        raise InvalidInput(f"the frontier has {frontier} points: give a number from 2 to 100")
    grid = np.geomspace(0.1 * min(costs), 100.0 * max(costs), frontier)
    return [Goal(wtp_usd=float(f"{value:.3g}")) for value in grid.tolist()]


def check_target(spec: TargetSpec, log: Log) -> None:
    """Raise `InvalidInput` for a target that cannot be evaluated on this log."""
    if spec.is_file:
        if not Path(spec.name).is_file():
            raise InvalidInput(f"target {spec.name}: there is no such file: check the path")
    elif spec.name == COLUMN:
        if not log.has_targets:
            raise InvalidInput(
                f"{log.path} has no column target_propensities, which the target 'column' is read from: "
                "write it into the log"
            )
    elif spec.name.startswith(FIXED):
        if spec.name.removeprefix(FIXED) not in log.providers:
            raise InvalidInput(
                f"target {spec.name!r} names no provider of the log: choose among {', '.join(log.providers)}"
            )
    elif spec.name not in (*STATIC, PEER):
        try:
            policy_from_name(spec.name, providers=log.providers)
        except InvalidInput as error:
            raise InvalidInput(f"target {spec.name!r}: {error}; or one of {NAMES}") from None
