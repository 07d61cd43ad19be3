from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairlead.optimizer.features import Block
from fairlead.optimizer.features.base import MAX_WIDTH, checked_width, fingerprint, shown


@pytest.mark.parametrize("width", [0, -3, MAX_WIDTH + 1])
def test_width_out_of_range(width: int) -> None:
    with pytest.raises(ValueError, match=f"width is {width}, but .* from 1 to {MAX_WIDTH}"):
        checked_width(width)


@pytest.mark.parametrize("width", [True, 3.0, "32", None])
def test_width_that_does_not_count(width: Any) -> None:
    with pytest.raises(ValueError, match="counts coordinates: give a whole number"):
        checked_width(width)


def test_block_is_checked() -> None:
    with pytest.raises(ValueError, match="a block needs a name"):
        Block(name="", width=1, isotropic=True)
    with pytest.raises(ValueError, match="width of block 'task' is 0"):
        Block(name="task", width=0, isotropic=True)


def test_fingerprint_sees_content_order_shape_and_type() -> None:
    ones = np.ones(4)
    different = [
        fingerprint("a", "b"),
        fingerprint("b", "a"),
        fingerprint("ab"),
        fingerprint(ones),
        fingerprint(ones.reshape(2, 2)),
        fingerprint(ones.astype(np.float32)),
        fingerprint(ones.view(np.int64)),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint(ones, "a") == fingerprint(np.ones(4), "a")
    assert len(different[0]) == 12


def test_errors_do_not_repeat_large_values() -> None:
    assert len(shown("x" * 10_000_000)) < 100
    assert len(shown(list(range(100_000)))) < 100
    assert shown("gold") == "'gold'"
