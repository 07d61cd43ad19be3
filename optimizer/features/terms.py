"""The terms of a text, hashed with a key: all that is kept of a text, and what text features come from.

Terms are words and signs, alone and in neighbouring pairs. Each is hashed with a secret key of the
deployment to one of `N_COLUMNS` columns, so that whoever reads a log without the key finds counts of columns
and no word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.surface import excerpt

N_COLUMNS: Final = 2**20
"""Columns to hash to. At 10,000 terms in use, one term in a hundred shares its column."""

MAX_TERMS: Final = 512
"""Different terms that are kept of one text. Of more, those of the lowest columns stay: since columns look
random, that is a sample of terms, and the same one in every text."""

EDGE_CHARS: Final = 2_000
"""Characters read at each end of a text, so that counting takes well below a millisecond."""

MIN_KEY_BYTES: Final = 16
COUNT_BITS: Final = 4
MAX_COUNT: Final = (1 << COUNT_BITS) - 1
KEY_ID_BYTES: Final = 4
_TERM_BYTES: Final = 3
_REMEMBERED: Final = 2**16

# Punctuation counts as a term: it tells code, mathematics and log lines apart. Chinese and Japanese
# are written without spaces, so there each character is a term.
_UNSPACED: Final = r"\u3040-\u30ff\u3400-\u9fff"
TERM: Final = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]"
_TERM: Final = re.compile(TERM)
_VERSION: Final = b"terms-1"


class TermCounter:
    """Counts the terms of texts by columns that only the holder of the key can tell.

    >>> counter = TermCounter(bytes(32))
    >>> terms = counter.count("to be or not to be")
    >>> [int(entry) & MAX_COUNT for entry in entries(terms)]
    [1, 2, 2, 2, 1, 1, 1, 1]
    """

    def __init__(self, key: bytes) -> None:
        if not MIN_KEY_BYTES <= len(key) <= blake2b.MAX_KEY_SIZE:
            raise InvalidInput(
                f"the key of text features has {len(key)} bytes: give {MIN_KEY_BYTES} to "
                f"{blake2b.MAX_KEY_SIZE} random ones"
            )
        self._key = key
        self.key_id: bytes = blake2b(_VERSION, key=key, digest_size=KEY_ID_BYTES, person=b"key id").digest()
        """Tells keys apart, and nothing about them."""
        self._columns: dict[str, int] = {}
        """Columns of terms that were met lately: most of a text are words of every text."""

    def count(self, text: str) -> bytes:
        """Count the terms of a text: `key_id`, then three bytes per different term, by ascending column."""
        words = _TERM.findall(excerpt(text, edge=EDGE_CHARS).lower())
        counts: dict[int, int] = {}
        for term in (*words, *map(" ".join, pairwise(words))):
            column = self._columns.get(term)
            if column is None:
                column = self._column(term)
            counts[column] = counts.get(column, 0) + 1
        kept = sorted(counts.items())[:MAX_TERMS]
        return self.key_id + b"".join(
            (column << COUNT_BITS | min(count, MAX_COUNT)).to_bytes(_TERM_BYTES, "little")
            for column, count in kept
        )

    def _column(self, term: str) -> int:
        if len(self._columns) >= _REMEMBERED:
            self._columns.clear()
        digest = blake2b(term.encode("utf-8", "surrogatepass"), key=self._key, digest_size=4).digest()
        column = self._columns[term] = int.from_bytes(digest, "little") % N_COLUMNS
        return column


def key_id_of(terms: bytes) -> bytes:
    """Return the `TermCounter.key_id` of the key that terms were hashed with."""
    return terms[:KEY_ID_BYTES]


def entries(terms: bytes) -> NDArray[np.uint32]:
    """Return column * 16 + count of each different term, ascending, shape (n,)."""
    raw = np.frombuffer(terms, dtype=np.uint8)[KEY_ID_BYTES:].reshape(-1, _TERM_BYTES).astype(np.uint32)
    packed: NDArray[np.uint32] = raw[:, 0] | raw[:, 1] << np.uint32(8) | raw[:, 2] << np.uint32(16)
    return packed


def check_terms(terms: bytes) -> None:
    """Raise `InvalidInput` for terms that `TermCounter.count` cannot have returned."""
    n, rest = divmod(len(terms) - KEY_ID_BYTES, _TERM_BYTES)
    if rest or not 0 <= n <= MAX_TERMS:
        raise InvalidInput(
            f"terms have {len(terms)} bytes, not {KEY_ID_BYTES} for their key and {_TERM_BYTES} for each of "
            f"up to {MAX_TERMS} terms: leave them out"
        )
    columns = entries(terms) >> COUNT_BITS
    if n > 1 and not (columns[1:] > columns[:-1]).all():
        raise InvalidInput("terms do not ascend by column: leave them out")


def flattened(texts: Iterable[bytes]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return the `entries` of many texts in one array, and where each starts, with the end of the last."""
    parts = [entries(terms) for terms in texts]
    starts = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=starts[1:])
    return np.concatenate([*parts, np.empty(0, dtype=np.uint32)]), starts
