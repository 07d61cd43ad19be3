"""Text features that a route learns from the terms of its own requests, without any label.

`fit_text` learns a `TextEncoder` from hashed terms; `Router` decides when, and folds what comes of it as an
event, so that every process has the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.compiled import compiled, compiled_aside
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block, fingerprint
from fairlead.optimizer.features.latent import Layout, check_directions, latent_directions
from fairlead.optimizer.features.terms import (
    COUNT_BITS,
    KEY_ID_BYTES,
    MAX_COUNT,
    N_COLUMNS,
    entries,
    flattened,
    key_id_of,
)
from fairlead.optimizer.types.arrays import BOUND, FloatArray

TEXT_WIDTH: Final = 32
TEXT_BLOCK: Final = Block(name="text", width=TEXT_WIDTH, isotropic=True)
"""The coordinates of a text, which come after those of all other featurisers."""

MAX_TERMS_LEARNED: Final = 10_000
"""Columns that directions are learned of: bounds the size of an encoder, 4 · width bytes per column."""

MIN_TEXTS: Final = 8
"""Different texts below which nothing is learned."""

# Name, dtype and shape of each array of an encoder; m columns, w coordinates.
_LAYOUT: Final[Layout] = {
    "columns": (np.int32, "m"),
    "idf": (np.float64, "m"),
    "components": (np.float32, "mw"),
    "centre": (np.float64, "w"),
    "scale": (np.float64, ""),
    "key_id": (np.uint8, "i"),
}
_DAMPED: Final = 1.0 + np.log(np.maximum(np.arange(MAX_COUNT + 1), 1.0))


_Learned = tuple[NDArray[np.int32], FloatArray, NDArray[np.float32], FloatArray, float]


class TextEncoder:
    """The position of a text along the directions in which earlier texts of the route differed most.

    Terms are weighted by TF-IDF and projected, then centred and scaled by one scalar, so that over the texts
    learned from the mean square of a coordinate is 1 while leading directions stay larger than later ones. A
    text without a known term gives zeros, the position of the average text, as does one whose terms were
    hashed with another key.

    >>> from fairlead.optimizer.features.terms import TermCounter
    >>> counter = TermCounter(bytes(32))
    >>> texts = [f"{verb} the {noun}" for verb in ("bake", "eat") for noun in ("bread", "cake", "pie")]
    >>> texts += [f"{verb} the {noun}" for verb in ("sail", "steer") for noun in ("boat", "ship", "yacht")]
    >>> encoder = fit_text([counter.count(text) for text in texts])
    >>> [round(float(encoder.encode(counter.count(text))[0]), 1) for text in ("eat cake", "steer a ship")]
    [1.0, -1.0]
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        check_encoder(arrays)
        self.arrays: Final = {name: arrays[name] for name in _LAYOUT}
        """Everything that determines the output."""
        self.key_id: Final = arrays["key_id"].tobytes()
        """The `TermCounter.key_id` of the key that its terms were hashed with."""
        self.version: Final = "text-" + fingerprint(*self.arrays.values())
        """Changes whenever the same terms could give other numbers, and only then."""
        self._learned: _Learned = (
            arrays["columns"],
            arrays["idf"],
            arrays["components"],
            arrays["centre"],
            float(arrays["scale"]),
        )

    def encode(self, terms: bytes | None) -> FloatArray:
        """Return the coordinates of a text by its terms, shape (TEXT_WIDTH,)."""
        coordinates = np.zeros(TEXT_WIDTH)
        if terms is not None and key_id_of(terms) == self.key_id:
            _project(entries(terms), self._learned, coordinates)
        return coordinates

    def unread(self, terms: bytes) -> float:
        """Return the share of a text's different terms that are not among those learned of, in [0, 1]."""
        columns, learned = entries(terms) >> COUNT_BITS, self.arrays["columns"]
        if not len(columns):
            return 0.0
        at = np.minimum(np.searchsorted(learned, columns), len(learned) - 1)
        return 1.0 - float((learned[at] == columns).mean())

    def encode_many(self, texts: Sequence[bytes | None]) -> FloatArray:
        """Return the coordinates of many texts, shape (n, TEXT_WIDTH), each as `encode` gives it."""
        coordinates, key_id = np.zeros((len(texts), TEXT_WIDTH)), self.key_id
        own = [terms if terms is not None and key_id_of(terms) == key_id else key_id for terms in texts]
        _project_many(*flattened(own), self._learned, coordinates)
        return coordinates


def check_encoder(arrays: Mapping[str, NDArray[Any]]) -> None:
    """Raise `InvalidInput` for arrays that are no encoder of this release."""
    missing = sorted(_LAYOUT.keys() - arrays.keys())
    if missing:
        raise InvalidInput(f"a text encoder lacks {missing[0]!r}: fit it again")
    try:
        check_directions(arrays, _LAYOUT, w=TEXT_WIDTH, i=KEY_ID_BYTES)
    except ValueError as error:
        raise InvalidInput(f"a text encoder cannot be used: {error}; fit it again") from None


