"""Checks of each part of a decision, before a router learns from it."""

from __future__ import annotations

import numpy as np

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import InvalidInput, finite, plain_text
from fairlead.optimizer.types.arrays import BOUND, FloatArray
from fairlead.optimizer.types.events import LATEST_S, MAX_TOKENS, Decision, check_tokens_and_time


def check_decision(decision: Decision) -> None:
    """Raise `InvalidInput` for a decision whose parts do not fit together or are not finite."""
    if _is_sound(decision, bound=np.inf):
        return
    n = len(decision.providers)
    if decision.selected not in decision.providers:
        raise InvalidInput(f"{decision.selected!r} is selected and not one of its providers")
    shapes = {"probabilities": (n,), "floor": (n,), "expected": (6, n), "features": (decision.features.size,)}
    for name, shape in shapes.items():
        array: FloatArray = getattr(decision, name)
        if array.shape != shape or array.dtype != np.float64:
            raise InvalidInput(f"{name} is {array.dtype} of shape {array.shape}, not float64 of {shape}")
        # An expectation that is NaN is unknown; nothing else may be NaN.
        bad = np.isinf(array) if name == "expected" else ~np.isfinite(array)
        if bad.any():
            raise InvalidInput(f"{name} holds a number that is not finite")


def _is_sound(decision: Decision, *, bound: float) -> bool:
    """Test quickly what every ordinary decision passes and nothing else; other checks say what is wrong."""
    k = len(decision.providers)
    probabilities, floor, features = decision.probabilities, decision.floor, decision.features
    return bool(
        decision.selected in decision.providers
        and probabilities.dtype == floor.dtype == features.dtype == decision.expected.dtype == np.float64
        and probabilities.shape == floor.shape == (k,)
        and decision.expected.shape == (6, k)
        and features.ndim == 1
        and _is_finite(features, bound, probabilities, floor, decision.expected)
    )


@compiled
def _is_finite(
    features: FloatArray, bound: float, probabilities: FloatArray, floor: FloatArray, expected: FloatArray
) -> bool:
    """Whether all are finite, features within the bound, and nothing that is expected is infinite."""
    for x in features:
        if not (abs(x) <= bound and abs(x) < np.inf):
            return False
    for i in range(len(probabilities)):
        if not (abs(probabilities[i]) < np.inf and abs(floor[i]) < np.inf):
            return False
    for row in expected:
        for x in row:
            if abs(x) == np.inf:
                return False
    return True


def check_learnable(decision: Decision, *, width: int) -> None:
    """Raise `InvalidInput` for a decision from which a router of this feature width must not learn."""
    if (
        _is_sound(decision, bound=BOUND)
        and len(decision.features) == width
        and type(decision.seq) is int
        and 0 <= decision.seq <= 2**53
        and 0 <= decision.input_tokens <= MAX_TOKENS
        and (decision.at_s is None or 0 <= decision.at_s <= LATEST_S)
        and isinstance(decision.id, str)
        and decision.id.isascii()
        and "\0" not in decision.id
    ):
        return
    check_decision(decision)
    plain_text("decision id", decision.id)
    finite("seq", decision.seq, low=0, high=2**53, remedy="give the decision's seq, counted from 0")
    check_tokens_and_time(decision.input_tokens, decision.at_s)
    features = decision.features
    if len(features) != width:
        raise InvalidInput(
            f"decision {decision.id!r} has {len(features)} features of encoder {decision.encoder_version!r}, "
            f"but {width} are needed: encode it again, or rebuild with a router of that encoder"
        )
    if width and max(features.max(), -features.min()) > BOUND:
        raise InvalidInput(f"features of decision {decision.id!r} reach beyond ±{BOUND:g}: clip them first")
