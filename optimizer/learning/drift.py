"""Drift detection: notice from the residuals of rewards that a provider has changed.

A model can change behind an unchanged name. A sudden change is found within tens of observations, so that
what was learned before it can be discounted at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput

# Measured in tests/optimizer/test_drift.py: one false alarm per more than 10,000 observations, on normal
# noise as on the skewed noise of a quality that is 1 nine times in ten.
_ALLOWANCE: Final = 0.25
_THRESHOLD: Final = 18.0
_CLIP: Final = 3.0
_MIN_OBSERVATIONS: Final = 30
_MEMORY: Final = 1024


@dataclass(frozen=True, kw_only=True)
class DriftSignal:
    """A change of the mean residual, detected at the latest observation.

    ``since_seq`` is the estimated first decision after the change. ``before`` and ``after`` are
    mean residuals in standard deviations; ``n_after`` counts the observations behind ``after``.
    """

    since_seq: int
    before: float
    after: float
    n_after: int


class DriftDetector:
    """Two-sided Page-Hinkley test on the standardised residuals of one provider and quantity.

    A residual is (observed − expected) / sd. The test compares with the mean residual since the
    last change, not with 0: a belief that is off by a constant is not drift. Residuals are clipped
    to ±3, so that one absurd latency is no change. Afterwards it starts afresh.

    It remembers at most 1,024 observations; when they are full, the older half is forgotten and the
    test is run again over the rest. All it knows is therefore in those observations, and one that
    is restored from `state` raises the same alarms at the same observations.

    Page (1954), Continuous Inspection Schemes, Biometrika 41, 100-115; run by `river.drift`.
    """

    def __init__(self) -> None:
        # Imported here because river takes a second to import, which a router without detection is spared.
        from river.drift import PageHinkley

        self._test = PageHinkley(
            min_instances=_MIN_OBSERVATIONS,
            delta=_ALLOWANCE,
            threshold=_THRESHOLD,
            # Fading would pull the cumulative sums back to 0 and so cancel the allowance in a long calm.
            alpha=1.0,
            mode="both",
        )
        self._residuals: list[float] = []
        self._seqs: list[int] = []

    def update(self, residual: float, seq: int) -> DriftSignal | None:
        """Add the residual of decision ``seq``; returns a signal if it completes the evidence of a change."""
        if not math.isfinite(residual):
            raise InvalidInput(
                f"residual of decision {seq} is {residual}, which is not a finite number: "
                "give (observed − expected) / sd with an sd of more than 0"
            )
        if len(self._residuals) == _MEMORY:
            self._forget_older_half()
        residual = min(max(float(residual), -_CLIP), _CLIP)
        self._residuals.append(residual)
        self._seqs.append(int(seq))
        self._test.update(residual)
        if not self._test.drift_detected:
            return None
        signal = self._signal()
        self._residuals.clear()
        self._seqs.clear()
        return signal

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the remembered observations: ``residuals`` (clipped) and ``seqs``, each of shape (n,)."""
        return {
            "residuals": np.array(self._residuals, dtype=np.float64),
            "seqs": np.array(self._seqs, dtype=np.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[Any]]) -> DriftDetector:
        """Build the detector whose `state` this is."""
        residuals, seqs = state["residuals"], state["seqs"]
        if residuals.ndim != 1 or residuals.shape != seqs.shape or len(residuals) > _MEMORY:
            raise InvalidInput(
                f"drift state has residuals of shape {residuals.shape} and seqs of shape {seqs.shape}: "
                f"give two vectors of one length, at most {_MEMORY}"
            )
        if not np.isfinite(residuals).all():
            raise InvalidInput("drift state has a residual that is not finite: rebuild it from the log")
        detector = cls()
        detector._residuals = [float(value) for value in residuals]
        detector._seqs = [int(seq) for seq in seqs]
        detector._run_again()
        return detector

    def _forget_older_half(self) -> None:
        self._residuals = self._residuals[_MEMORY // 2 :]
        self._seqs = self._seqs[_MEMORY // 2 :]
        self._run_again()

    def _run_again(self) -> None:
        """Bring the test to where it stands after the remembered observations."""
        self._test = self._test.clone()
        start = 0
        for i, residual in enumerate(self._residuals):
            self._test.update(residual)
            if self._test.drift_detected:
                # The test with the longer memory saw no change here; river has started afresh, so follow.
                start = i + 1
        del self._residuals[:start], self._seqs[:start]

    def _signal(self) -> DriftSignal:
        """Date the change: after the lowest (or highest) point of the sum that raised the alarm."""
        residuals = np.array(self._residuals)
        deviations = residuals - np.cumsum(residuals) / np.arange(1, len(residuals) + 1)
        rising = np.cumsum(deviations - _ALLOWANCE)
        falling = np.cumsum(deviations + _ALLOWANCE)
        if rising[-1] - rising.min() >= falling.max() - falling[-1]:
            first = int(rising.argmin()) + 1
        else:
            first = int(falling.argmax()) + 1
        return DriftSignal(
            # By rank, so that one late observation of an old decision does not date the change wrongly.
            since_seq=sorted(self._seqs)[first],
            before=float(residuals[:first].mean()),
            after=float(residuals[first:].mean()),
            n_after=len(residuals) - first,
        )
