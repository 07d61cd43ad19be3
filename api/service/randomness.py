"""Random numbers and names from the operating system, fetched many at a time.

Each fetch lets other threads go on in between, and then waits until they let this one go on: under load that
took ten times as long as the fetch itself.
"""

from __future__ import annotations

import os
from typing import Final

_AT_ONCE: Final = 8_192


class Randomness:
    """For the event loop's thread alone; as hard to guess as `secrets`."""

    def __init__(self) -> None:
        self._bytes, self._at = b"", 0

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._bytes):
            self._bytes, self._at = os.urandom(_AT_ONCE), 0
        self._at += count
        return self._bytes[self._at - count : self._at]

    def uniform(self) -> float:
        """A number in [0, 1), a multiple of 2**-53."""
        return (int.from_bytes(self._take(8)) >> 11) * 2.0**-53

    def name(self, prefix: str) -> str:
        """A name that nothing else has: the prefix and 96 random bits in hexadecimal."""
        return prefix + self._take(12).hex()
