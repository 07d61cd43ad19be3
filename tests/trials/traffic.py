"""Mixed load as from clients: decisions, outcomes, feedback, repetitions, corrections, and some too early."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

from tests.trials.acknowledged import Ledger, Sent
from tests.trials.settings import PROVIDERS, ROUTE, WIDTH
from tests.trials.wire import Connection

_KEPT: Final = 400
"""Latest decisions that get outcomes and feedback."""


class Traffic:
    """Clients of one service that keep a ledger of its answers."""

    def __init__(self, ledger: Ledger, rng: random.Random, *, name: str) -> None:
        self.ledger = ledger
        self._rng = rng
        self._name = name
        self._count = 0
        self._decisions: list[str] = []
        self._said: list[Sent] = []
        self._early: list[Sent] = []
        self.replies = 0
        self._ways: list[tuple[float, Callable[[], Sent | None]]] = [
            (0.40, self.decision),
            (0.20, self.outcome),
            (0.20, self.feedback),
            (0.08, self.repeat),
            (0.07, self.correction),
            (0.05, self.early),
        ]

    # What is sent

    def _next(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._name}-{self._count}"

    def decision(self) -> Sent:
        """Return a request for a decision; three of four have an id of the client's."""
        if self._early and self._rng.random() < 0.5:
            return self._early.pop()
        return self._new_decision(self._next("d") if self._rng.random() < 0.75 else None)

    def _new_decision(self, decision_id: str | None) -> Sent:
        features = [round(self._rng.uniform(-1.0, 1.0), 3) for _ in range(WIDTH)]
        body: dict[str, Any] = {"route": ROUTE, "features": features, "input_tokens": 400}
        if decision_id is not None:
            body["id"] = decision_id
        return Sent("decision", "/v1/decisions", body, f"d:{decision_id}" if decision_id else "")

    def outcome(self) -> Sent | None:
        """Return an outcome."""
        if not self._decisions:
            return None
        decision_id, name = self._rng.choice(self._decisions), self._next("o")
        body: dict[str, Any] = {"id": name, "latency_s": round(self._rng.uniform(0.1, 5.0), 3)}
        if self._rng.random() < 0.5:
            body["cost_usd"] = round(self._rng.uniform(0.0, 0.003), 6)
        else:
            body["usage"] = {"input_tokens": 400, "output_tokens": self._rng.randrange(1, 900)}
        if self._rng.random() < 0.1:
            body["served_provider"] = self._rng.choice(PROVIDERS)
        if self._rng.random() < 0.05:
            body["status"] = "error"
        return Sent("outcome", f"/v1/decisions/{decision_id}/outcome", body, f"o::{decision_id}/{name}")

    def feedback(self) -> Sent | None:
        """Return feedback."""
        if not self._decisions:
            return None
        return self._judgement(self._rng.choice(self._decisions))

    def _judgement(self, decision_id: str) -> Sent:
        name = self._next("f")
        metric = self._rng.choice(("quality", "quality", "tone"))
        value: float | None = round(self._rng.uniform(0.0, 1.0), 3)
        if self._rng.random() < 0.05:
            value = None
        body = {"id": name, "decision_id": decision_id, "metric": metric, "value": value}
        body["source"] = self._rng.choice(("human", "judge", "code"))
        return Sent("feedback", "/v1/feedback", body, f"f::{name}")

    def correction(self) -> Sent | None:
        """Return feedback that corrects an earlier one."""
        feedback = [sent for sent in self._said[-100:] if sent.kind == "feedback"]
        if not feedback:
            return None
        before, name = self._rng.choice(feedback), self._next("f")
        body = {**before.body, "id": name, "value": round(self._rng.uniform(0.0, 1.0), 3)}
        return Sent("feedback", "/v1/feedback", body, f"f::{name}")

    def early(self) -> Sent:
        """Return feedback whose decision comes later."""
        later = self._new_decision(self._next("e"))
        self._early.append(later)
        return self._judgement(later.body["id"])

    def repeat(self) -> Sent | None:
        """Return an event once more, as a client does that did not get the answer."""
        return self._rng.choice(self._said) if self._said else None

    # How it is sent

    async def _say(self, connection: Connection, sent: Sent) -> None:
        self.ledger.sending(sent)
        reply = await connection.request("POST", sent.path, sent.body)
        self.replies += 1
        answer = reply.json()
        self.ledger.answered(sent, reply.status, answer)
        if reply.status != 200:
            return
        if sent.kind == "decision":
            self._decisions = [*self._decisions[-_KEPT:], answer["id"]]
        if sent.uid:
            self._said = [*self._said[-_KEPT:], sent]

    async def post(self, connection: Connection, sent: Sent) -> Any:
        """Send one thing and keep account of it; returns the answer, or None if it was refused for now."""
        await self._say(connection, sent)
        entry = self.ledger.acknowledged.get(sent.uid)
        return None if entry is None else entry[1]

    async def client(self, port: int) -> None:
        """Send one event after the other until the service dies."""
        weights, ways = zip(*self._ways, strict=True)
        connection = await Connection.open(port)
        try:
            while True:
                (make,) = self._rng.choices(ways, weights)
                sent = make()
                if sent is not None:
                    await self._say(connection, sent)
        finally:
            connection.close()

    async def run(self, port: int, *, clients: int) -> None:
        """Run ``clients`` clients at once, until the service is gone or this is cancelled."""
        await asyncio.gather(*(self.client(port) for _ in range(clients)), return_exceptions=True)

    async def settle(self, port: int) -> None:
        """Send everything again that was not answered, as a client does after a crash."""
        connection = await Connection.open(port)
        try:
            for sent in [*self._early, *self.ledger.open.values()]:
                await self._say(connection, sent)
            self._early.clear()
        finally:
            connection.close()
