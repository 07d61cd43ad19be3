"""What is known of a route's providers before its own traffic: encoded as requests are, and logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from fairlead.api.problems import Problem, from_refusal
from fairlead.api.schemas.evidence import EvidenceIn, EvidenceOut, KnownRequestIn
from fairlead.api.service.auth import Principal
from fairlead.api.service.decisions import DecisionService
from fairlead.api.service.service import Service, digest_of, new_id
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.store import Row
from fairlead.api.store.base import encode_metadata
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.types import Context, Evidence, Metric

_FIELDS: Final = ("quality", "output_tokens", "cost_usd", "latency_s")
"""In the order of `Evidence.outcomes`."""


class EvidenceService:
    """Takes in evidence about the providers of a route."""

    def __init__(self, service: Service, decisions: DecisionService) -> None:
        self._service, self._decisions = service, decisions

    async def add(self, name: str, body: EvidenceIn, principal: Principal, *, preview: bool) -> EvidenceOut:
        """Check and encode evidence, write it unless it is a preview, and return once it is dispatched."""
        principal.require_route(name)
        served = await self._decisions.served(name)
        metric = _metric(served, body.metric)
        _check_prompts(body.rows)
        try:
            event = await self._service.in_thread(self._event, served, body, metric)
        except InvalidInput as error:
            raise from_refusal(error) from None
        answer = EvidenceOut(
            preview=preview,
            seq=None,
            source=body.source,
            part=body.part,
            rows=len(event),
            answers=dict(zip(event.providers, event.counts.sum(axis=0).astype(int).tolist(), strict=True)),
        )
        if preview:
            return answer
        row = Row.evidence(
            encode(event),
            uid=new_id("k:"),
            route=name,
            at_s=self._service.clock(),
            digest=digest_of(body),
            metadata=encode_metadata({"by": principal.key}),
        )
        ((logged, _),) = await self._service.append([row])
        await self._service.engine.wait_until_folded(logged.seq)
        return answer.model_copy(update={"seq": logged.seq})

    def _event(self, served: ServedRoute, body: EvidenceIn, metric: Metric | None) -> Evidence:
        """Encode the rows as the route encodes requests."""
        contexts, prompts = [_context(row) for row in body.rows], [row.prompt for row in body.rows]
        providers = sorted({name for row in body.rows for name in row.answers})
        column = {name: j for j, name in enumerate(providers)}
        outcomes = np.full((len(_FIELDS), len(contexts), len(providers)), np.nan)
        counts = np.zeros((len(contexts), len(providers)))
        for i, row in enumerate(body.rows):
            for name, answer in row.answers.items():
                j = column[name]
                counts[i, j] = answer.count
                for field, values in zip(_FIELDS, outcomes, strict=True):
                    value = getattr(answer, field)
                    if value is not None:
                        values[i, j] = value
                if metric is not None and answer.quality is not None:
                    outcomes[0, i, j] = metric.scaled(answer.quality)
        return served.router.evidence_of(
            contexts,
            seq=0,
            source=body.source,
            part=body.part,
            providers=tuple(providers),
            outcomes=outcomes,
            counts=counts,
            input_tokens=np.array([context.tokens for context in contexts]),
            tasks=tuple(row.task for row in body.rows),
            terms=tuple(map(self._service.terms_of, prompts)) if served.learns_text else (),
        )


def _metric(served: ServedRoute, name: str | None) -> Metric | None:
    """Return the metric whose range qualities have; None for [0, 1]."""
    if name is None:
        return None
    metrics = {metric.name: metric for metric in served.router.route.metrics}
    if name not in metrics:
        raise Problem("invalid", f"There is no metric {name!r}: the route has {', '.join(metrics)}.")
    return metrics[name]


def _check_prompts(rows: Sequence[KnownRequestIn]) -> None:
    """Raise a problem for the first prompt that comes twice: each row counts as a request of its own."""
    first: dict[tuple[str, str | None], int] = {}
    for i, row in enumerate(rows):
        if row.prompt is not None:
            earlier = first.setdefault((row.prompt, row.task), i)
            if earlier != i:
                raise Problem(
                    "invalid",
                    f"Rows {earlier} and {i} have the same prompt: give one row, with means over its answers "
                    "and their count.",
                )


def _context(row: KnownRequestIn) -> Context:
    return Context(
        text=row.prompt,
        task=row.task,
        attributes=row.attributes,
        embedding=None if row.embedding is None else np.array(row.embedding, dtype=np.float64),
        features=None if row.features is None else np.array(row.features, dtype=np.float64),
        input_tokens=row.input_tokens,
    )
