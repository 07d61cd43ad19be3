"""Checks that every featuriser must pass; a new one joins by a line in `test_featurisers.FEATURISERS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from fairlead.optimizer.features import BOUND, Featuriser
from fairlead.optimizer.types import Context


def check_shape(featuriser: Featuriser, requests: Sequence[Context]) -> None:
    for n in (0, 1, len(requests)):
        coordinates = featuriser.transform(requests[:n])
        assert coordinates.shape == (n, featuriser.block.width)
        assert coordinates.dtype == np.float64


def check_finite_within_bounds(featuriser: Featuriser, requests: Sequence[Context]) -> None:
    coordinates = featuriser.transform(requests)
    assert np.isfinite(coordinates).all()
    assert np.abs(coordinates).max(initial=0.0) <= BOUND


def check_rows_are_independent(featuriser: Featuriser, requests: Sequence[Context]) -> None:
    """Compare a request alone, among others, and in another order, to the last bit."""
    together = featuriser.transform(requests)
    alone = np.vstack([featuriser.transform([request]) for request in requests])
    backwards = featuriser.transform(requests[::-1])[::-1]
    assert together.tobytes() == alone.tobytes() == backwards.tobytes()


def check_transform_leaves_no_trace(featuriser: Featuriser, requests: Sequence[Context]) -> None:
    """Neither repeating a transform nor writing into what was returned changes anything."""
    version, before = featuriser.version, featuriser.transform(requests)
    kept = before.copy()
    before[:] = np.nan
    for array in featuriser.state().values():
        array[...] = 0
    assert featuriser.transform(requests).tobytes() == kept.tobytes()
    assert featuriser.version == version


def check_state_is_plain_arrays(featuriser: Featuriser, requests: Sequence[Context]) -> None:
    for name, array in featuriser.state().items():
        assert isinstance(name, str)
        assert type(array) is np.ndarray
        assert array.dtype.kind in "fiu"
        assert not array.dtype.hasobject


def check_version_follows_state(first: Featuriser, second: Featuriser) -> None:
    """Two featurisers of one kind share a version exactly if they share their state."""
    assert first.block.name == second.block.name
    assert (first.version == second.version) == _same_state(first, second)


def check_nothing_known_gives_zeros(featuriser: Featuriser, requests: Sequence[Context]) -> None:
    """Expect zeros for a request without facts, but for a coordinate that says so."""
    coordinates = featuriser.transform([Context()])[0]
    assert np.count_nonzero(coordinates) <= (featuriser.block.name == "surface")


def _same_state(first: Featuriser, second: Featuriser) -> bool:
    ours, theirs = first.state(), second.state()
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and np.array_equal(ours[name], theirs[name]) for name in ours
    )


FOR_ANY_REQUESTS: Final[tuple[Callable[[Featuriser, Sequence[Context]], None], ...]] = (
    check_shape,
    check_finite_within_bounds,
    check_rows_are_independent,
)
CHECKS: Final = (
    *FOR_ANY_REQUESTS,
    check_transform_leaves_no_trace,
    check_state_is_plain_arrays,
    check_nothing_known_gives_zeros,
)
