"""Targets that learn nothing, and every target made from its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.log import Log, ProviderFacts
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.targets.base import COLUMN, PEER, Target, TargetSpec, check_target
from fairlead.experiments.targets.learning import (
    OwnBudget,
    RidgeTarget,
    RouterTarget,
    context_encoder,
    features_of,
)
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Block
from fairlead.optimizer.persistence.route_codec import from_json
from fairlead.optimizer.policies.presets import policy_from_name
from fairlead.optimizer.types import Budget, FloatArray, Objective, Prices, Provider, Route

_MOST_BYTES = 1 << 30


class UniformTarget:
    """Every eligible provider with equal probability."""

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return 1 / (number of eligible providers)."""
        shares: FloatArray = batch.eligible / batch.eligible.sum(axis=1, keepdims=True)
        return shares


class FixedTarget:
    """Always one provider, or the first eligible one if it is not eligible: providers are ordered by cost."""

    def __init__(self, column: int) -> None:
        self._column = column

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return 1 for the provider, 0 for the others."""
        candidates = batch.eligible[:, self._column]
        chosen = np.where(candidates, self._column, batch.eligible.argmax(axis=1))
        probabilities = np.zeros(batch.eligible.shape)
        probabilities[np.arange(len(batch)), chosen] = 1.0
        return probabilities


class ColumnTarget:
    """A policy of the user's own, whose probabilities are a column of the log."""

    def probabilities(self, batch: LogBatch) -> FloatArray:
        """Return the column `target_propensities`, scaled to a sum of exactly 1."""
        logged = batch.target_propensities
        if logged is None:
            raise ValueError("the log has no target_propensities: check the target against the log first")
        scaled: FloatArray = logged / logged.sum(axis=1, keepdims=True)
        return scaled


def make_target(spec: TargetSpec, log: Log, reader: Reader) -> Target:
    """Make the policy that a name stands for; one that learns has learned nothing yet."""
    check_target(spec, log)
    if spec.name == "uniform":
        return UniformTarget()
    if spec.name == COLUMN:
        return ColumnTarget()
    if spec.name.startswith("fixed:"):
        return FixedTarget(log.providers.index(spec.name.removeprefix("fixed:")))
    if spec.name == PEER:
        rows, starts = _all_features(log, reader)
        prices = [list_price(fact) for fact in log.facts]
        return RidgeTarget(
            rows, starts=starts, goal=spec.goal, prices=prices, feedback_delay=spec.feedback_delay
        )
    if spec.is_file:
        return _declared(Path(spec.name), spec, log)
    budget = spec.goal.budget_usd
    route = Route(
        name="replay",
        providers=tuple(Provider(name=fact.name, prices=list_price(fact)) for fact in log.facts),
        objective=Objective(willingness_to_pay_usd=spec.goal.wtp_usd),
    )
    return RouterTarget(
        route,
        names=log.providers,
        policy=policy_from_name(spec.name, providers=log.providers),
        blocks=_blocks(log),
        own_budget=None if budget is None else OwnBudget(Budget(usd_per_request=budget)),
        feedback_delay=spec.feedback_delay,
    )


def list_price(fact: ProviderFacts) -> Prices | None:
    """Return what a price list says before the first request: the mean cost of a call, to one digit.

    None if the log has no cost of the provider. It does not look at quality; see
    `outcome_table.price_list`.
    """
    if not fact.mean_cost_usd >= 0.0:
        return None
    usd = float(f"{fact.mean_cost_usd:.0e}")
    return Prices(input_usd_per_mtok=0.0, output_usd_per_mtok=0.0, per_call_usd=usd)


def _blocks(log: Log, declared: Sequence[Any] = ()) -> tuple[Block, ...]:
    """Return the blocks of the log's features: those declared, or one with a width per coordinate."""
    if not log.width:
        return ()
    if not declared:
        return (Block("features", log.width, isotropic=False),)
    blocks = tuple(from_json(Block, block, name=f"blocks[{i}]") for i, block in enumerate(declared))
    width = sum(block.width for block in blocks)
    if width != log.width:
        raise InvalidInput(
            f"the blocks are {width} wide and the features of {log.path} {log.width}: "
            "declare those of the log"
        )
    return blocks


def _declared(path: Path, spec: TargetSpec, log: Log) -> Target:
    """Make the router that a YAML file declares: the fields of a route, its policy, blocks of features."""
    try:
        declaration = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput(
            f"target {path} cannot be read as YAML ({' '.join(str(error).split())}): mend it"
        ) from None
    if not isinstance(declaration, dict):
        raise InvalidInput(
            f"target {path} declares no router: write the fields of a route, as in docs/replay.md"
        )
    policy, blocks = str(declaration.pop("policy", "default")), declaration.pop("blocks", [])
    try:
        route = from_json(Route, declaration)
        if not {provider.name for provider in route.providers} & set(log.providers):
            raise InvalidInput(
                f"none of its providers is in the log: choose among {', '.join(log.providers)}"
            )
        return RouterTarget(
            route,
            names=log.providers,
            policy=policy_from_name(policy, providers=[provider.name for provider in route.providers]),
            blocks=_blocks(log, blocks),
            feedback_delay=spec.feedback_delay,
        )
    except InvalidInput as error:
        raise InvalidInput(f"target {path}: {error}") from None


def _all_features(log: Log, reader: Reader) -> tuple[FloatArray, dict[int, int]]:
    """Features of all decisions, and where each part begins, by its first row's number in the file."""
    encoder = context_encoder()
    width = log.width or encoder.width
    if log.rows * width * 8 > _MOST_BYTES:
        raise InvalidInput(
            f"linucb keeps the features of all {log.rows:,} decisions in memory, "
            f"{log.rows * width * 8 / 1e9:.1f} GB: judge a shorter log, or greedy instead"
        )
    parts, starts, start = [], {}, 0
    for part in log.parts():
        batch = reader.read(part, contexts=True)
        if len(batch):
            parts.append(features_of(batch, encoder))
            starts[int(batch.row[0])] = start
            start += len(batch)
    return np.vstack(parts), starts
