"""What is in force for many decisions, as plain arrays: tens of thousands of events are read in a moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead.optimizer.types.arrays import State, coded, from_coded
from fairlead.optimizer.types.events import Feedback, Outcome

_TOKENS = ("input_tokens", "output_tokens", "cached_tokens")


def told_state(events: Sequence[tuple[int, Outcome | Feedback]]) -> State:
    """Events, each with the number of its decision; of the decisions only the number is kept."""
    outcomes = [(i, event) for i, event in events if isinstance(event, Outcome)]
    feedback = [(i, event) for i, event in events if isinstance(event, Feedback)]
    return {
        "outcome_of": _whole(i for i, _ in outcomes),
        "outcome_revision": _whole(event.revision for _, event in outcomes),
        "outcome_numbers": _numbers([(event.cost_usd, event.latency_s) for _, event in outcomes], 2),
        "outcome_tokens": _numbers(
            [(event.input_tokens, event.output_tokens, event.cached_tokens) for _, event in outcomes], 3
        ),
        **coded("outcome_provider", [event.served_provider for _, event in outcomes]),
        **coded("outcome_status", [event.status for _, event in outcomes]),
        "feedback_of": _whole(i for i, _ in feedback),
        "feedback_revision": _whole(event.revision for _, event in feedback),
        "feedback_value": _numbers([(event.value,) for _, event in feedback], 1),
        **coded("feedback_metric", [event.metric for _, event in feedback]),
        **coded("feedback_source", [event.source for _, event in feedback]),
    }


def told_from_state(state: State, decision_ids: Sequence[str]) -> Iterator[Outcome | Feedback]:
    """The events of a `told_state`, for decisions of these ids by their numbers."""
    for of, revision, numbers, tokens, provider, status in zip(
        state["outcome_of"].tolist(),
        state["outcome_revision"].tolist(),
        state["outcome_numbers"].tolist(),
        state["outcome_tokens"].tolist(),
        from_coded("outcome_provider", state),
        from_coded("outcome_status", state),
        strict=True,
    ):
        cost, latency = map(_known, numbers)
        counts = (None if count != count else int(count) for count in tokens)
        yield Outcome(
            decision_id=decision_ids[of],
            served_provider=provider,
            cost_usd=cost,
            latency_s=latency,
            status=status,
            revision=revision,
            **dict(zip(_TOKENS, counts, strict=True)),
        )
    for of, revision, (value,), metric, source in zip(
        state["feedback_of"].tolist(),
        state["feedback_revision"].tolist(),
        state["feedback_value"].tolist(),
        from_coded("feedback_metric", state),
        from_coded("feedback_source", state),
        strict=True,
    ):
        yield Feedback(
            decision_id=decision_ids[of],
            metric=metric,
            source=source,
            value=_known(value),
            revision=revision,
        )


def _whole(values: Iterator[int] | Any) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)


def _numbers(rows: Sequence[tuple[float | None, ...]], width: int) -> NDArray[np.float64]:
    """Shape (n, width), NaN for what is not known: no event holds one."""
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _known(number: float) -> float | None:
    return None if number != number else number
