"""Features learned from the words of prompts, without any label.

Terms are words and signs, alone and in neighbouring pairs. They are hashed to columns rather than kept in a
vocabulary: a saved projection then holds no word of any prompt, and a text costs the same however many terms
were learned.

Directions are learned by `latent_directions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.features.base import Block, checked_width, fingerprint
from fairlead.optimizer.features.latent import Layout, check_directions, latent_directions
from fairlead.optimizer.features.surface import excerpt
from fairlead.optimizer.features.terms import N_COLUMNS, TERM
from fairlead.optimizer.persistence.array_file import FeatureFileError, read_arrays, write_arrays
from fairlead.optimizer.types import Context, FloatArray
from fairlead.optimizer.types.arrays import BOUND

KIND: Final = "fairlead text projection"
FORMAT: Final = 1
MAX_SEED: Final = 2**32 - 1

_PROBE: Final = 'Which of these is "right"?\n(A) f(x) = 3.14  (B) naïve café 東京 №7'

MIN_PROMPTS: Final = 8

# Name, dtype and shape of each array of the state; m terms, w coordinates, p probed columns.
_LAYOUT: Final[Layout] = {
    "columns": (np.int32, "m"),
    "idf": (np.float64, "m"),
    "components": (np.float32, "mw"),
    "centre": (np.float64, "w"),
    "scale": (np.float64, ""),
    "probe": (np.int32, "p"),
}


class TextProjection:
    """The position of a prompt along the directions in which earlier prompts differed most.

    Words, signs and their neighbouring pairs are weighted by TF-IDF and projected on `width`
    directions, then centred and scaled by one scalar, so that over the prompts learned from the
    mean square of a coordinate is 1 while leading directions stay larger than later ones. Make one
    with `fit`, `load`, or from a `state`; each imports scikit-learn, so that no request waits for it.

    A prompt without a known word gives zeros, the position of the average prompt, as does None.

    >>> from fairlead import Context, TextProjection
    >>> prompts = [f"{verb} the {noun}" for verb in ("bake", "eat") for noun in ("bread", "cake", "pie")]
    >>> prompts += [f"{verb} the {noun}" for verb in ("sail", "steer") for noun in ("boat", "ship", "yacht")]
    >>> projection = TextProjection.fit(prompts, width=2)
    >>> contexts = [Context(text="bake a cake"), Context(text="sail a ship"), Context(text="quokka")]
    >>> projection.transform(contexts)[:, 0].round(1)
    array([-0.8,  0.8,  0. ])
    """

    def __init__(self, *, state: Mapping[str, NDArray[Any]]) -> None:
        self._state = _validate(state)
        self._columns: NDArray[np.int32] = self._state["columns"]
        self._idf: FloatArray = self._state["idf"]
        self._components: NDArray[np.float32] = self._state["components"]
        self._centre: FloatArray = self._state["centre"]
        self._scale = float(self._state["scale"])
        self._version = "projection-" + fingerprint(*(self._state[name] for name in _LAYOUT))
        self._counter = TermCounter()
        if not np.array_equal(self._counter.probe(), self._state["probe"]):
            raise ValueError(
                "the installed scikit-learn cuts or hashes text in another way than the one that "
                "this projection was fitted with: install that release, or fit again"
            )

    @classmethod
    def fit(cls, prompts: Iterable[str], *, width: int = 32, seed: int = 0, max_terms: int = 10_000) -> Self:
        """Learn from prompts; each distinct one counts once, in any order.

        On one machine, the same prompts and seed give the same bits. The last bits follow the
        linear algebra library and its number of threads, so fit once and share the saved file.
        Fewer than `width` different prompts give fewer directions, and zeros beyond them.
        `max_terms` bounds size and time: a saved file takes about 4 · width · max_terms bytes.
        """
        checked_width(width)
        if not 0 <= seed <= MAX_SEED:
            raise ValueError(f"seed is {seed}, but the generator takes 32 bits: give 0 to {MAX_SEED}")
        if not 1 <= max_terms <= N_COLUMNS:
            raise ValueError(
                f"max_terms is {max_terms}, but terms share {N_COLUMNS} columns: give 1 to {N_COLUMNS}, "
                "such as 10,000"
            )
        return cls(state=_learn(prompts, TermCounter(), width=width, seed=seed, max_terms=max_terms))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load the projection saved at `path`; raises `FeatureFileError` if it cannot be used."""
        arrays = read_arrays(path, kind=KIND, version=FORMAT)
        try:
            return cls(state=arrays)
        except ValueError as error:
            raise FeatureFileError(f"{path} cannot be used: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write to `path`, by custom ending in .npz, in one step: never half a file."""
        write_arrays(path, self._state, kind=KIND, version=FORMAT)

    @property
    def block(self) -> Block:
        return Block(name="projection", width=self._components.shape[1], isotropic=True)

    @property
    def version(self) -> str:
        return self._version

    def transform(self, contexts: Sequence[Context]) -> FloatArray:
        coordinates = np.zeros((len(contexts), self._components.shape[1]))
        texts = [(row, context.text) for row, context in enumerate(contexts) if context.text]
        if not texts:
            return coordinates
        counts = self._counter.count([text for _, text in texts])
        starts = counts.indptr.tolist()
        # Row by row and without BLAS, so that the bits of a row do not depend on its company.
        for (row, _), start, stop in zip(texts, starts[:-1], starts[1:], strict=True):
            coordinates[row] = self._project(counts.indices[start:stop], counts.data[start:stop])
        return coordinates

    def state(self) -> dict[str, NDArray[Any]]:
        return {name: array.copy() for name, array in self._state.items()}

    def _project(self, columns: NDArray[np.int32], counts: FloatArray) -> FloatArray:
        """Project a text with these term counts; shape (width,)."""
        terms = np.minimum(np.searchsorted(self._columns, columns), len(self._columns) - 1)
        is_known = self._columns[terms] == columns
        terms = terms[is_known]
        if not len(terms):
            return np.zeros(self._components.shape[1])
        weights = (1.0 + np.log(counts[is_known])) * self._idf[terms]
        weights /= np.sqrt(np.square(weights).sum())
        projected = (self._components[terms] * weights[:, np.newaxis]).sum(axis=0)
        scaled: FloatArray = (projected - self._centre) * self._scale
        return np.clip(scaled, -BOUND, BOUND)


def _validate(state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Copy the state; raises `ValueError` if its arrays do not belong together."""
    if set(state) != set(_LAYOUT):
        raise ValueError(
            f"a projection has the arrays {sorted(_LAYOUT)}, but these are {sorted(state)}: "
            "give what state() returned"
        )
    try:
        check_directions(state, _LAYOUT)
    except ValueError as error:
        raise ValueError(f"{error}; give what state() returned") from None
    return {name: np.array(state[name]) for name in _LAYOUT}


class TermCounter:
    """Counts terms per column. Making one imports scikit-learn, which takes over a second."""

    def __init__(self) -> None:
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


def _learn(
    prompts: Iterable[str], counter: TermCounter, *, width: int, seed: int, max_terms: int
) -> dict[str, NDArray[Any]]:
    """Learn the arrays of a `TextProjection`."""
    counts = counter.count(distinct(prompts))
    arrays, _ = latent_directions(counts, width=width, seed=seed, max_terms=max_terms)
    return {**arrays, "probe": counter.probe()}


def distinct(prompts: Iterable[str]) -> list[str]:
    """Sort the different prompts that are not blank, so that the result depends on their set alone."""
    if isinstance(prompts, str):
        raise ValueError("prompts is one text, but a projection is learned from many: give a list of texts")
    texts = sorted({prompt for prompt in prompts if prompt.strip()})
    if len(texts) < MIN_PROMPTS:
        raise ValueError(
            f"{len(texts)} different non-empty prompts are too few to learn a text projection from: "
            f"give at least {MIN_PROMPTS}, better some hundreds, or leave the projection out"
        )
    return texts
