"""One seed's stream of requests: their order, the features that can be known by then, and the dice.

Features of texts are learned as a served route learns them (`TextLearner`): only from prompts already seen,
and again whenever their number has doubled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairlead.experiments.simulation.scenario import Matrix, Settings, changed_outcomes, split_rows
from fairlead.experiments.simulation.warm_start import WarmStart, warm_start
from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Block, Encoder, Featuriser, SurfaceFeatures, TaskLabel
from fairlead.optimizer.features.terms import TermCounter
from fairlead.optimizer.features.text import fit_text
from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.types import Context
from fairlead.optimizer.types.events import EncoderFitted

_KEY: Final = b"a simulation needs no secrets"
# One generator each, so that no option shifts another's dice.
_ORDER, _DRAWS, _FEEDBACK, _NOISE, _WARM_START = range(5)


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A run of steps `start` to `stop` with one encoder.

    `features` has a row for every step from 0 to `stop`, shape (stop, d): those of this segment, and those of
    all earlier steps again, for players that learn from features alone. `fitted` is the event by which a
    router comes to the same encoder; None for the first segment.
    """

    start: int
    stop: int
    features: Matrix
    fitted: EncoderFitted | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """The requests of one seed: n steps, k providers; steps from `score_from` on are scored.

    `rows` are the table's rows in the order of the stream. `quality` and `cost_usd`, shape (n, k), hold the
    changed outcomes, NaN where the provider cannot be chosen. `draws` in [0, 1) pick from each decision's
    distribution, `has_feedback` is whether its quality is ever revealed, `noise` (n, k) is standard normal.
    """

    seed: int
    rows: NDArray[np.intp]
    score_from: int
    quality: Matrix
    cost_usd: Matrix
    input_tokens: tuple[float, ...]
    draws: tuple[float, ...]
    has_feedback: tuple[bool, ...]
    noise: Matrix
    blocks: tuple[Block, ...]
    """Of the features that need no fitting, whose encoder is `version`."""
    version: str
    fixed: Matrix
    """Those features, shape (n, d)."""
    terms: tuple[bytes | None, ...]
    """The terms of each prompt, from which features of texts are learned; None without."""
    segments: tuple[Segment, ...]
    warm_start: WarmStart | None = None
    earlier_features: Matrix = field(default_factory=lambda: np.empty((0, 0)))
    """Of the prompts of the warm start, as `fixed`."""
    earlier_terms: tuple[bytes | None, ...] = ()

    def __len__(self) -> int:
        """Count the steps."""
        return len(self.rows)


def make_stream(table: OutcomeTable, settings: Settings, seed: int) -> Stream:
    """Permute the prompts, warm-up before scored ones, apply the changes and compute all features."""
    warm, scored = split_rows(table, settings)
    start = warm_start(table, settings, np.random.default_rng([seed, _WARM_START]))
    if start is not None:
        warm, scored = np.setdiff1d(warm, start.rows), np.setdiff1d(scored, start.rows)
    rng = np.random.default_rng([seed, _ORDER])
    rows = np.concatenate([rng.permutation(warm), rng.permutation(scored)])
    n, k = len(rows), len(table.providers)
    quality, cost = changed_outcomes(table, settings, rows, score_from=len(warm))
    contexts = [table.context(row) for row in rows.tolist()]
    encoder = Encoder(encoder_parts(settings))
    fixed, terms = encoder.encode_many(contexts), _terms(contexts, settings)
    earlier = () if start is None else start.contexts
    earlier_terms = _terms(earlier, settings)
    gets_feedback = np.random.default_rng([seed, _FEEDBACK]).random(n) < settings.feedback_rate
    return Stream(
        seed=seed,
        rows=rows,
        score_from=len(warm),
        quality=quality,
        cost_usd=cost,
        input_tokens=tuple(context.tokens for context in contexts),
        draws=tuple(np.random.default_rng([seed, _DRAWS]).random(n).tolist()),
        has_feedback=tuple(gets_feedback.tolist()),
        noise=np.random.default_rng([seed, _NOISE]).standard_normal((n, k)),
        blocks=encoder.blocks,
        version=encoder.version,
        fixed=fixed,
        terms=terms,
        segments=tuple(_segments(fixed, terms, earlier_terms)),
        warm_start=start,
        earlier_features=encoder.encode_many(earlier),
        earlier_terms=earlier_terms,
    )


def encoder_parts(settings: Settings) -> list[Featuriser]:
    """Make the featurisers that need no fitting."""
    return [SurfaceFeatures(), *([TaskLabel()] if settings.task_labels else [])]


def _terms(contexts: Sequence[Context], settings: Settings) -> tuple[bytes | None, ...]:
    """Count the terms of each text as a route does that learns features of texts."""
    if settings.features == "surface":
        return (None,) * len(contexts)
    counter = TermCounter(_KEY)
    return tuple(counter.count(context.text) if context.text else None for context in contexts)


def _segments(
    fixed: Matrix, terms: Sequence[bytes | None], earlier: Sequence[bytes | None]
) -> Iterator[Segment]:
    """Learn features of texts as the prompts come; a segment begins wherever they are learned anew.

    Terms of prompts that came ``earlier`` than the first step count too.
    """
    learner, start, n = TextLearner(), 0, len(terms)
    features, fitted = fixed, None
    learner.know(earlier)
    for stop in range(n):
        if learner.is_due:
            if stop:
                yield Segment(start=start, stop=stop, features=features[:stop], fitted=fitted)
            start, fitted = stop, learner.fit()
            learner.fold(fitted)
            if learner.pending is not None:
                learner.adopt()
            if learner.encoder is not None:
                features = np.hstack([fixed, learner.encoder.encode_many(terms)])
        if (each := terms[stop]) is not None:
            learner.add(stop, each)
    yield Segment(start=start, stop=n, features=features, fitted=fitted)


def text_features(texts: Sequence[str]) -> Matrix | None:
    """Return features of texts, (n, width), learned from all of them; None if they are too few or alike."""
    counter = TermCounter(_KEY)
    terms = [counter.count(text) if text else None for text in texts]
    try:
        encoder = fit_text([each for each in terms if each is not None])
    except InvalidInput:
        return None
    return encoder.encode_many(terms)
