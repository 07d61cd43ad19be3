"""What every model that learns can do beside counting its own kind of observation."""

from __future__ import annotations

from typing import Protocol, Self

from fairlead.optimizer.types.arrays import State


class Learner(Protocol):
    """A model that is a function of the set of its observations, and of nothing else.

    Each counts observations with an ``add`` of its own signature and takes them back; the same set of them,
    in any order and however it was spread over replicas, ends in the same additive state.
    """

    def merge(self, other: Self) -> None:
        """Add all that another replica learned."""

    def state(self) -> State:
        """Everything that predictions depend on, as plain arrays."""

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
