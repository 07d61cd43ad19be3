"""How often a provider fails, counted so that the order of arrival does not matter."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.models.circuit import CLOSED, HALF_LIFE, USUAL_RATE, Circuit, scan
from fairlead.optimizer.types.arrays import FloatArray, State

_KEPT: Final = 256

PRIOR_CALLS: Final = 50.0
"""Calls that the expectation of an ordinary provider weighs as much as."""

_FLAKY_WEIGHT: Final = 0.02
_FLAKY: Final = (1.0, 2.0)
"""Beta distribution of the failure rate of a provider that is out of the ordinary, and how likely that is.
Evidence decides: thirty calls of which ten failed are believed, although one of two is not."""

_BILLED_CALLS: Final = 2.0
_BILLED_STEPS: Final = 255


class Calls(NamedTuple):
    """Weighted counts of a provider's calls."""

    failures: float
    calls: float
    billed: float
    """Of its failures, how many calls at the usual price they were billed as."""
    failures_billed: float
    """Failures that ``billed`` is about: also those of an outage."""


NO_CALLS: Final = Calls(0.0, 0.0, 0.0, 0.0)


class FailureBelief:
    """A provider's last 256 calls by the seq of their decisions: whether each failed, and what it was billed.

    Its circuit, and which calls count towards the failure rate, follow from them (`circuit.scan`). A call
    counts half as much with each `HALF_LIFE` decisions of the route since.
    """

    def __init__(self) -> None:
        self._codes: list[int] = []
        """Calls by seq, each as 512 seq + 256 failed + billed, in 1/255 of a usual call."""
        self._failures = 0
        self._since = 0
        """Seq of the provider's last change: earlier calls do not count towards the rate."""
        self._scanned: tuple[Circuit, NDArray[np.bool_]] | None = None

    def add(self, seq: int, failed: bool, billed: float = 0.0) -> None:
        """Count the call of the decision at ``seq``; ``billed`` is its cost by the usual one, in [0, 1]."""
        insort(self._codes, _code(seq, failed, billed))
        self._failures += failed
        if len(self._codes) > _KEPT:
            self._failures -= bool(self._codes.pop(0) & 256)
        self._scanned = None

    def remove(self, seq: int, failed: bool, billed: float = 0.0) -> None:
        """Take one call back, if it is still among those kept."""
        code = _code(seq, failed, billed)
        at = bisect_left(self._codes, code)
        if at < len(self._codes) and self._codes[at] == code:
            del self._codes[at]
            self._failures -= failed
            self._scanned = None

    def forget_before(self, seq: int) -> None:
        """Let decisions from ``seq`` on alone count towards the rate; the circuit goes by all."""
        self._since = max(seq, self._since)

    @property
    def any(self) -> bool:
        """Whether one of the calls that are kept failed."""
        return self._failures > 0

    @property
    def circuit(self) -> Circuit:
        """The circuit after the calls that are kept."""
        return self._scan()[0] if self._failures else CLOSED

    @property
    def last_seq(self) -> int:
        """Seq of the latest call; -1 if there is none."""
        return self._codes[-1] >> 9 if self._codes else -1

    @property
    def recent(self) -> list[tuple[int, bool]]:
        """The calls that are kept, oldest first: seq, and whether it failed."""
        return [(code >> 9, bool(code & 256)) for code in self._codes]

    def _scan(self) -> tuple[Circuit, NDArray[np.bool_]]:
        if self._scanned is None:
            codes = np.array(self._codes, dtype=np.int64)
            self._scanned = scan(codes >> 9, (codes & 256) > 0)
        return self._scanned

    def calls(self, now: int) -> Calls:
        """Count the calls as of the route's decision ``now``."""
        if not self._codes:
            return NO_CALLS
        codes = np.array(self._codes, dtype=np.int64)
        failed = (codes & 256) > 0
        weights = 0.5 ** (np.maximum(now - (codes >> 9), 0) / HALF_LIFE) * (codes >> 9 >= self._since)
        if not self._failures:
            return Calls(0.0, float(weights.sum()), 0.0, 0.0)
        _, counted = self._scan()
        return Calls(
            failures=float(weights[failed & counted].sum()),
            calls=float(weights[counted].sum()),
            billed=float(weights @ (codes & _BILLED_STEPS)) / _BILLED_STEPS,
            failures_billed=float(weights[failed].sum()),
        )

    def state(self) -> State:
        """Return the calls that are kept, oldest first: shape (n, 3), seq, failed and billed."""
        codes = np.array(self._codes, dtype=np.int64)
        recent = np.stack([codes >> 9, (codes & 256) > 0, codes & _BILLED_STEPS], axis=1)
        return {"recent": recent, "since": np.array(self._since, dtype=np.int64)}

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        recent = state["recent"]
        self._codes = (recent @ np.array([512, 256, 1])).tolist()
        self._failures = int(recent[:, 1].sum())
        self._since = int(state["since"]) if "since" in state else 0
        self._scanned = None


def _code(seq: int, failed: bool, billed: float) -> int:
    return seq * 512 + failed * 256 + (round(billed * _BILLED_STEPS) if failed else 0)


def failure_rates(providers: Sequence[Calls]) -> FloatArray:
    """Return the rate of each provider, its variance, and the share that failures are billed at: (3, k).

    Nothing is expected to fail on a route where nothing has. From the first failure on, the rate of an
    ordinary provider is Beta distributed around the route's, with the weight of `PRIOR_CALLS` calls, and one
    provider in fifty is out of the ordinary. The route's is the rate of the typical provider (the lower
    median), so that one bad provider speaks for itself alone. Failed calls are free until some were billed.
    """
    result = np.zeros((3, len(providers)))
    if not any(calls.failures_billed for calls in providers):
        return result
    shrunk = sorted((c.failures + USUAL_RATE * PRIOR_CALLS) / (c.calls + PRIOR_CALLS) for c in providers)
    usual = shrunk[(len(shrunk) - 1) // 2]
    ordinary = (usual * PRIOR_CALLS, (1.0 - usual) * PRIOR_CALLS)
    for i, calls in enumerate(providers):
        result[0, i], result[1, i] = _mixture(calls, ordinary)
        result[2, i] = min(calls.billed / (calls.failures_billed + _BILLED_CALLS), 1.0)
    return result


def _mixture(calls: Calls, ordinary: tuple[float, float]) -> tuple[float, float]:
    """Mean and variance of a rate whose prior is one of two Beta distributions, after these calls."""
    failures, others = calls.failures, max(calls.calls - calls.failures, 0.0)
    evidence, means, squares = [], [], []
    for weight, (a, b) in ((1.0 - _FLAKY_WEIGHT, ordinary), (_FLAKY_WEIGHT, _FLAKY)):
        p, q = a + failures, b + others
        evidence.append(math.log(weight) + _log_beta(p, q) - _log_beta(a, b))
        means.append(p / (p + q))
        squares.append(p * (p + 1.0) / ((p + q) * (p + q + 1.0)))
    odds = min(max(evidence[1] - evidence[0], -700.0), 700.0)
    flaky = 1.0 / (1.0 + math.exp(-odds))
    mean = (1.0 - flaky) * means[0] + flaky * means[1]
    square = (1.0 - flaky) * squares[0] + flaky * squares[1]
    return mean, max(square - mean * mean, 0.0)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
