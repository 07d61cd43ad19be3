"""The router: ask it for a decision, tell it what came of it.

`decide` changes nothing; `learn` folds one event. The same object serves and replays.

    request ─► features ─► beliefs ─► utility ─► policy ─► floor ─► draw ─► decision
    decision, outcome, feedback ─► ledger ─► statistics ─► beliefs, shadow price
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from optimizer.beliefs import Beliefs, row_of
from optimizer.constraints import ConstraintChecker, check_contradictions, merge
from optimizer.distribution import distribution, drawn, outside
from optimizer.errors import InvalidInput, NoEligibleProvider
from optimizer.events import Context, Decision, DriftAlarm, Event, FloatArray, check_learnable, check_request
from optimizer.features.base import Block, fingerprint
from optimizer.features.encoder import Encoder
from optimizer.learning import Learning
from optimizer.newcomers import Newcomers
from optimizer.pacing import Pacing
from optimizer.policies.base import Policy
from optimizer.policies.thompson import Thompson
from optimizer.route import Constraints, Objective, Route
from optimizer.snapshot import read_snapshot, write_snapshot
from optimizer.state import from_texts, joined, part, texts


class Router:
    """Chooses a provider for each request of one route, and learns from what comes of it.

    ``encoder`` turns contexts into features; a caller that has features already gives their blocks
    as ``block_widths`` instead and asks with `decide_features`.
    """

    def __init__(
        self,
        route: Route,
        *,
        encoder: Encoder | None = None,
        block_widths: Sequence[Block] = (),
        encoder_version: str = "",
        policy: Policy | None = None,
        detect_drift: bool = True,
    ) -> None:
        self._encoder = encoder
        blocks = tuple(encoder.blocks) if encoder is not None else tuple(block_widths)
        self._encoder_version = encoder.version if encoder is not None else encoder_version
        self._policy: Policy = policy if policy is not None else Thompson()
        self._blocks, self._width = blocks, sum(block.width for block in blocks)
        self.route = route
        self._beliefs = Beliefs(blocks, route.providers)
        self._learning = Learning(route, self._beliefs, detect_drift=detect_drift)
        self._pacing = Pacing(route, self._policy)
        self._newcomers = Newcomers(share=route.newcomer_share)
        self._order = 0
        self._apply(route)
        self._pacing.configure(
            route, self._beliefs, out=outside(self._names, self._checker.standing, self._newcomers)
        )

    def _apply(self, route: Route) -> None:
        check_contradictions(route.constraints, route.providers)
        self.route = route
        self._names = tuple(provider.name for provider in route.providers)
        self._checker = ConstraintChecker(route.providers, route.constraints)

    def _pace(self) -> None:
        out = outside(self._names, self._checker.standing, self._newcomers)
        self._pacing.configure(self.route, self._beliefs, out=out)

    def configure(self, route: Route) -> None:
        """Providers, prices, objective, budget and rules as they are from the next decision on."""
        self._apply(route)
        self._newcomers.configure(self._beliefs.names, self._names, share=route.newcomer_share)
        self._beliefs.configure(route.providers)
        self._learning.configure(route)
        self._pacing.configure(
            route, self._beliefs, out=outside(self._names, self._checker.standing, self._newcomers)
        )

    @property
    def alarms(self) -> list[DriftAlarm]:
        """The drift alarms raised so far, oldest first."""
        return self._learning.alarms

    def decide(
        self,
        context: Context,
        *,
        decision_id: str,
        draw: float,
        objective: Objective | None = None,
        constraints: Constraints | None = None,
        candidates: tuple[str, ...] | None = None,
        at_s: float | None = None,
    ) -> Decision:
        """The choice for one request; ``draw`` in [0, 1) is the caller's random number."""
        if context.features is not None:
            features = context.features
        elif self._encoder is not None:
            features = self._encoder.encode(context)
        else:
            raise InvalidInput("this router has no encoder: give the context's features")
        tokens = float(context.input_tokens or 0)
        if context.input_tokens is None and context.text is not None:
            tokens = len(context.text) / 4.0
        return self.decide_features(
            features,
            decision_id=decision_id,
            draw=draw,
            input_tokens=tokens,
            objective=objective,
            constraints=constraints,
            candidates=candidates,
            at_s=at_s,
            task=context.task,
        )

    def decide_features(
        self,
        features: FloatArray,
        *,
        decision_id: str,
        draw: float,
        input_tokens: float = 0.0,
        objective: Objective | None = None,
        constraints: Constraints | None = None,
        candidates: tuple[str, ...] | None = None,
        at_s: float | None = None,
        task: str | None = None,
    ) -> Decision:
        """As `decide`, for features (width,) of the router's encoder; changes nothing."""
        check_request(input_tokens=input_tokens, at_s=at_s)
        row = row_of(features, width=self._width)
        beliefs, pacing = self._beliefs, self._pacing
        pacing.check_time(at_s)
        listed = beliefs.list_cost(input_tokens)
        judged = beliefs.judge(row, listed)
        shadow_price, latency_weight = pacing.weights(objective)
        utility, spread = judged.utility(shadow_price, latency_weight)
        checker = self._checker
        if constraints is not None:
            merged = merge(self.route.constraints, constraints)
            checker = ConstraintChecker(self.route.providers, merged)
        ruled_out = checker.check(
            candidates=candidates,
            input_tokens=input_tokens,
            expected_cost_usd=np.where(beliefs.cost_known, judged.cost_usd[0], np.nan),
            expected_latency_s=judged.latency_s,
            tail_latency_s=beliefs.tail_latency_s,
        )
        if len(ruled_out) == len(self._names):
            reasons = "; ".join(f"{name} {reason}" for name, reason in ruled_out.items())
            raise NoEligibleProvider(f"no provider may serve decision {decision_id!r}: {reasons}")
        probabilities, floor = distribution(
            self._policy,
            utility,
            spread,
            names=self._names,
            cost_usd=judged.cost_usd[0],
            ruled_out=ruled_out,
            newcomers=self._newcomers,
            pacing=pacing,
        )
        chosen = drawn(probabilities, draw)
        expected = np.empty((6, len(self._names)))
        expected[0], expected[2], expected[3] = judged.quality[0], judged.cost_usd[0], judged.cost_sd[0]
        np.sqrt(judged.quality_variance[0], out=expected[1])
        expected[4], expected[5] = judged.latency_s, judged.failure
        return Decision(
            id=decision_id,
            order=self._order,
            route=self.route.name,
            providers=self._names,
            probabilities=probabilities,
            selected=self._names[chosen],
            features=row[0, 1:],
            input_tokens=input_tokens,
            expected=expected,
            ineligible=ruled_out,
            shadow_price=shadow_price,
            floor=floor,
            encoder_version=self._encoder_version,
            model_version=beliefs.quality.version,
            at_s=at_s,
            task=task,
        )

    def learn(self, event: Event) -> None:
        """Fold one event; what is repeated, late, corrected or reordered ends in the same statistics."""
        if isinstance(event, Decision):
            check_learnable(event, width=self._width)
            if self._learning.open(event):
                self._pacing.decided(event, self._beliefs)
            self._order = max(self._order, event.order + 1)
        elif isinstance(event, DriftAlarm):
            self._learning.alarm(event)
        else:
            self._learning.apply(event)
        if self._newcomers.names and self._newcomers.learned(self._learning.counts):
            self._pacing.configure(
                self.route, self._beliefs, out=outside(self._names, self._checker.standing, self._newcomers)
            )
        for usd in self._learning.take_spending():
            self._pacing.spend(usd)
        if self._learning.refreshed:
            self._learning.refreshed = False
            self._pacing.solve(self._beliefs)

    def rebuild(self, events: Iterable[Event]) -> Router:
        """Fold a log, such as `optimizer.log.read_log` gives, and return this router.

        Drift alarms of the log are taken as they are, so give a router made with ``detect_drift=False``
        where the log holds them.
        """
        for event in events:
            self.learn(event)
        return self

    def close_before(self, order: int) -> int:
        """Let go of the decisions before ``order``, and say how many: what was learned of them stays.

        Memory stays bounded by it. What still comes for them is refused.
        """
        return self._learning.close_before(order)

    def save(self, path: str | Path, *, offset: int = 0) -> None:
        """Write everything learned to a file; ``offset`` says how much of the log it stands for."""
        arrays = joined(
            beliefs=self._beliefs.state(),
            learning=self._learning.state(),
            pacing=self._pacing.state(),
            router={"newcomers": texts(sorted(self._newcomers.names))},
        )
        write_snapshot(path, arrays, meta={**self._identity(), "order": self._order, "offset": offset})

    def _identity(self) -> dict[str, str]:
        route = fingerprint(json.dumps(asdict(self.route), default=sorted))
        encoder = fingerprint(self._encoder_version, repr(self._blocks))
        return {"route": route, "encoder": encoder, "policy": self._policy.name}

    def load(self, path: str | Path) -> int:
        """Become the router that was saved, and return its offset; fold the rest of the log on top.

        For a router that has learned nothing, of the same route, encoder and policy. `SnapshotError` where
        the file is damaged or of another route, encoder, policy or format; this router is then as it was.
        """
        if self._learning.known:
            raise InvalidInput("this router has learned already: load into a new one of the same route")
        arrays, meta = read_snapshot(path, expected=self._identity())
        self._beliefs.restore(part(arrays, "beliefs"))
        self._learning.restore(part(arrays, "learning"))
        self._pacing.restore(part(arrays, "pacing"))
        self._newcomers.names = set(from_texts(arrays["router/newcomers"]))
        self._order = int(meta["order"] or 0)
        return int(meta["offset"] or 0)

    def reencode(
        self, features: Mapping[str, FloatArray], *, blocks: Sequence[Block], encoder_version: str
    ) -> None:
        """Move to other features: statistics are folded anew from the decisions in ``features``, by id.

        A decision that is not among them no longer counts towards quality and cost.
        """
        width = sum(block.width for block in blocks)
        rows = {name: row_of(vector, width=width)[0, 1:] for name, vector in features.items()}
        self._blocks, self._width = tuple(blocks), width
        self._encoder_version = encoder_version
        self._learning.reencode(rows, blocks)
        self._pacing.forget_window(self._learning.recent_rows())
        self._pacing.solve(self._beliefs)

    def summary(self) -> dict[str, object]:
        """What is learned, readable: trust in context, shadow price, spend, and each provider's level."""
        at = self._beliefs.quality.posterior.centre
        level = self._beliefs.quality.posterior.mean @ at
        trusted = sorted(self._beliefs.quality.members.items(), key=lambda item: -item[1])
        return {
            "decisions": self._order,
            "trust": {name: round(weight, 4) for name, weight in trusted if weight > 1e-3},
            "shadow_price": self._pacing.shadow_price,
            "spent_usd": self._pacing.spent_usd,
            "providers": {
                name: {
                    "quality": round(float(level[i]), 4),
                    "feedback": self._learning.counts.get(name, 0),
                    "newcomer": name in self._newcomers.names,
                }
                for i, name in enumerate(self._names)
            },
            "alarms": len(self.alarms),
        }
