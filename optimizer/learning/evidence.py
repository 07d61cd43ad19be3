"""What was known before a route's own traffic, turned into what its beliefs take as a prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block
from fairlead.optimizer.features.text import TextEncoder
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.linear import LinearBelief, design_row
from fairlead.optimizer.models.pricing import TYPICAL_OUTPUT_TOKENS, call_price, kind_of, unit_near
from fairlead.optimizer.models.prior import Means
from fairlead.optimizer.models.recent import RECENT
from fairlead.optimizer.types import Context
from fairlead.optimizer.types.arrays import (
    FloatArray,
    State,
    from_texts,
    joined,
    packed,
    part,
    texts,
    unpacked,
)
from fairlead.optimizer.types.evidence import COST_USD, LATENCY_S, MOST_ROWS, OUTPUT_TOKENS, QUALITY, Evidence

_ARRAYS: Final = ("features", "outcomes", "counts", "input_tokens")


class EvidenceInForce:
    """The evidence of one route in force, by source."""

    def __init__(self, beliefs: Beliefs, history: RouteHistory, text: TextLearner) -> None:
        self._beliefs, self._history, self._text = beliefs, history, text
        self._events: dict[tuple[str, int], Evidence] = {}
        """By source and part."""

    @property
    def events(self) -> list[Evidence]:
        """What the sources say, part by part, by their names."""
        return [self._events[key] for key in sorted(self._events)]

    def learn(self, event: Evidence) -> list[str] | None:
        """Take in what a source says; None if it is not in force, else whose costs must be counted again.

        That is because they may have another unit now.
        """
        replaced = self._replaced_by(event)
        if replaced is None:
            return None
        self._check(event, replaced)
        for each in replaced:
            self._count_latencies(each, sign=-1)
            del self._events[each.source, each.part]
        self._events[event.source, event.part] = event
        self._count_latencies(event, sign=1)
        names = sorted({name for each in (event, *replaced) for name in each.providers})
        self._know(event.source, names)
        return [name for name in names if self._moves_unit(name)]

    def _moves_unit(self, name: str) -> bool:
        """Update the unit that evidence gives a provider; whether it is that of its costs, or becomes it."""
        units, before = self._beliefs.evidence_units, self._beliefs.cost_unit(name)
        was_of_evidence = before is not None and before == units.pop(name, None)
        unit = self._unit(name)
        if unit is not None:
            units[name] = unit
        if was_of_evidence and unit != before:
            self._beliefs.recount_cost(name, None)
            return True
        return unit is not None and (before is None or unit[0] < before[0])

    def check(self, event: Evidence) -> None:
        """Raise `InvalidInput` for evidence that would be refused as the latest of its source."""
        parts = [each for each in self.events if each.source == event.source]
        replaced = [each for each in parts if event.part in (0, each.part)]
        self._check(event, replaced)

    def _replaced_by(self, event: Evidence) -> list[Evidence] | None:
        """Return what an event takes the place of; None if it is not in force itself."""
        parts = {each.part: each for each in self.events if each.source == event.source}
        first, before = parts.get(0), parts.get(event.part)
        is_of_before = first is not None and event.seq < first.seq
        if is_of_before or (before is not None and before.seq >= event.seq):
            return None
        return [each for each in parts.values() if event.part in (0, each.part) and each.seq < event.seq]

    def _check(self, event: Evidence, replaced: Sequence[Evidence]) -> None:
        kept = [each for each in self.events if each.source == event.source and each not in replaced]
        count = len(event) + sum(map(len, kept))
        if count > MOST_ROWS:
            raise InvalidInput(
                f"evidence of {event.source!r} would have {count:,} rows, and {MOST_ROWS:,} are the most "
                "that a route keeps of one source: draw so many of them at random"
            )
        names = self._history.names()
        for name in event.providers:
            if name not in names:
                raise InvalidInput(
                    f"evidence of {event.source!r} is about {name!r}, which is not on the route: add "
                    f"it first, name it as the route does, or leave it out; the route has {', '.join(names)}"
                )
        width = self._text.fixed
        if len(event) and event.features.shape[1] != width:
            raise InvalidInput(
                f"evidence of {event.source!r} has {event.features.shape[1]} features, but {width} are "
                "needed: encode it with the encoder of the route"
            )

    def _know(self, source: str, names: Iterable[str]) -> None:
        beliefs = self._beliefs
        self._tell(source, names, (beliefs.quality, beliefs.cost), text=self._text.encoder)

    def tell(self, quality: LinearBelief, cost: LinearBelief, text: TextEncoder) -> None:
        """Tell beliefs in the features of another encoder of texts all that is known."""
        for source in self._sources():
            self._tell(source, self._names(source), (quality, cost), text=text)

    def know_cost(self, name: str) -> None:
        """Take the cost of one provider in again, since its unit has changed."""
        for source in self._sources():
            if name in self._names(source):
                self._tell(source, [name], (None, self._beliefs.cost), text=self._text.encoder)

    def _tell(
        self,
        source: str,
        names: Iterable[str],
        beliefs: tuple[LinearBelief | None, LinearBelief],
        *,
        text: TextEncoder | None,
    ) -> None:
        """Tell beliefs about quality, unless None, and cost what a source says of some providers."""
        parts = [event for event in self.events if event.source == source]
        features = [encoded(event, text) for event in parts]
        seq = min(event.seq for event in parts)
        quality, cost = beliefs
        for name in sorted(names):
            values, units = list[Means](), list[Means]()
            for event, rows in zip(parts, features, strict=True):
                if name in event.providers:
                    answers = _Answers(event, rows, event.providers.index(name))
                    # A mean of marks between 0 and 1 varies most if they are all 0 or 1.
                    values += answers.means(marks := answers.of(QUALITY), squares=marks)
                    # Lengths of answers vary about as much as they are long.
                    lengths = self._units(event, name, answers.column)
                    units += answers.means(lengths, squares=2.0 * lengths * lengths)
            if quality is not None:
                quality.know(source, seq, {name: _joined(values)})
            cost.know(source, seq, {name: _joined(units)})

    def _sources(self) -> list[str]:
        return sorted({event.source for event in self.events})

    def _names(self, source: str) -> list[str]:
        return sorted({name for event in self.events if event.source == source for name in event.providers})

    def _units(self, event: Evidence, name: str, column: int) -> FloatArray:
        """Return costs (n,) in the units that are learned; NaN if not known."""
        prices, unit = self._history.prices_at(event.seq).get(name), self._beliefs.cost_unit(name)
        kind, cost = kind_of(prices), event.outcomes[COST_USD, :, column]
        if self._history.cost_kind(name) != kind or (prices is None and unit is None):
            return np.full(len(event), np.nan)
        price = call_price(prices, unit[1] if unit else 0.0).scaled(self._beliefs.cost_scale(name))
        tokens = _tokens(event)
        base = price.base + price.base_token * tokens
        units: FloatArray = (cost - base) / np.maximum(price.unit + price.unit_token * tokens, 1e-12)
        if kind == "output tokens":
            units = np.where(
                np.isnan(units), event.outcomes[OUTPUT_TOKENS, :, column] / TYPICAL_OUTPUT_TOKENS, units
            )
        return units

    def _unit(self, name: str) -> tuple[int, float] | None:
        """Return seq and USD of the first evidence that can give a provider its unit, if it has no list."""
        for event in sorted(self.events, key=lambda event: event.seq):
            if name in event.providers and name not in self._history.prices_at(event.seq):
                cost = event.outcomes[COST_USD, :, event.providers.index(name)]
                paid = cost[cost > 0.0]
                if len(paid):
                    return event.seq, unit_near(float(np.median(paid)))
        return None

    def _count_latencies(self, event: Evidence, *, sign: int) -> None:
        for column, name in enumerate(event.providers):
            latency_s = event.outcomes[LATENCY_S, :, column]
            measured = latency_s[np.isfinite(latency_s)]
            # As many as say what is usual, and no more than the route's own calls soon outweigh.
            chosen = measured[np.linspace(0, len(measured) - 1, min(len(measured), RECENT)).astype(np.intp)]
            for value in chosen.tolist():
                self._beliefs.count_latency(name, event.seq, value, sign=sign)

    def state(self) -> State:
        """Return the evidence in force as plain arrays."""
        result: State = {"sources": texts(event.source for event in self.events)}
        for i, event in enumerate(self.events):
            arrays: State = {
                **{name: getattr(event, name) for name in _ARRAYS},
                "place": np.array([event.seq, event.part], dtype=np.int64),
                "providers": texts(event.providers),
                "names": packed((event.encoder_version, event.tasks, event.terms)),
            }
            result |= joined(**{str(i): arrays})
        return result

    def restore(self, state: State) -> None:
        """Become what gave `state`; the beliefs are restored on their own."""
        self._events = {}
        for i, source in enumerate(from_texts(state["sources"])):
            arrays = part(state, str(i))
            version, tasks, terms = unpacked(
                arrays["names"], tuple[str, tuple[str | None, ...], tuple[bytes | None, ...]]
            )
            seq, number = arrays["place"].tolist()
            self._events[source, number] = Evidence(
                seq=seq,
                source=source,
                part=number,
                providers=tuple(from_texts(arrays["providers"])),
                encoder_version=version,
                tasks=tasks,
                terms=terms,
                **{name: arrays[name] for name in _ARRAYS},
            )
        for name in {name for event in self.events for name in event.providers}:
            if (unit := self._unit(name)) is not None:
                self._beliefs.evidence_units[name] = unit


def encoded(event: Evidence, text: TextEncoder | None) -> FloatArray:
    """Return the features of evidence by an encoder of texts, if there is one, shape (n, width).

    Of a row with unknown features and without terms, the text is not known either.
    """
    if text is None:
        return event.features
    terms = event.terms or (None,) * len(event)
    coordinates = text.encode_many(terms)
    without = np.array([each is None for each in terms], dtype=np.bool_)
    coordinates[without & np.isnan(event.features).any(axis=1)] = np.nan
    return np.hstack([event.features, coordinates])


def known_features(
    context: Context, encode: Callable[[Context], FloatArray], blocks: Sequence[Block]
) -> FloatArray:
    """Return features (d,) as `Evidence` has them: those of a request, NaN where nothing is known.

    Of a context without text, embedding or features, no more than task and attributes is known.
    """
    if context.text is not None or context.embedding is not None or context.features is not None:
        row = design_row(encode(context), width=sum(block.width for block in blocks))
        return row[0, 1:]
    known_blocks = {"task": context.task is not None, "attributes": bool(context.attributes)}
    is_known = np.concatenate(
        [[], *(np.full(block.width, known_blocks.get(block.name, False)) for block in blocks)]
    )
    return np.where(is_known, encode(context), np.nan) if is_known.any() else np.full(len(is_known), np.nan)


def _tokens(event: Evidence) -> FloatArray:
    return event.input_tokens if len(event.input_tokens) else np.zeros(len(event))


class _Answers(NamedTuple):
    """What evidence says of one provider, whose column it is, with features (n, d) by the present encoder."""

    event: Evidence
    features: FloatArray
    column: int

    def of(self, quantity: int) -> FloatArray:
        """Return one of the outcomes, shape (n,)."""
        return self.event.outcomes[quantity, :, self.column]

    def means(self, values: FloatArray, *, squares: FloatArray) -> list[Means]:
        """Return the rows that have a value (n,), if any; ``squares`` are mean squares of several answers."""
        counts = self.event.counts[:, self.column]
        rows = np.isfinite(values) & (counts > 0.0)
        if not rows.any():
            return []
        targets, counts = values[rows], counts[rows]
        squares = np.where(counts == 1.0, targets * targets, squares[rows])
        return [Means(self.features[rows], targets, squares, counts)]


def _joined(means: Sequence[Means]) -> Means | None:
    return Means(*map(np.concatenate, zip(*means, strict=True))) if means else None
