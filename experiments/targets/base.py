"""What a target policy is, and how one is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from fairlead.experiments.goals import Goal
from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.log import Log
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.presets import policy_from_name
from fairlead.optimizer.types import FloatArray

COLUMN: Final = "column"
PEER: Final = "linucb"
PLAIN: Final = ("uniform", COLUMN)
NAMES: Final = "default, greedy, uniform, fixed:PROVIDER, linucb, squarecb[:GAMMA], FILE.yaml, column"


class Target(Protocol):
    """Gives the probabilities of a policy for the parts of a log, which come in its order."""

    def probabilities(self, columns: LogBatch) -> FloatArray:
        """Shape (n, k): each row sums to 1 and is 0 where a provider was not eligible.

        Those of a decision depend on what the log says before it and never on what came of it or of a later
        one.
        """
        ...


class LearningTarget(Target, Protocol):
    """A target that learns, decision by decision: `Target.probabilities` answers and learns each in turn."""

    def answer(self, columns: LogBatch, row: int) -> FloatArray:
        """Its probabilities for one decision of a part, shape (k,), by what it has learned so far."""
        ...

    def learn(self, columns: LogBatch, row: int) -> None:
        """Learn what came of the decision that was answered last."""
        ...


NO_GOAL: Final = Goal()


@dataclass(frozen=True, kw_only=True)
class TargetSpec:
    """A target by name, with the goal it aims at and how late it hears a reward, in decisions.

    Plain data, so that any process can make the policy from it: see `targets.make.make_target`.
    """

    name: str
    goal: Goal = NO_GOAL
    feedback_delay: int = 0

    @property
    def learns(self) -> bool:
        """Whether the policy has to see the log in order; others answer for any part by itself."""
        return self.name not in PLAIN and not self.name.startswith("fixed:")

    @property
    def is_file(self) -> bool:
        """Whether the name is that of a file which declares a router."""
        return self.name.endswith((".yaml", ".yml"))

    @property
    def label(self) -> str:
        """What reports call it: the name, and its goal where it has one of its own."""
        name = Path(self.name).stem if self.is_file else self.name
        return name if self.goal == NO_GOAL or not self.learns else f"{name} @ {self.goal}"


def target_specs(names: Sequence[str], goals: Sequence[Goal], *, feedback_delay: int) -> list[TargetSpec]:
    """One target per name and goal; what does not learn, and a file that states its own, has no goal."""
    if feedback_delay < 0:
        raise InvalidInput(f"the feedback delay is {feedback_delay}: give a number of decisions, at least 0")
    found: dict[TargetSpec, None] = {}
    for name in names:
        for goal in goals or [NO_GOAL]:
            spec = TargetSpec(name=name, goal=goal, feedback_delay=feedback_delay)
            found[
                spec
                if spec.learns and not spec.is_file
                else TargetSpec(name=name, feedback_delay=feedback_delay)
            ] = None
    return list(found)


def goals_of(
    log: Log, *, wtp_usd: float | None, budget_usd: float | None, frontier: int | None
) -> list[Goal]:
    """What targets aim at: one willingness to pay or budget, or ``frontier`` of the first.

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
    """Raise `InvalidInput` for a target that this log cannot be judged by."""
    if spec.is_file:
        if not Path(spec.name).is_file():
            raise InvalidInput(f"target {spec.name}: there is no such file: check the path")
    elif spec.name == COLUMN:
        if not log.has_targets:
            raise InvalidInput(
                f"{log.path} has no column target_propensities, which the target 'column' is read from: "
                "write it "
                "into the log"
            )
    elif spec.name.startswith("fixed:"):
        if spec.name.removeprefix("fixed:") not in log.providers:
            raise InvalidInput(
                f"target {spec.name!r} names no provider of the log: choose among {', '.join(log.providers)}"
            )
    elif spec.name not in (*PLAIN, PEER):
        try:
            policy_from_name(spec.name, providers=log.providers)
        except InvalidInput as error:
            raise InvalidInput(f"target {spec.name!r}: {error}; or one of {NAMES}") from None
