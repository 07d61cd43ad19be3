"""Checks that every model that learns must pass; a new one joins by an entry in `test_models.CASES`.

The same observations end in the same state, in whatever order they come, and however often they are
repeated and taken back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.types.arrays import State

Observation = tuple[Any, ...]


class Learner(Protocol):
    """A model that is a function of the set of its observations, and of nothing else.

    Each counts observations with an ``add`` of its own signature and takes them back; the same set of them,
    in any order, ends in the same additive state.
    """

    def state(self) -> State:
        """Everything that predictions depend on, as plain arrays."""

    def restore(self, state: State) -> None:
        """Become what gave `state`."""


class Case(NamedTuple):
    """A model, what it observes, and how: ``add(model, observation, sign)``."""

    create: Callable[[], Learner]
    observe: Callable[[np.random.Generator, int], Observation]
    add: Callable[[Any, Observation, int], None]
    predict: Callable[[Any], Any]

    def learn(self, model: Learner, observations: list[Observation]) -> Learner:
        """Add all observations."""
        for observation in observations:
            self.add(model, observation, 1)
        return model

    def learned(self, n: int = 200) -> tuple[Learner, list[Observation]]:
        """Return a model that has learned n observations, and those."""
        rng = np.random.default_rng(6)
        observations = [self.observe(rng, i) for i in range(n)]
        return self.learn(self.create(), observations), observations


def sums(model: Any) -> dict[str, np.ndarray]:
    """Return the additive part of a state: all but what is computed from it at times of its own."""
    state = model.statistics() if isinstance(model, LinearBelief) else {"own": model.state()}
    return {f"{part}/{name}": array for part, arrays in state.items() for name, array in arrays.items()}


def assert_same(case: Case, first: Learner, second: Learner) -> None:
    left, right = sums(first), sums(second)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    np.testing.assert_array_equal(case.predict(first), case.predict(second))


def check_any_order_with_repeats_taken_back_ends_in_the_same_state(case: Case) -> None:
    model, observations = case.learned()
    again = case.create()
    for i in np.random.default_rng(1).permutation(len(observations)):
        case.add(again, observations[i], 1)
    for observation in observations[::3]:
        for sign in (1, -1):
            case.add(again, observation, sign)
    assert_same(case, again, model)


def check_a_state_that_is_restored_goes_on_alike_and_is_a_copy(case: Case) -> None:
    model, observations = case.learned()
    state, again, third = model.state(), case.create(), case.create()
    again.restore(state)
    for each in (model, again):
        case.learn(each, observations[:20])
    assert_same(case, again, model)
    third.restore(state)
    assert_same(case, third, case.learned()[0])


def check_nothing_learned_predicts_without_observations(case: Case) -> None:
    np.testing.assert_array_equal(case.predict(case.create()), case.predict(case.create()))


CHECKS: Final[tuple[Callable[[Case], None], ...]] = (
    check_any_order_with_repeats_taken_back_ends_in_the_same_state,
    check_a_state_that_is_restored_goes_on_alike_and_is_a_copy,
    check_nothing_learned_predicts_without_observations,
)
