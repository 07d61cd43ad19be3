"""Sums of whole vectors in bases of 0.1.0, compared with sums of sketches of the same vectors."""

from collections.abc import Sequence

import numpy as np
import pytest

from fairlead.api.schemas.declarations import FeaturesIn, RouteIn
from fairlead.api.state.old_vectors import OldVectors
from fairlead.api.state.served_route import ServedRoute, declared_blocks
from fairlead.optimizer.features.base import fingerprint
from fairlead.optimizer.features.sketch import Sketch
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.statistics import ROW_UNIT, Statistics, quantise
from fairlead.optimizer.types import Context, Provider, Route
from fairlead.optimizer.types.arrays import FloatArray, State, joined, part, texts
from fairlead.optimizer.types.events import copy_with

MIXED = FeaturesIn(embedding=400)
FEATURES = [FeaturesIn(vector=300), MIXED]


def vectors_of(features: FeaturesIn, n: int = 60) -> FloatArray:
    width = sum(block.width for block in declared_blocks(features)[0])
    return np.random.default_rng(3).normal(size=(n, width))


def sums_of(vectors: FloatArray, targets: Sequence[float]) -> Statistics:
    statistics = Statistics(width=vectors.shape[1])
    for vector, target in zip(vectors, targets, strict=True):
        statistics.add(quantise(vector), target)
    return statistics


def old_arrays(vectors: FloatArray, targets: Sequence[float]) -> State:
    """Return a part of a router's arrays as 0.1.0 saved them."""
    size = vectors.shape[1] + 1
    belief = {
        **joined(current0=sums_of(vectors, targets).state(), past0=sums_of(vectors[:0], []).state()),
        "mean": np.zeros((1, size)),
        "cov": np.eye(size)[None],
        "noise": np.ones(1),
        "weights": np.ones(1),
        "centre": np.eye(1, size)[0],
        "level_variance": np.ones(1),
        "known": texts(["a"]),
        "names": texts(["a"]),
        "changes": np.array([-1]),
        "counts": np.array([len(vectors), 0, 7]),
        "due_at": np.array(1e9),
        "arrived": texts([]),
        "arrivals": np.zeros((0, 2), dtype=np.int64),
    }
    return joined(beliefs=joined(quality=belief)) | {
        "learning/ledger/features": vectors[:3].ravel(),
        "learning/ledger/widths": np.full(3, vectors.shape[1]),
        "pacing/features": vectors[3:5],
    }


@pytest.mark.parametrize("features", FEATURES)
def test_sums_of_whole_vectors_become_those_of_sketches(features: FeaturesIn) -> None:
    vectors = vectors_of(features)
    targets = np.random.default_rng(4).random(len(vectors)).tolist()
    old = OldVectors(features)
    assert old.are_wide
    arrays = old.router(old_arrays(vectors, targets))
    sketch = Sketch(declared_blocks(features)[0])
    sketches = np.array([sketch.apply(vector) for vector in vectors])
    expected = sums_of(sketches, targets).state()
    sums = part(arrays, "beliefs/quality/current0")
    # Rows are rounded to 2**-16 in both, but once before the sketch and once after it.
    step = len(vectors) * np.abs(sketches).max() * ROW_UNIT
    for name, unit in (("gram", 2.0**-32), ("moment", 2.0**-32)):
        np.testing.assert_allclose(sums[name] * unit, expected[name] * unit, rtol=0, atol=step)
    assert np.abs(expected["gram"] * 2.0**-32).max() > 1e3 * step
    np.testing.assert_array_equal(sums["gram"], sums["gram"].T)
    np.testing.assert_array_equal(sums["scalars"], expected["scalars"])
    assert part(arrays, "beliefs/quality/past0")["gram"].shape == sums["gram"].shape
    np.testing.assert_array_equal(arrays["learning/ledger/features"].reshape(3, -1), sketches[:3])
    np.testing.assert_array_equal(arrays["pacing/features"], sketches[3:5])
    np.testing.assert_allclose(old.total(vectors.sum(axis=0).tolist()), sketches.sum(axis=0), atol=1e-9)


def test_a_belief_is_fitted_to_the_sums_of_sketches() -> None:
    features, prior = FEATURES[0], {"prior_mean": 0.5, "prior_variance": 0.1}
    vectors = vectors_of(features, 300)
    targets = 0.5 + vectors[:, 0] / 10
    blocks = Sketch(declared_blocks(features)[0]).blocks
    restored, learned = LinearBelief(blocks, **prior), LinearBelief(blocks, **prior)
    restored.restore(
        part(OldVectors(features).router(old_arrays(vectors, targets.tolist())), "beliefs/quality")
    )
    learned.set_providers(["a"])
    rows = np.array([Sketch(declared_blocks(features)[0]).apply(vector) for vector in vectors])
    for seq, row in enumerate(rows):
        learned.add("a", quantise(row), float(targets[seq]), seq=seq)
    learned.refit()
    design = np.column_stack([np.ones(300), rows])
    assert np.ptp(learned.expect(design)) > 0.1
    np.testing.assert_allclose(restored.expect(design), learned.expect(design), atol=1e-4)


def new_route() -> ServedRoute:
    route = Route(name="wide", providers=(Provider(name="a"),))
    return ServedRoute(route, RouteIn(name="wide", providers=("a",), features=MIXED))


def test_a_task_may_have_decisions_with_whole_vectors_and_with_sketches() -> None:
    served, vectors = new_route(), vectors_of(MIXED, 2)
    sketch = Sketch(declared_blocks(MIXED)[0])
    for i, (vector, is_whole) in enumerate(zip(vectors, (True, False), strict=True)):
        context = Context(features=vector, task="sql")
        decision = served.router.decide(context, decision_id=f"d{i}", draw=0.5)
        if is_whole:
            decision = copy_with(decision, features=vector)
        served.learn_decision((decision, False))
    count, total, _ = served.tasks["sql"]
    assert count == 2
    np.testing.assert_array_equal(total, sketch.apply(vectors[0]) + sketch.apply(vectors[1]))


def test_only_the_encoder_of_0_1_0_is_taken_for_it() -> None:
    blocks, version = declared_blocks(MIXED)
    old = OldVectors(MIXED)
    identity = new_route().router._identity()["encoder"]
    assert old.identity(fingerprint(version, repr(blocks))) == identity
    assert old.identity("another") == "another"


def test_narrow_vectors_are_none_of_its_business() -> None:
    assert not OldVectors(FeaturesIn()).are_wide
    assert not OldVectors(FeaturesIn(vector=192)).are_wide
