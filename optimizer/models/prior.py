"""Statistics of what was known of one quantity before a route's own traffic, by source and provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from fairlead.optimizer.models.posterior import Sums
from fairlead.optimizer.models.statistics import Statistics, quantise_many
from fairlead.optimizer.models.trust import powers_of
from fairlead.optimizer.types.arrays import FloatArray, State, from_texts, joined, part, texts

PAST_WORTH: Final = 2.0
"""Observations that everything before a provider's change counts for."""


class Means(NamedTuple):
    """Mean targets of m rows, each over a number of answers."""

    features: FloatArray
    """Shape (m, d); NaN where nothing is known of a coordinate."""
    targets: FloatArray
    """Shape (m,)."""
    squares: FloatArray
    """Mean of the squared targets, shape (m,)."""
    counts: FloatArray
    """Answers behind each, shape (m,)."""

    def sums(self, centre: FloatArray) -> tuple[FloatArray, FloatArray, float, float]:
        """Gram, moment, square and count; what is not known counts as at the average context ``centre``."""
        rows = np.empty((len(self.features), len(centre)))
        rows[:, 0] = 1.0
        rows[:, 1:] = np.where(np.isnan(self.features), centre[1:], self.features)
        weighted = rows * self.counts[:, None]
        square = float(self.counts @ self.squares)
        return weighted.T @ rows, self.targets @ weighted, square, float(self.counts.sum())


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one source says, as of one seq, by provider."""

    seq: int
    single: dict[str, Statistics]
    """Sums over complete rows about one answer each."""
    means: dict[str, Means]
    """All other rows."""

    def count(self, name: str) -> float:
        """Count the answers of one provider."""
        single, means = self.single.get(name), self.means.get(name)
        return (single.count if single else 0) + (float(means.counts.sum()) if means else 0.0)


class Prior:
    """What all sources of a route say about one quantity."""

    def __init__(self, *, width: int, target_bits: int) -> None:
        self._width, self._bits = width, target_bits
        self._sources: dict[str, Source] = {}

    @property
    def names(self) -> list[str]:
        """The sources, in order."""
        return sorted(self._sources)

    def know(self, source: str, seq: int, means: Mapping[str, Means | None]) -> None:
        """Replace what a source says of these providers; None if that is nothing."""
        entry = self._sources.pop(source, None) or Source(seq=seq, single={}, means={})
        single, others = dict(entry.single), dict(entry.means)
        for name, each in means.items():
            single.pop(name, None)
            others.pop(name, None)
            if each is None:
                continue
            whole = (each.counts == 1.0) & ~np.isnan(each.features).any(axis=1)
            if whole.any():
                single[name] = Statistics(width=self._width, target_bits=self._bits)
                single[name].add_many(quantise_many(each.features[whole]), each.targets[whole])
            if not whole.all():
                others[name] = Means(*(array[~whole] for array in each))
        if single or others:
            self._sources[source] = Source(seq=seq, single=single, means=others)

    def count(self, name: str) -> list[tuple[int, float]]:
        """Return the seq of each source, in order, and the number of its answers of one provider."""
        return [(self._sources[source].seq, self._sources[source].count(name)) for source in self.names]

    def is_about(self, name: str) -> bool:
        """Whether any source says something of a provider."""
        return any(source.count(name) for source in self._sources.values())

    def worth(self, names: Sequence[str], changes: Mapping[str, int]) -> FloatArray:
        """Return the observations that evidence of each provider is worth, (c, k), by way to trust it."""
        counts = [
            [count * _share(changes.get(name, 0), seq, count) for seq, count in self.count(name)]
            for name in names
        ]
        worth: FloatArray = powers_of(len(self.names))[0] @ np.array(counts).T
        return worth

    def powers(self, trust: FloatArray | None) -> dict[str, float]:
        """Return the power of each source, given the probability of each way to trust them, (c,)."""
        if trust is None:
            return {}
        names = self.names
        return dict(zip(names, (trust @ powers_of(len(names))[0]).tolist(), strict=True))

    def sums(self, names: Sequence[str], live: Sums, changes: Mapping[str, int]) -> list[Sums]:
        """Return the sums of each source, in order, over providers ``names``.

        The average context is that of the ``live`` observations and of all complete rows together.
        """
        result = [self._single(source, names) for source in self.names]
        total = live.gram[:, 0].sum(axis=0) + sum(sums.gram[:, 0].sum(axis=0) for sums in result)
        centre = total / total[0] if total[0] >= 1.0 else np.eye(1, len(total))[0]
        for source, sums in zip(self.names, result, strict=True):
            for i, name in enumerate(names):
                means = self._sources[source].means.get(name)
                if means is not None:
                    gram, moment, square, count = means.sums(centre)
                    sums.gram[i] += gram
                    sums.moment[i] += moment
                    sums.square[i] += square
                    sums.count[i] += count
                part = _share(changes.get(name, 0), self._sources[source].seq, float(sums.count[i]))
                if part != 1.0:
                    for array in (sums.gram, sums.moment, sums.square, sums.count):
                        array[i] *= part
        return result

    def _single(self, source: str, names: Sequence[str]) -> Sums:
        size, k = self._width + 1, len(names)
        sums = Sums(np.zeros((k, size, size)), np.zeros((k, size)), np.zeros(k), np.zeros(k))
        for i, name in enumerate(names):
            statistics = self._sources[source].single.get(name)
            if statistics is not None:
                sums.gram[i], sums.moment[i], sums.square[i] = statistics.sums()
                sums.count[i] = statistics.count
        return sums

    def state(self) -> State:
        """Return all statistics as plain arrays."""
        result: State = {"sources": texts(self.names)}
        for s, source in enumerate(self.names):
            entry = self._sources[source]
            single = {str(i): entry.single[name].state() for i, name in enumerate(sorted(entry.single))}
            means = {str(i): entry.means[name]._asdict() for i, name in enumerate(sorted(entry.means))}
            arrays: State = {
                "seq": np.array(entry.seq),
                "single": texts(sorted(entry.single)),
                "means": texts(sorted(entry.means)),
                **joined(**{f"single{i}": arrays for i, arrays in single.items()}),
                **joined(**{f"means{i}": arrays for i, arrays in means.items()}),
            }
            result |= joined(**{f"source{s}": arrays})
        return result

    def restore(self, state: State) -> None:
        """Become what gave `state`."""
        self._sources = {}
        for s, source in enumerate(from_texts(state["sources"])):
            arrays = part(state, f"source{s}")
            single = {
                name: Statistics.from_state(part(arrays, f"single{i}"))
                for i, name in enumerate(from_texts(arrays["single"]))
            }
            means = {
                name: Means(**part(arrays, f"means{i}")) for i, name in enumerate(from_texts(arrays["means"]))
            }
            self._sources[source] = Source(seq=int(arrays["seq"]), single=single, means=means)


def _share(change: int, seq: int, count: float) -> float:
    """Return what each of so many answers as of ``seq`` counts for: little before a provider's change."""
    return min(1.0, PAST_WORTH / count) if count and seq < change else 1.0
