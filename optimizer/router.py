"""The router: it decides which provider serves a request, and learns from outcomes and feedback.

`decide` changes nothing; `learn` folds one event. The same object serves and replays.

    request ─► features ─► beliefs ─► utility ─► policy ─► floor ─► draw ─► decision
    decision, outcome, feedback ─► ledger ─► statistics ─► beliefs, shadow price
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.base import Block, fingerprint
from fairlead.optimizer.features.encoder import Encoder
from fairlead.optimizer.features.sketch import Sketch
from fairlead.optimizer.features.text import TEXT_BLOCK
from fairlead.optimizer.learning.evidence import encoded, known_features
from fairlead.optimizer.learning.learner import Learner
from fairlead.optimizer.learning.open_decision import OpenDecision
from fairlead.optimizer.learning.reencoding import Reencoded
from fairlead.optimizer.learning.route_history import RouteHistory
from fairlead.optimizer.learning.text_learner import TextLearner
from fairlead.optimizer.models.beliefs import Beliefs, Fitted
from fairlead.optimizer.models.circuit import Circuit
from fairlead.optimizer.models.linear import design_row
from fairlead.optimizer.persistence.route_codec import to_json
from fairlead.optimizer.persistence.snapshot import read_snapshot, write_snapshot
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.policies.thompson import Thompson
from fairlead.optimizer.selection.eligibility import check_contradictions
from fairlead.optimizer.selection.money_left import MoneyLeft
from fairlead.optimizer.selection.selector import Selector
from fairlead.optimizer.selection.shadow_price import Solution
from fairlead.optimizer.summary import summary
from fairlead.optimizer.types.arrays import FloatArray, joined, packed, part, unpacked
from fairlead.optimizer.types.budget import BudgetAlarm, BudgetState
from fairlead.optimizer.types.events import (
    CircuitChanged,
    Context,
    Decision,
    DriftAlarm,
    EncoderFitted,
    Event,
    Feedback,
    ImplausibleOutcome,
    Outcome,
    RouteChanged,
    check_tokens_and_time,
    copy_with,
)
from fairlead.optimizer.types.evidence import Evidence
from fairlead.optimizer.types.route import Constraints, Objective, Route
from fairlead.optimizer.types.validation import check_learnable

_REPORTS: Final = (Outcome, Feedback)


class Router:
    """Chooses a provider for each request of one route, and learns from outcomes and feedback.

    ``encoder`` turns contexts into features. Clients that compute features themselves give ``blocks``
    instead, which say what the features are, and contexts with ``features``. With ``detect_drift``, a
    provider whose rewards leave what was predicted raises an alarm; without, alarms come from the log only.

    >>> from fairlead import Context, Encoder, Feedback, Provider, Route, TaskLabel
    >>> route = Route(name="chat", providers=(Provider(name="small"), Provider(name="large")))
    >>> router = Router(route, encoder=Encoder([TaskLabel(width=8)]))
    >>> for decision_id, draw, value in [("d1", 0.3, 0.2), ("d2", 0.7, 0.9)]:
    ...     decision = router.decide(Context(task="sql"), decision_id=decision_id, draw=draw)
    ...     router.learn(decision)
    ...     router.learn(Feedback(decision_id=decision_id, value=value))
    >>> decision = router.decide(Context(task="sql"), decision_id="d3", draw=0.5)
    >>> decision.selected, round(decision.propensity, 2)
    ('large', 0.86)
    """

    def __init__(
        self,
        route: Route,
        *,
        encoder: Encoder | None = None,
        blocks: Sequence[Block] = (),
        encoder_version: str = "",
        policy: Policy | None = None,
        detect_drift: bool = True,
    ) -> None:
        self._encoder = encoder
        self._sketch = Sketch(encoder.blocks if encoder is not None else blocks)
        blocks = self._sketch.blocks
        version = encoder.version if encoder is not None else encoder_version
        self._encoder_version = self._sketch.version(version)
        self._policy: Policy = policy if policy is not None else Thompson()
        self._blocks = blocks
        self._text = TextLearner(fixed=self._sketch.width, version=self._encoder_version)
        self._history = RouteHistory(route)
        self._beliefs = Beliefs(blocks, route.providers)
        self._learner = Learner(self._history, self._beliefs, text=self._text, detect_drift=detect_drift)
        check_contradictions(route.constraints, route.providers)
        self.route = route
        self._selector = Selector(route, self._policy, self._beliefs)
        self.call_usd = self._learner.call_usd
        self._pacing, self._newcomers = self._selector.pacing, self._selector.newcomers
        self.next_seq = 0
        """The seq of the next decision or configuration: the number of those so far."""

    def configure(self, route: Route, *, refit: bool = True) -> RouteChanged:
        """Switch to a new route configuration; returns the event, to be logged before the next decision.

        Without ``refit`` the router may be left in need of one, as `learn` leaves it.

        Raises `InvalidInput` if the metrics or sources change, or if no provider could ever be eligible.
        """
        self.learn(event := RouteChanged(seq=self.next_seq, route=route))
        return event

    def _configure(self, event: RouteChanged) -> None:
        check_contradictions(event.route.constraints, event.route.providers)
        if self._learner.configure(event):
            self.route = self._history.latest
            self._selector.configure(self.route)

    @property
    def alarms(self) -> list[DriftAlarm]:
        """The drift alarms raised so far, oldest first."""
        return self._learner.alarms

    @property
    def budget_alarms(self) -> list[BudgetAlarm]:
        """The latest alarms of the route's budget, oldest first."""
        return self._pacing.alarms

    @property
    def budget_alarm_counts(self) -> dict[str, int]:
        """How many alarms of the budget were raised so far, by level in percent, or ``too_dear``."""
        return self._pacing.alarm_counts

    def share_budgets(self, shadow_price: float) -> None:
        """Take the shadow price of the budgets that the route shares with others from now on; 0: none."""
        self._pacing.share(shadow_price)

    def limit_spending(self, *limits: MoneyLeft, reserved_usd: float = 0.0) -> None:
        """Let the next decisions cost no more than hard budgets that the route shares have left.

        Of its own hard budget, ``reserved_usd`` are kept for decisions that were made and not learned yet.
        """
        self._pacing.hard_limits, self._pacing.reserved_usd = limits, reserved_usd

    def money_left(self, at_s: float) -> tuple[MoneyLeft, ...]:
        """Return what hard budgets have left at a time: the route's own, and those that it shares."""
        return self._pacing.money_left(at_s)

    def budget_state(self, at_s: float) -> BudgetState | None:
        """Return where the route's budget stands at a time; None without one that has periods."""
        pacer = self._pacing.pacer
        return None if pacer is None or pacer.budget.period is None else pacer.look(at_s)

    @property
    def quarantine(self) -> list[ImplausibleOutcome]:
        """The kinds of outcome that are accepted and not believed, each with its latest and their number."""
        return self._learner.quarantine()

    def implausible(self, outcome: Outcome) -> tuple[str, ...]:
        """Name the fields of an outcome of an open decision that would not be believed now."""
        return self._learner.implausible(outcome)

    def take_corrections(self) -> list[float]:
        """USD by which real costs changed since the last call without a new outcome of their decisions."""
        return self._learner.take_corrections()

    @property
    def circuits(self) -> dict[str, Circuit]:
        """The circuits that are not closed, by provider of the route."""
        return dict(self._beliefs.circuits)

    @property
    def circuit_changes(self) -> list[CircuitChanged]:
        """The latest changes of circuits, oldest first, at most 1,000."""
        return self._learner.circuit_changes

    @property
    def circuit_change_counts(self) -> dict[str, int]:
        """How often the circuit of each provider has changed so far."""
        return dict(self._learner.circuit_change_counts)

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
        """Choose a provider for one request; changes nothing.

        ``draw`` in [0, 1) is the random number that chooses, ``at_s`` the time in seconds, which a budget per
        day needs. ``objective``, ``constraints`` and ``candidates`` (names; None: all) hold for this request
        together with the route's own. Raises `InvalidInput`, or `NoEligibleProvider` if all are ruled out.
        """
        # Over forty lines for its named parameters and the fields of a decision, not for its steps.
        tokens = context.tokens
        check_tokens_and_time(tokens, at_s)
        features, version = self._text.encode(self._features(context), context.terms)
        row = design_row(features, width=self.width)
        prediction = self._beliefs.predict(row, tokens)
        selection = self._selector.select(
            prediction,
            decision_id=decision_id,
            draw=draw,
            input_tokens=tokens,
            objective=objective,
            constraints=constraints,
            candidates=candidates,
            at_s=at_s,
        )
        names = self._selector.names
        return Decision(
            id=decision_id,
            seq=self.next_seq,
            route=self.route.name,
            providers=names,
            probabilities=selection.probabilities,
            selected=names[selection.index],
            features=row[0, 1:],
            input_tokens=tokens,
            expected=selection.expected,
            ineligible=selection.ineligible,
            on_trial=selection.on_trial,
            relaxed=selection.relaxed,
            shadow_price=selection.shadow_price,
            floor=selection.floor,
            encoder_version=version,
            model_version=selection.version,
            at_s=at_s,
            task=context.task,
            latency_sd_s=prediction.latency_sd_s,
            terms=context.terms,
        )

    def _features(self, context: Context) -> FloatArray:
        if context.features is not None:
            return self._sketch.apply(context.features)
        if self._encoder is None:
            raise InvalidInput("this router has no encoder: give the context's features")
        return self._sketch.apply(self._encoder.encode(context))

    def evidence_of(self, contexts: Sequence[Context], **others: Any) -> Evidence:
        """Make evidence about contexts, encoded; raises `InvalidInput` if `learn` would refuse it now."""
        rows = [known_features(context, self._features, self._blocks) for context in contexts]
        others |= {"features": np.array(rows).reshape(len(rows), self._sketch.width)}
        return self._learner.checked(Evidence(encoder_version=self.encoder_version, **others))

    def fallback(
        self,
        *,
        decision_id: str,
        reason: str,
        at_s: float | None = None,
        task: str | None = None,
        route: Route | None = None,
    ) -> Decision:
        """Choose the route's default with probability 1, because `decide` failed; ``reason`` says why.

        Nothing here looks at learned state, so that no state, however bad, can stop it. The decision has no
        features and expects nothing of any provider (NaN). Its outcome counts as money spent and towards
        latency and failures, but not towards anything that depends on features. ``route`` is the
        configuration in force, if that is not the router's own yet.
        """
        route = self.route if route is None else route
        names = tuple(provider.name for provider in route.providers)
        return Decision(
            id=decision_id,
            seq=self.next_seq,
            route=route.name,
            providers=names,
            probabilities=np.array([float(name == route.fallback_provider) for name in names]),
            selected=route.fallback_provider,
            features=np.zeros(self.width),
            input_tokens=0.0,
            expected=np.full((6, len(names)), np.nan),
            ineligible={},
            shadow_price=0.0,
            floor=np.zeros(len(names)),
            encoder_version="",
            model_version=0,
            at_s=at_s,
            task=task,
            fallback_used=reason,
        )

    def learn(self, event: Event, *, refit: bool = True, checked: bool = False) -> None:
        """Fold one event; repeated, late, corrected or reordered events end in the same statistics.

        If beliefs or the shadow price must be recomputed, ``refit`` does so at once; otherwise the router
        `needs_refit`, and `refit` or the next event does it. Raises `InvalidInput` for an event that no model
        may see, and `UnknownDecision` for one about a decision that was closed; nothing has changed then.
        ``checked`` says that a decision has passed `check_learnable` for this router's width already.
        """
        beliefs, pacing = self._beliefs, self._pacing
        if pacing.needs_solve or beliefs.needs_fit or self._text.pending is not None:
            self.refit()
        if isinstance(event, _REPORTS):
            self._learner.apply(event)
        elif isinstance(event, Decision):
            self._open(event, checked=checked)
        elif isinstance(event, DriftAlarm):
            self._learner.alarm(event)
        elif isinstance(event, CircuitChanged):
            self._learner.note(event)
        elif isinstance(event, EncoderFitted):
            self._text.fold(event)
        else:
            if isinstance(event, Evidence):
                if self._learner.know(event):
                    self._pacing.foresee(event, encoded(event, self._text.encoder))
            else:
                self._configure(event)
            self.next_seq = max(self.next_seq, event.seq + 1)
            beliefs.now = max(beliefs.now, event.seq)
        if self._newcomers.names and self._newcomers.graduate(self._learner.counts):
            self._selector.update_price()
        for usd, decided_s in self._learner.take_spending():
            self._pacing.spend(usd, at_s=decided_s)
        if self._learner.refreshed:
            self._learner.refreshed, pacing.needs_solve = False, True
        is_stale = pacing.needs_solve or beliefs.needs_fit or self._text.pending is not None
        if self._learner.tripped or (is_stale and self._selector.has_limits):
            self._learner.tripped = self._selector.update_excluded()
        if refit and (is_stale or pacing.needs_solve):
            self.refit()

    def _open(self, decision: Decision, *, checked: bool) -> None:
        own = self.as_encoded_now(decision)
        if own is not decision or not checked:
            check_learnable(own, width=self.width)
        if self._learner.open(own):
            self._pacing.record(own)
            if own.terms is not None:
                self._text.add(own.seq, own.terms)
        self.next_seq = max(self.next_seq, own.seq + 1)
        self._beliefs.now = max(self._beliefs.now, own.seq)

    def sketched(self, features: FloatArray) -> FloatArray:
        """Return features of a request as they are logged: wide vectors sketched, all others as they are."""
        return self._sketch.apply(features)

    def as_encoded_now(self, decision: Decision) -> Decision:
        """Return a decision with the features that its request has in the present encoder.

        An earlier release logged wide vectors whole, and an encoder of texts is fitted again as they come.
        """
        if self._sketch.takes(decision.features):
            decision = copy_with(decision, features=self.sketched(decision.features))
        return self._text.as_encoded_now(decision)

    @property
    def width(self) -> int:
        """Number of features that a decision is logged with; it grows when features of texts are learned."""
        return self._text.width

    @property
    def encoder_version(self) -> str:
        """Names the encoder in force; it changes with each fit of features of texts."""
        return self._text.version

    @property
    def text(self) -> TextLearner:
        """What was learned of texts, and when it is learned anew."""
        return self._text

    def fit_text(self) -> EncoderFitted | None:
        """Learn features of texts anew, if it is time; changes nothing until the event is learned.

        It takes up to some seconds; another process can do it from `TextLearner.state`.
        """
        return self._text.fit() if self._text.is_due else None

    @property
    def needs_refit(self) -> bool:
        """Whether beliefs or the shadow price must be recomputed, which takes milliseconds."""
        return self._pacing.needs_solve or self._beliefs.needs_fit or self.must_reencode

    @property
    def must_reencode(self) -> bool:
        """Whether the next step of a `refit` is to encode everything anew, which can take a second."""
        return self._text.pending is not None

    @property
    def model_version(self) -> int:
        """Number of the models that decide now; it rises with each step of `refit`."""
        return self._beliefs.version + self._pacing.version

    def next_refit(self) -> Fitted | Solution | Reencoded:
        """Compute the next step of a `refit`; changes nothing, so that another thread may do it."""
        if self.must_reencode:
            change = self._text.change()
            return self._learner.reencoded(change, (*self._blocks, TEXT_BLOCK))
        return self._beliefs.fit() if self._beliefs.needs_fit else self._pacing.solve(self._beliefs)

    def apply_refit(self, step: Fitted | Solution | Reencoded) -> None:
        """Adopt a step that `next_refit` returned since the latest event."""
        if isinstance(step, Solution):
            self._pacing.adopt(step)
            return
        if isinstance(step, Reencoded):
            change = self._text.change()
            step.adopt(self._beliefs)
            self._text.adopt()
            self._pacing.reencode(self._learner.ledger.recent_rows(), change)
        else:
            self._beliefs.adopt(step)
        self._pacing.needs_solve = True

    def refit(self) -> None:
        """Recompute whatever needs it: first beliefs, then the shadow price and floors based on them."""
        while self.needs_refit:
            self.apply_refit(self.next_refit())

    def rebuild(self, events: Iterable[Event]) -> Router:
        """Fold the events of a log (`read_log`); if it has alarms, use a router without ``detect_drift``."""
        for event in events:
            self.learn(event)
        return self

    def open_decision(self, decision_id: str) -> OpenDecision | None:
        """Return a decision that is not closed yet, with what is in force for it; None for any other."""
        return self._learner.ledger.get(decision_id)

    def open_decisions(self) -> list[OpenDecision]:
        """Return all decisions that are not closed yet, by their seq."""
        return self._learner.ledger.decisions()

    def close_before(self, seq: int) -> int:
        """Close the decisions before ``seq``, so that memory stays bounded; returns how many.

        What was learned from them stays; events that still come for them are refused.
        """
        return self._learner.close_before(seq)

    def save(self, path: str | Path, *, offset: int = 0) -> None:
        """Write everything learned to a file; ``offset`` says how much of the log it stands for."""
        if self.must_reencode:
            self.refit()
        arrays = joined(
            beliefs=self._beliefs.state(),
            learner=self._learner.state(),
            pacing=self._pacing.state(),
            text=self._text.state(),
            router={"saved": packed((sorted(self._newcomers.names), self._history.events))},
        )
        write_snapshot(path, arrays, meta={**self._identity(), "order": self.next_seq, "offset": offset})

    def _identity(self) -> dict[str, str]:
        route = fingerprint(json.dumps(to_json(self._history.first)))
        encoder = fingerprint(self._encoder_version, repr(self._blocks))
        return {"route": route, "encoder": encoder, "policy": self._policy.name}

    def load(self, path: str | Path) -> int:
        """Load a saved router in place of this one, and return its offset, from which the log is folded on.

        The router must have learned nothing yet, and have the same first route, encoder and policy;
        configurations since then are in the file. Raises `SnapshotError` if the file is damaged or of
        another route, encoder, policy or format; the router is then as it was.
        """
        if self._learner.ledger or self.next_seq:
            raise InvalidInput("this router has learned already: load into a new one of the same route")
        arrays, meta = read_snapshot(path, expected=self._identity())
        newcomers, changes = unpacked(arrays["router/saved"], tuple[list[str], list[RouteChanged]])
        for event in changes:
            self._configure(event)
        self._text.restore(part(arrays, "text"))
        if self._text.encoder is not None:
            self._beliefs.restart((*self._blocks, TEXT_BLOCK))
        self._beliefs.restore(part(arrays, "beliefs"))
        self._learner.restore(part(arrays, "learner"))
        self._pacing.restore(part(arrays, "pacing"))
        self._newcomers.names = set(newcomers)
        self.next_seq = int(meta["order"] or 0)
        return int(meta["offset"] or 0)

    def summary(self) -> dict[str, object]:
        """Summarise what was learned, for people (`optimizer.summary`), and the number of seqs so far."""
        return {
            "decisions": self.next_seq,
            **summary(
                beliefs=self._beliefs,
                learner=self._learner,
                pacing=self._pacing,
                newcomers=self._newcomers,
            ),
        }
