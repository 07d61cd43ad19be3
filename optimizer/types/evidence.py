"""What was known of a route's providers before its own traffic could tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput, finite
from fairlead.optimizer.types.arrays import BOUND, FloatArray

MOST_ROWS: Final = 5_000
"""Most rows of one source, and most answers that any row may stand for."""

QUALITY, OUTPUT_TOKENS, COST_USD, LATENCY_S = range(4)
"""The rows of `Evidence.outcomes`."""

_RANGES: Final = (
    ("quality", 1.0, "scale it to [0, 1], or leave it out"),
    ("output_tokens", 1e9, "give a count of tokens, or leave it out"),
    ("cost_usd", 1e6, "give USD of at least 0, or leave it out"),
    ("latency_s", 1e6, "give seconds of at least 0, or leave it out"),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Outcomes that one source knew beforehand: a team's own evaluations, another log, published means.

    A row is a request; its columns are ``providers``. What is said of a provider's answer is a mean over
    ``counts`` of them, 1 if a single one was judged. A source that comes again replaces what it said before;
    without rows it is withdrawn. Parts from 1 on add to that. How much a source counts, the route's own
    traffic decides.

    >>> evaluations = Evidence(
    ...     seq=0,
    ...     source="evals of March",
    ...     providers=("small", "large"),
    ...     features=np.array([[0.5], [np.nan]]),
    ...     outcomes=np.array([[[0.0, 1.0], [0.4, 0.7]], *np.full((3, 2, 2), np.nan)]),
    ...     counts=np.array([[1.0, 1.0], [200.0, 200.0]]),
    ... )
    >>> len(evaluations)
    2
    """

    seq: int
    source: str
    providers: tuple[str, ...]
    features: FloatArray
    """Shape (n, d), of the route's encoder without features of texts, which follow from ``terms``; NaN where
    nothing is known of a coordinate, which then counts as average."""
    outcomes: FloatArray
    """Quality in [0, 1], output tokens, USD and seconds, shape (4, n, k); NaN if not known."""
    counts: FloatArray
    """Answers that each mean is of, shape (n, k)."""
    input_tokens: FloatArray = field(default_factory=lambda: np.empty(0))
    """Shape (n,), or empty if not known."""
    encoder_version: str = ""
    tasks: tuple[str | None, ...] = ()
    """Task label of each row, or empty."""
    terms: tuple[bytes | None, ...] = ()
    """The terms of each row's text (`TermCounter.count`), None without a text; or empty."""
    part: int = 0
    """Which part of a source that comes in several; part 0 begins it anew."""

    def __post_init__(self) -> None:
        finite("seq", self.seq, low=0, high=2**53, remedy="give the route's next seq")
        finite("part", self.part, low=0, high=MOST_ROWS, remedy="count the parts of a source from 0")
        n, k = len(self.features), len(self.providers)
        if n > MOST_ROWS:
            raise InvalidInput(
                f"evidence of {self.source!r} has {n:,} rows, and {MOST_ROWS:,} are the most that a route "
                "keeps of one source: draw so many of them at random"
            )
        if len(set(self.providers)) < k:
            raise InvalidInput(f"evidence names a provider twice in {list(self.providers)}: name each once")
        shapes = {"features": (n, self.features.shape[-1]), "outcomes": (4, n, k), "counts": (n, k)}
        for name, shape in shapes.items():
            array: FloatArray = getattr(self, name)
            if array.shape != shape or array.dtype != np.float64:
                raise InvalidInput(f"{name} is {array.dtype} of shape {array.shape}, not float64 of {shape}")
        for name in ("input_tokens", "tasks", "terms"):
            length = len(getattr(self, name))
            if length not in (0, n):
                raise InvalidInput(f"{name} has {length} values for {n} rows: give one for each, or none")
        self._check_values()

    def _check_values(self) -> None:
        for values, (name, high, remedy) in zip(self.outcomes, _RANGES, strict=True):
            self._check(values, name, low=0.0, high=high, remedy=remedy)
        self._check(self.features, "features", low=-BOUND, high=BOUND, remedy="clip it, or give NaN")
        remedy = "give how many answers the mean is of"
        self._check(self.counts, "count", low=0.0, high=float(MOST_ROWS), remedy=remedy, nan=False)
        tokens = self.input_tokens[:, None]
        self._check(tokens, "input_tokens", low=0.0, high=1e9, remedy="give a count of tokens", nan=False)

    def _check(
        self, values: FloatArray, name: str, *, low: float, high: float, remedy: str, nan: bool = True
    ) -> None:
        fits: NDArray[np.bool_] = (values >= low) & (values <= high)
        if nan:
            fits |= np.isnan(values)
        if fits.all():
            return
        row, column = np.argwhere(~fits)[0].tolist()
        of = f" of {self.providers[column]!r}" if values.shape[1] == len(self.providers) else ""
        raise InvalidInput(
            f"{name}{of} in row {row} of {self.source!r} is {values[row, column]:g}, outside "
            f"[{low:g}, {high:g}]: {remedy}"
        )

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.features)
