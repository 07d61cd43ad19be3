"""The one place that turns beliefs into the distribution that is logged, and draws from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.selection.exploration import Newcomers
from fairlead.optimizer.selection.shadow_price import Pacing
from fairlead.optimizer.types import FloatArray


def distribution(
    policy: Policy,
    utility: FloatArray,
    spread: FloatArray,
    *,
    names: Sequence[str],
    cost_usd: FloatArray,
    ruled_out: Mapping[str, str],
    newcomers: Newcomers,
    pacing: Pacing,
) -> tuple[FloatArray, FloatArray]:
    """The policy's probabilities with newcomers' quotas and floors, and the floors, each of shape (k,).

    ``utility`` and ``spread`` (1, k) are those of one request; ``utility`` is changed. At least one of the
    providers is not ruled out.
    """
    floor = pacing.floor
    if ruled_out:
        out = np.array([name in ruled_out for name in names])
        utility[0, out] = -np.inf
        floor = np.where(out, 0.0, floor)
    if newcomers.names:
        # Newcomers get their quota below; the policy shares the rest among the others, if there are any.
        new = np.array([name in newcomers.names for name in names])
        if np.isfinite(utility[0, ~new]).any():
            utility[0, new] = -np.inf
    probabilities = policy.probabilities(utility, spread)[0]
    if newcomers.names:
        probabilities = newcomers.with_quotas(probabilities, names, cost_usd, ruled_out, pacing.target_usd)
    if pacing.exploring:
        probabilities = probabilities * (1.0 - floor.sum()) + floor
    return probabilities, floor


def sample(probabilities: FloatArray, draw: float) -> int:
    """The place whose part of the distribution ``draw`` in [0, 1) falls into; never one of probability 0."""
    if not 0.0 <= draw < 1.0:
        raise InvalidInput(f"draw is {draw!r}: give a random number in [0, 1), uniform, for each decision")
    # A loop over a list: for some twenty numbers that is quicker than three calls on arrays.
    chances = probabilities.tolist()
    left = draw * sum(chances)
    for place, chance in enumerate(chances):
        left -= chance
        if left < 0.0 < chance:
            return place
    return int(chances.index(max(chances)))


def outside(names: Sequence[str], standing: frozenset[str], newcomers: Newcomers) -> list[bool]:
    """Among whom the policy does not choose, whatever the request: those ruled out, and newcomers.

    Newcomers without anybody else are chosen among; and where nobody is left at all, no price can help.
    """
    for shut in (standing | newcomers.names, standing):
        if not set(names) <= shut:
            return [name in shut for name in names]
    return [False for _ in names]
