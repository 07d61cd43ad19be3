"""Rate limits for each API key."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TokenBucket:
    """A bucket of tokens for each key. It fills at a rate, and holds what comes in ``burst_s`` seconds.

    >>> now = 0.0
    >>> bucket = TokenBucket(burst_s=2.0, clock=lambda: now)
    >>> [bucket.take("key", per_s=1.0) for _ in range(3)]
    [0.0, 0.0, 1.0]
    >>> now = 1.0
    >>> bucket.take("key", per_s=1.0)
    0.0
    """

    def __init__(self, *, burst_s: float = 2.0, clock: Callable[[], float] = monotonic) -> None:
        self._burst_s, self._clock = burst_s, clock
        self._levels: dict[str | None, tuple[float, float]] = {}

    def take(self, key: str | None, *, per_s: float, count: int = 1) -> float:
        """Take ``count`` tokens; the seconds to wait if there are too few, else 0."""
        now = self._clock()
        capacity = max(per_s * self._burst_s, float(count), 1.0)
        level, since = self._levels.get(key, (capacity, now))
        level = min(level + (now - since) * per_s, capacity)
        if level < count:
            self._levels[key] = (level, now)
            return (count - level) / per_s
        self._levels[key] = (level - count, now)
        return 0.0
