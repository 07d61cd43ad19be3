"""Counting the terms of a text: its words and signs, alone and in neighbouring pairs.

Terms are hashed to columns rather than kept in a vocabulary: a saved projection then holds no word
of any prompt, and a text costs the same however many terms were learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.errors import require
from fairlead.optimizer.features.base import excerpt

N_COLUMNS: Final = 2**20
"""Columns to hash to. At 10,000 terms in use, one term in a hundred shares its column."""

# Punctuation counts as a term: it tells code, mathematics and log lines apart. Chinese and Japanese
# are written without spaces, so there each character is a term.
_UNSPACED: Final = r"\u3040-\u30ff\u3400-\u9fff"
TERM: Final = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]"

_PROBE: Final = 'Which of these is "right"?\n(A) f(x) = 3.14  (B) naïve café 東京 №7'


class TermCounter:
    """Counts terms per column. Making one imports scikit-learn, which takes over a second."""

    def __init__(self) -> None:
        require("sklearn", purpose="a text projection")
        from sklearn.feature_extraction.text import HashingVectorizer

        self._vectorizer = HashingVectorizer(
            token_pattern=TERM, ngram_range=(1, 2), n_features=N_COLUMNS, alternate_sign=False, norm=None
        )

    def count(self, texts: Sequence[str]) -> Any:
        """Count terms, as a scipy CSR matrix of shape (n, N_COLUMNS), columns sorted in every row."""
        counts = self._vectorizer.transform([_readable(text) for text in texts])
        counts.sum_duplicates()
        return counts

    def probe(self) -> NDArray[np.int32]:
        """Return the columns of a fixed text: if they change, no projection that was learned before holds."""
        return np.array(self.count([_PROBE]).indices, dtype=np.int32)


def _readable(text: str) -> str:
    """Return the part of the text that is read, with '?' for lone surrogates, which cannot be hashed."""
    part = excerpt(text)
    return part if part.isascii() else part.encode("utf-8", "replace").decode("utf-8")
