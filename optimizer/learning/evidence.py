"""What was known before a route's own traffic, turned into what its beliefs take as a prior."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.text import TextEncoder
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.models.beliefs import Beliefs
from fairlead.optimizer.models.linear import LinearBelief
from fairlead.optimizer.models.pricing import TYPICAL_OUTPUT_TOKENS, call_price, kind_of, unit_near
from fairlead.optimizer.models.prior import Means
from fairlead.optimizer.models.recent import RECENT
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
from fairlead.optimizer.types.evidence import COST_USD, LATENCY_S, OUTPUT_TOKENS, QUALITY, Evidence

_ARRAYS: Final = ("features", "outcomes", "counts", "input_tokens")


class EvidenceInForce:
    """The evidence of one route in force, by source."""

    def __init__(self, beliefs: Beliefs, history: RouteHistory, text: TextLearner) -> None:
        self._beliefs, self._history, self._text = beliefs, history, text
        self._events: dict[str, Evidence] = {}

    @property
    def events(self) -> list[Evidence]:
        """What each source says, by its name."""
        return [self._events[source] for source in sorted(self._events)]

    def of(self, source: str) -> Evidence | None:
        """Return what a source says; None if it says nothing."""
        return self._events.get(source)

    def learn(self, event: Evidence, *, width: int) -> bool:
        """Replace what a source says; False if it has said something since, or the same."""
        before = self._events.get(event.source)
        if before is not None and before.seq >= event.seq:
            return False
        self._check(event, width=width)
        if before is not None:
            self._count_latencies(before, sign=-1)
            self._drop(before)
        self._events[event.source] = event
        self._count_latencies(event, sign=1)
        self._know(event)
        return True

    def _check(self, event: Evidence, *, width: int) -> None:
        names = self._history.names()
        for name in event.providers:
            if name not in names:
                raise InvalidInput(
                    f"evidence of {event.source!r} is about {name!r}, which is not on the route: add "
                    f"it first, name it as the route does, or leave it out; the route has {', '.join(names)}"
                )
        if len(event) and event.features.shape[1] != width:
            raise InvalidInput(
                f"evidence of {event.source!r} has {event.features.shape[1]} features, but {width} are "
                "needed: encode it with the encoder of the route"
            )

    def _drop(self, event: Evidence) -> None:
        for belief in (self._beliefs.quality, self._beliefs.cost):
            belief.know(event.source, event.seq, dict.fromkeys(event.providers))

    def _know(self, event: Evidence) -> None:
        whole = replace(event, features=encoded(event, self._text.encoder))
        self._tell(whole, self._beliefs.quality, self._beliefs.cost)

    def tell(self, quality: LinearBelief, cost: LinearBelief, text: TextEncoder) -> None:
        """Tell beliefs in the features of another encoder of texts all that is known."""
        for event in self.events:
            self._tell(replace(event, features=encoded(event, text)), quality, cost)

    def _tell(self, event: Evidence, quality: LinearBelief, cost: LinearBelief) -> None:
        means = {}
        for column, name in enumerate(event.providers):
            values = event.outcomes[QUALITY, :, column]
            # A mean of marks between 0 and 1 varies most if they are all 0 or 1.
            means[name] = _means(event, column, values, squares=values)
        quality.know(event.source, event.seq, means)
        for name in event.providers:
            self._tell_cost(event, name, cost)

    def _tell_cost(self, event: Evidence, name: str, cost: LinearBelief) -> None:
        column = event.providers.index(name)
        units = self._units(event, name, column)
        # Lengths of answers vary about as much as they are long.
        means = None if units is None else _means(event, column, units, squares=2.0 * units * units)
        cost.know(event.source, event.seq, {name: means})

    def know_cost(self, name: str) -> None:
        """Take the cost of one provider in again, since its unit has changed."""
        for event in self.events:
            if name in event.providers:
                whole = replace(event, features=encoded(event, self._text.encoder))
                self._tell_cost(whole, name, self._beliefs.cost)

    def _units(self, event: Evidence, name: str, column: int) -> FloatArray | None:
        """Return costs (n,) in the units that are learned; NaN if not known, None if none is."""
        prices, unit = self._history.prices_at(event.seq).get(name), self._beliefs.cost_unit(name)
        kind, cost = kind_of(prices), event.outcomes[COST_USD, :, column]
        if self._history.cost_kind(name) != kind or (prices is None and unit is None):
            return None
        price = call_price(prices, unit[1] if unit else 0.0).scaled(self._beliefs.cost_scale(name))
        tokens = _tokens(event)
        base = price.base + price.base_token * tokens
        units: FloatArray = (cost - base) / np.maximum(price.unit + price.unit_token * tokens, 1e-12)
        if kind == "output tokens":
            units = np.where(
                np.isnan(units), event.outcomes[OUTPUT_TOKENS, :, column] / TYPICAL_OUTPUT_TOKENS, units
            )
        return units

    def unit(self, name: str) -> tuple[int, float] | None:
        """Return seq and USD of the first evidence that can give a provider without price list its unit."""
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
                "seq": np.array(event.seq),
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
            self._events[source] = Evidence(
                seq=int(arrays["seq"]),
                source=source,
                providers=tuple(from_texts(arrays["providers"])),
                encoder_version=version,
                tasks=tasks,
                terms=terms,
                **{name: arrays[name] for name in _ARRAYS},
            )


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


def _tokens(event: Evidence) -> FloatArray:
    return event.input_tokens if len(event.input_tokens) else np.zeros(len(event))


def _means(event: Evidence, column: int, values: FloatArray, *, squares: FloatArray) -> Means | None:
    """Return the rows that have a value (n,); ``squares`` are the mean squares of several answers."""
    counts = event.counts[:, column]
    rows = np.isfinite(values) & (counts > 0.0)
    if not rows.any():
        return None
    targets, counts = values[rows], counts[rows]
    squares = np.where(counts == 1.0, targets * targets, squares[rows])
    return Means(event.features[rows], targets, squares, counts)
