"""What every model that learns must keep: the same observations end in the same state, however they come."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from fairlead.optimizer.features.base import Block
from fairlead.optimizer.models.failure import FailureBelief
from fairlead.optimizer.models.latency import BUCKET, LatencyBelief
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.statistics import quantise
from tests.optimizer.models.additive_model import Learner

NAMES = ("a", "b")
BLOCKS = (Block("context", 2, isotropic=False),)


class Case(NamedTuple):
    """A model, what it observes, and how: ``add(model, observation, sign)``."""

    make: Callable[[], Learner]
    observe: Callable[[np.random.Generator, int], tuple[Any, ...]]
    add: Callable[[Any, tuple[Any, ...], int], None]
    predict: Callable[[Any], Any]


def linear(target_bits: int) -> Case:
    def make() -> LinearBelief:
        found = LinearBelief(BLOCKS, prior_mean=0.5, prior_variance=0.1, target_bits=target_bits)
        found.set_providers(NAMES)
        found.changes["a"] = 100
        return found

    def predict(found: LinearBelief) -> Any:
        found.refit()
        return found.predict(np.array([[1.0, 0.3, -0.2]]))

    return Case(
        make,
        lambda rng, i: (NAMES[i % 2], quantise(rng.normal(size=2)), float(rng.random()), i),
        lambda found, one, sign: found.add(one[0], one[1], one[2], seq=one[3], sign=sign),
        predict,
    )


def failed(found: FailureBelief, one: tuple[Any, ...], sign: int) -> None:
    (found.add if sign > 0 else found.remove)(*one)


CASES = {
    "quality": linear(16),
    "cost": linear(12),
    "latency": Case(
        LatencyBelief,
        lambda rng, i: (float(rng.lognormal()), i * BUCKET // 40),
        lambda found, one, sign: found.add(one[0], one[1], sign=sign),
        lambda found: (found.mean_s(), found.quantile_s()),
    ),
    "failure": Case(
        FailureBelief,
        lambda rng, i: (i, bool(rng.random() < 0.2)),
        failed,
        lambda found: found.probability(),
    ),
}


def sums(found: Any) -> dict[str, np.ndarray]:
    """The additive part of a state: all of it, but for what is computed from it at times of its own."""
    state = found.statistics() if isinstance(found, LinearBelief) else {"own": found.state()}
    return {f"{part}/{name}": array for part, arrays in state.items() for name, array in arrays.items()}


def assert_same(one: Any, other: Any) -> None:
    left, right = sums(one), sums(other)
    assert left.keys() == right.keys()
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)


def observed(case: Case, n: int = 200) -> tuple[Any, list[tuple[Any, ...]]]:
    rng, found = np.random.default_rng(6), case.make()
    seen = [case.observe(rng, i) for i in range(n)]
    for one in seen:
        case.add(found, one, 1)
    return found, seen


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_any_order_with_repeats_taken_back_ends_in_the_same_state(case):
    found, seen = observed(case)
    signed = [(one, 1) for one in seen] + [(one, sign) for one in seen[::3] for sign in (1, -1)]
    again = case.make()
    # What is taken back has been added before it.
    for place in np.random.default_rng(1).permutation(len(seen)):
        case.add(again, signed[place][0], 1)
    for one, sign in signed[len(seen) :]:
        case.add(again, one, sign)
    assert_same(again, found)
    np.testing.assert_array_equal(case.predict(again), case.predict(found))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_replicas_merge_to_what_one_would_have_learned(case):
    found, seen = observed(case)
    for parts in ((seen[::2], seen[1::2]), (seen[150:], seen[:150]), (seen, [])):
        replicas = []
        for part in parts:
            replicas.append(case.make())
            for one in part:
                case.add(replicas[-1], one, 1)
        replicas[0].merge(replicas[1])
        assert_same(replicas[0], found)
        np.testing.assert_array_equal(case.predict(replicas[0]), case.predict(found))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_state_that_is_restored_goes_on_alike_and_is_a_copy(case):
    found, seen = observed(case)
    state, again = found.state(), case.make()
    again.restore(state)
    for one in seen[:20]:
        case.add(found, one, 1)
        case.add(again, one, 1)
    assert_same(again, found)
    np.testing.assert_array_equal(case.predict(again), case.predict(found))
    third = case.make()
    third.restore(state)
    fresh, _ = observed(case)
    assert_same(third, fresh)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_learned_predicts_without_observations(case):
    first, second = case.predict(case.make()), case.predict(case.make())
    np.testing.assert_array_equal(first, second)
