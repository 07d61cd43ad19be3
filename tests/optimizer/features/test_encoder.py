from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fairlead.optimizer.features import (
    Attributes,
    Block,
    CallerEmbedding,
    Encoder,
    Featuriser,
    SurfaceFeatures,
    TaskLabel,
)
from fairlead.optimizer.types import Context

from .requests import EMBEDDING_WIDTH, REQUESTS

FIXED = Block(name="fixed", width=2, isotropic=True)


@dataclass(frozen=True)
class Fixed:
    """Gives the same row to every request."""

    row: Sequence[float]
    block: Block = FIXED
    version: str = "fixed-1"

    def transform(self, contexts: Sequence[Context]) -> NDArray[np.float64]:
        return np.tile(np.array(self.row, dtype=np.float64), (len(contexts), 1))

    def state(self) -> dict[str, NDArray[Any]]:
        return {"row": np.array(self.row)}


def encoder() -> Encoder:
    return Encoder(
        [SurfaceFeatures(), TaskLabel(width=8), Attributes(), CallerEmbedding(width=EMBEDDING_WIDTH)]
    )


def test_blocks_stand_side_by_side() -> None:
    whole = encoder()
    assert [block.name for block in whole.blocks] == ["surface", "task", "attributes", "embedding"]
    assert whole.width == 24 + 8 + 32 + EMBEDDING_WIDTH
    vectors = whole.encode_many(REQUESTS)
    np.testing.assert_array_equal(vectors[:, whole.slices["task"]], TaskLabel(width=8).transform(REQUESTS))
    np.testing.assert_array_equal(vectors[:, whole.slices["surface"]], SurfaceFeatures().transform(REQUESTS))
    assert [part.stop - part.start for part in whole.slices.values()] == [24, 8, 32, EMBEDDING_WIDTH]


def test_one_and_many_agree_to_the_last_bit() -> None:
    whole = encoder()
    many = whole.encode_many(REQUESTS)
    assert many.flags.c_contiguous and many.dtype == np.float64
    for request, row in zip(REQUESTS, many, strict=True):
        single = whole.encode(request)
        assert single.shape == (whole.width,) and single.flags.c_contiguous
        assert single.tobytes() == row.tobytes()


def test_without_featurisers() -> None:
    nothing = Encoder([])
    assert nothing.width == 0 and nothing.blocks == () and nothing.slices == {}
    assert nothing.encode(REQUESTS[0]).shape == (0,)
    assert nothing.encode_many(REQUESTS).shape == (len(REQUESTS), 0)


def test_no_requests() -> None:
    assert encoder().encode_many([]).shape == (0, encoder().width)


def test_version_follows_parts_and_order() -> None:
    different: list[list[Featuriser]] = [
        [],
        [SurfaceFeatures()],
        [SurfaceFeatures(), TaskLabel()],
        [TaskLabel(), SurfaceFeatures()],
        [SurfaceFeatures(), TaskLabel(width=8)],
        [Fixed([1.0, 2.0])],
        [Fixed([1.0, 2.0], version="fixed-2")],
        [Fixed([1.0, 2.0], block=Block(name="fixed", width=2, isotropic=False))],
    ]
    versions = [Encoder(parts).version for parts in different]
    assert len(set(versions)) == len(versions)
    assert encoder().version == encoder().version


def test_slices_cannot_be_spoilt() -> None:
    whole = encoder()
    whole.slices.clear()
    assert "task" in whole.slices


def test_out_of_bounds_is_cut() -> None:
    np.testing.assert_array_equal(Encoder([Fixed([1e300, -9.0])]).encode(REQUESTS[0]), [8.0, -8.0])


def test_same_name_twice() -> None:
    with pytest.raises(ValueError, match=r"two blocks are named 'task', .*: drop one"):
        Encoder([TaskLabel(), TaskLabel(width=8)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match=r"featuriser 'fixed' gave .* not finite at its coordinate 1,"):
        Encoder([TaskLabel(), Fixed([0.0, bad])]).encode(REQUESTS[0])


def test_wrong_shape() -> None:
    with pytest.raises(ValueError, match=r"featuriser 'fixed' gave shape \(1, 3\) .* its block is 2 wide"):
        Encoder([Fixed([1.0, 2.0, 3.0])]).encode(REQUESTS[0])
