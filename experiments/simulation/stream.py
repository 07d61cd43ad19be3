"""One seed's stream of requests: their order, the features that can be known by then, and the dice.

A text projection is fitted only on prompts already seen: first when `FIRST_FIT` have been, and again
whenever that number has doubled, up to `LAST_FIT`. Until the first fit its coordinates are zeros.
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
from fairlead.optimizer.features import Block, Encoder, Featuriser, SurfaceFeatures, TaskLabel, TextProjection
from fairlead.optimizer.types import Context

FIRST_FIT: Final = 128
LAST_FIT: Final = 16_384
_ORDER, _DRAWS, _FEEDBACK, _NOISE, _WARM_START = range(
    5
)  # one generator each, so that no option shifts another's dice


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A run of steps `start` to `stop` with one encoder.

    `features` has a row for every step from 0 to `stop`, shape (stop, d): those of this segment, and those
    of all earlier steps again, for a router that folds what it learned into the new space.
    """

    start: int
    stop: int
    features: Matrix
    blocks: tuple[Block, ...]
    version: str
    warm: Matrix = field(default_factory=lambda: np.empty((0, 0)))
    """Features of the prompts of the warm start, shape (m, d)."""


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
    segments: tuple[Segment, ...]
    warm_start: WarmStart | None = None

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
        segments=tuple(_segments(contexts, settings, start.contexts if start is not None else ())),
        warm_start=start,
    )


def encoder_parts(settings: Settings) -> list[Featuriser]:
    """Make the featurisers that need no fitting."""
    return [SurfaceFeatures(), *([TaskLabel()] if settings.task_labels else [])]


def _segments(stream: Sequence[Context], settings: Settings, earlier: Sequence[Context]) -> Iterator[Segment]:
    """Yield the segments of a stream, before which some prompts were seen ``earlier``."""
    encoder = Encoder(encoder_parts(settings))
    m, n = len(earlier), len(stream)
    contexts = [*earlier, *stream]
    fixed = encoder.encode_many(contexts)
    if settings.features == "surface":
        yield Segment(
            start=0,
            stop=n,
            features=fixed[m:],
            blocks=encoder.blocks,
            version=encoder.version,
            warm=fixed[:m],
        )
        return
    width = settings.projection_width
    blocks = (*encoder.blocks, Block(name="projection", width=width, isotropic=True))
    columns, version = np.zeros((m + n, width)), f"{encoder.version}+none"
    start = 0
    for fit_at in (*_fit_steps(m, n), n):
        if fit_at > start:
            features = np.hstack([fixed, columns])[: m + fit_at]
            yield Segment(
                start=start,
                stop=fit_at,
                features=features[m:],
                blocks=blocks,
                version=version,
                warm=features[:m],
            )
        if fit_at < n:
            seen = m + fit_at
            projection = fit_on(contexts[:seen], width)
            if projection is not None:
                needed = min(2 * seen, m + n) if seen < LAST_FIT else m + n
                columns = np.zeros((m + n, width))
                columns[:needed] = projection.transform(contexts[:needed])
                version = f"{encoder.version}+{projection.version}"
        start = fit_at


def _fit_steps(earlier: int, n: int) -> Iterator[int]:
    """Yield the steps at which a projection is fitted, to all prompts seen so far."""
    if earlier >= FIRST_FIT:
        yield 0
    seen = FIRST_FIT
    while seen < earlier + n and seen <= LAST_FIT:
        if seen > earlier:
            yield seen - earlier
        seen *= 2


def fit_on(contexts: Sequence[Context], width: int) -> TextProjection | None:
    """Fit a projection on the texts; None if they are too few or too alike to tell apart."""
    try:
        return TextProjection.fit([context.text for context in contexts if context.text], width=width)
    except ValueError:
        return None
