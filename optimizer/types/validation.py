"""Checks of each part of a request and a decision, before a router answers or learns."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fairlead.optimizer.compiled import compiled
from fairlead.optimizer.errors import InvalidInput, finite, plain_text
from fairlead.optimizer.types.arrays import BOUND, FloatArray
from fairlead.optimizer.types.events import LATEST_S, MAX_TOKENS, Context, Decision


def check_request(context: Context, *, at_s: float | None) -> float:
    """Return the input tokens of a request; raises `InvalidInput` for a length or a time that none has."""
    tokens = context.tokens
    _check_tokens_and_time(tokens, at_s)
    return tokens


def _check_tokens_and_time(tokens: float, at_s: float | None) -> None:
    if 0 <= tokens <= MAX_TOKENS and (at_s is None or 0 <= at_s <= LATEST_S):
        return
    finite("input_tokens", tokens, low=0, high=MAX_TOKENS, remedy="give a count of tokens")
    if at_s is not None:
        finite("at_s", at_s, low=0, high=LATEST_S, remedy="give seconds since an epoch, or nothing")


@lru_cache(maxsize=64)
def _zeros(size: int) -> FloatArray:
    return np.zeros(size)


def check_decision(decision: Decision) -> None:
    """Raise `InvalidInput` for a decision whose parts do not fit together or are not finite."""
    n = len(decision.providers)
    if decision.selected not in decision.providers:
        raise InvalidInput(f"{decision.selected!r} is selected and not one of its providers")
    shapes = {"probabilities": (n,), "floor": (n,), "expected": (6, n), "features": (decision.features.size,)}
    for name, shape in shapes.items():
        array: FloatArray = getattr(decision, name)
        if array.shape != shape or array.dtype != np.float64:
            raise InvalidInput(f"{name} is {array.dtype} of shape {array.shape}, not float64 of {shape}")
        # A product with zeros is finite only if all of it is, is quick, and cannot overflow.
        if array.size and math.isfinite(np.dot(array.ravel(), _zeros(array.size))):
            continue
        # In what is expected, NaN means that something is not known; elsewhere it means nothing.
        bad = np.isinf(array) if name == "expected" else ~np.isfinite(array)
        if bad.any():
            raise InvalidInput(f"{name} holds a number that is not finite")


@compiled
def _bounded(features: FloatArray, expected: FloatArray, chances: FloatArray, floor: FloatArray) -> bool:
    """Whether features are within bounds, chances finite, and nothing that is expected is infinite."""
    for i in range(len(features)):
        if not abs(features[i]) <= BOUND:
            return False
    for i in range(len(chances)):
        if not (abs(chances[i]) < np.inf and abs(floor[i]) < np.inf):
            return False
    for i in range(expected.shape[0]):
        for j in range(expected.shape[1]):
            if abs(expected[i, j]) == np.inf:
                return False
    return True


def _sound(decision: Decision, width: int) -> bool:
    """Test quickly what every ordinary decision passes and nothing else; other checks say what is wrong."""
    k = len(decision.providers)
    chances, floor, features = decision.probabilities, decision.floor, decision.features
    return bool(
        decision.selected in decision.providers
        and chances.dtype == floor.dtype == features.dtype == decision.expected.dtype == np.float64
        and chances.shape == floor.shape == (k,)
        and decision.expected.shape == (6, k)
        and features.shape == (width,)
        and _bounded(features, decision.expected, chances, floor)
        and type(decision.seq) is int
        and 0 <= decision.seq <= 2**53
        and 0 <= decision.input_tokens <= MAX_TOKENS
        and (decision.at_s is None or 0 <= decision.at_s <= LATEST_S)
        and isinstance(decision.id, str)
        and decision.id.isascii()
        and "\0" not in decision.id
    )


def check_learnable(decision: Decision, *, width: int) -> None:
    """Raise `InvalidInput` for a decision from which a router of this feature width must not learn."""
    if _sound(decision, width):
        return
    check_decision(decision)
    plain_text("decision id", decision.id)
    finite("order", decision.seq, low=0, high=2**53, remedy="give the decision's seq, counted from 0")
    _check_tokens_and_time(decision.input_tokens, decision.at_s)
    features = decision.features
    if len(features) != width:
        raise InvalidInput(
            f"decision {decision.id!r} has {len(features)} features of encoder {decision.encoder_version!r}, "
            f"but {width} are needed: encode it anew, or rebuild with a router of that encoder"
        )
    if width and max(features.max(), -features.min()) > BOUND:
        raise InvalidInput(f"features of decision {decision.id!r} reach beyond ±{BOUND:g}: clip them first")