def fit_text(texts: Sequence[bytes], *, seed: int = 0) -> TextEncoder:
    """Learn an encoder from terms; each different text counts once, in any order.

    On one machine, the same texts give the same bits. The last bits follow the linear algebra library, so
    whoever needs the same numbers shares the encoder. Raises `InvalidInput` for texts that are too few, too
    alike, or not hashed with one key.
    """
    from scipy import sparse

    different = sorted(set(texts))
    if len(different) < MIN_TEXTS:
        raise InvalidInput(
            f"{len(different)} different texts are too few to learn features of texts from: wait for "
            f"{MIN_TEXTS}"
        )
    key_id = key_id_of(different[0])
    if key_id_of(different[-1]) != key_id:
        raise InvalidInput("the terms were hashed with more than one key: learn from those of one key")
    values, starts = flattened(different)
    counts = sparse.csr_matrix(
        ((values & MAX_COUNT).astype(np.float64), (values >> COUNT_BITS).astype(np.int32), starts),
        shape=(len(different), N_COLUMNS),
    )
    try:
        arrays, _ = latent_directions(counts, width=TEXT_WIDTH, seed=seed, max_terms=MAX_TERMS_LEARNED)
    except ValueError as error:
        raise InvalidInput(f"no features can be learned of {len(different)} texts: {error}") from None
    arrays["key_id"] = np.frombuffer(key_id, dtype=np.uint8)
    return TextEncoder(arrays)


def carry(before: TextEncoder | None, after: TextEncoder, texts: Sequence[bytes]) -> FloatArray:
    """Return the linear map from coordinates by one encoder to those by the next.

    Its shape is (TEXT_WIDTH + 1, TEXT_WIDTH), with the intercept in row 0. It is the least-squares fit over
    these texts, for what was learned of others whose terms are kept no more. Zeros without an encoder before.
    """
    if before is None or before.key_id != after.key_id or not texts:
        return np.zeros((TEXT_WIDTH + 1, TEXT_WIDTH))
    old = before.encode_many(texts)
    x = np.column_stack([np.ones(len(old)), old])
    # A ridge of one text in a thousand keeps directions that hardly occurred out of it.
    gram = x.T @ x + 1e-3 * len(old) * np.eye(TEXT_WIDTH + 1)
    return np.asarray(np.linalg.solve(gram, x.T @ after.encode_many(texts)), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class TextChange:
    """What becomes of features, whose last are those of texts, when another text encoder comes into force."""

    before: TextEncoder | None
    after: TextEncoder
    carried: FloatArray
    """The map of `carry`."""
    fixed: int
    """Number of the other features, which stay."""

    @property
    def width(self) -> int:
        """Number of features afterwards."""
        return self.fixed + TEXT_WIDTH

    @property
    def width_before(self) -> int:
        """Number of features until then."""
        return self.fixed + (0 if self.before is None else TEXT_WIDTH)

    def features(self, before: FloatArray, texts: Sequence[bytes | None]) -> FloatArray:
        """Encode requests anew, (n, width), from their features before and the terms that are kept of them.

        Without terms their old coordinates are carried over; a request without a text keeps its zeros.
        """
        result = np.zeros((len(before), self.width))
        result[:, : self.fixed] = before[:, : self.fixed]
        result[:, self.fixed :] = self.after.encode_many(texts)
        old = before[:, self.fixed :]
        if old.size:
            lost = np.array([terms is None for terms in texts], dtype=np.bool_) & old.any(axis=1)
            result[lost, self.fixed :] = self.carry_over(old[lost])
        return result

    def carry_over(self, old: FloatArray) -> FloatArray:
        """Map coordinates of texts (n, TEXT_WIDTH) to those of the new encoder."""
        # Without the linear algebra library, whose last bits may follow how many rows there are.
        mapped = self.carried[0] + np.einsum("nw,wv->nv", old, self.carried[1:])
        clipped: FloatArray = np.clip(mapped, -BOUND, BOUND)
        return clipped

    def transform(self) -> FloatArray:
        """Return the map of rows with intercept, (1 + width, 1 + width before), for sums of rows."""
        start = 1 + self.fixed
        matrix = np.zeros((1 + self.width, 1 + self.width_before))
        matrix[:start, :start] = np.eye(start)
        if self.before is not None:
            matrix[start:, 0] = self.carried[0]
            matrix[start:, start:] = self.carried[1:].T
        return matrix


@compiled
def _project(terms: NDArray[np.uint32], learned: _Learned, result: FloatArray) -> None:
    """Fill in the coordinates of one text; sums run by ascending column, so that all processes agree."""
    columns, idf, components, centre, scale = learned
    square = 0.0
    for entry in terms:
        column = int(entry) >> COUNT_BITS
        low, high = 0, len(columns)
        while low < high:
            middle = (low + high) // 2
            if columns[middle] < column:
                low = middle + 1
            else:
                high = middle
        if low < len(columns) and columns[low] == column:
            weight = _DAMPED[int(entry) & MAX_COUNT] * idf[low]
            square += weight * weight
            for j in range(len(result)):
                result[j] += weight * components[low, j]
    if square == 0.0:
        return
    norm = np.sqrt(square)
    for j in range(len(result)):
        result[j] = min(max((result[j] / norm - centre[j]) * scale, -BOUND), BOUND)


@compiled_aside
def _project_many(
    terms: NDArray[np.uint32], starts: NDArray[np.int64], learned: _Learned, result: FloatArray
) -> None:
    for i in range(len(result)):
        _project(terms[starts[i] : starts[i + 1]], learned, result[i])
