"""The whole life of decisions and feedback, in any order that clients may think of, against a model."""

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from api.store import open_store
from api.trials import settings as trial
from api.trials import states
from tests.api.service.running import Running

EXAMPLES = int(os.environ.get("EXAMPLES", "12"))
NAMES = itertools.count()
values = st.one_of(st.none(), st.integers(0, 16).map(lambda n: n / 16))


@dataclass
class Known:
    """What is known of a decision: of what the service answered, and of what must be in force."""

    answer: Any = None
    body: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    cost_usd: float | None = None
    events: int = 0


class Life(RuleBasedStateMachine):
    """One client; the service goes on from one example to the next, and so does its log."""

    service: ClassVar[Running]

    decisions = Bundle("decisions")
    judgements = Bundle("judgements")
    expected = Bundle("expected")

    @initialize()
    def begin(self) -> None:
        self.known: dict[str, Known] = {}

    def body(self, name: str, number: int) -> dict[str, Any]:
        features = [number / 8.0] * trial.WIDTH
        return {"route": trial.ROUTE, "features": features, "input_tokens": 100, "id": name}

    @rule(target=decisions, number=st.integers(-8, 8))
    def decide(self, number: int) -> str:
        name = f"d{next(NAMES)}"
        body = self.body(name, number)
        answer = self.service.post("/v1/decisions", body, status=200)
        assert sum(one["propensity"] for one in answer["candidates"]) == pytest.approx(1.0)
        assert answer["fallback_used"] is None
        self.known[name] = Known(answer=answer, body=body)
        return name

    @rule(name=decisions)
    def decide_again(self, name: str) -> None:
        known = self.known[name]
        assert self.service.post("/v1/decisions", known.body, status=200) == known.answer
        other = {**known.body, "input_tokens": 101}
        self.service.post("/v1/decisions", other, status=409)

    @rule(name=decisions, cost=st.integers(0, 9), served=st.sampled_from((None, *trial.PROVIDERS)))
    def report(self, name: str, cost: int, served: str | None) -> None:
        body = {"id": f"o{next(NAMES)}", "cost_usd": cost / 1000.0, "latency_s": 0.5}
        if served is not None:
            body["served_provider"] = served
        path = f"/v1/decisions/{name}/outcome"
        first = self.service.post(path, body, status=200)
        assert self.service.post(path, body, status=200)["seq"] == first["seq"]
        assert first["served_provider"] == (served or self.known[name].answer["selected"])
        self.known[name].cost_usd = cost / 1000.0
        self.known[name].events += 1

    @rule(
        target=judgements,
        name=decisions,
        metric=st.sampled_from(("quality", "tone")),
        source=st.sampled_from(("human", "judge", "code")),
        value=values,
    )
    def judge(self, name: str, metric: str, source: str, value: float | None) -> dict[str, Any]:
        return self.judged(name, metric, source, value)

    def judged(self, name: str, metric: str, source: str, value: float | None) -> dict[str, Any]:
        body = {"decision_id": name, "metric": metric, "source": source, "value": value}
        body["id"] = f"f{next(NAMES)}"
        answer = self.service.post("/v1/feedback", body, status=200)
        known = self.known[name]
        assert answer["state"] == ("parked" if known.answer is None else "joined")
        known.values[f"{metric}/{source}"] = value
        known.events += 1
        return {**body, "seq": answer["seq"]}

    @rule(sent=judgements)
    def judge_again(self, sent: dict[str, Any]) -> None:
        body = {name: value for name, value in sent.items() if name != "seq"}
        assert self.service.post("/v1/feedback", body, status=200)["seq"] == sent["seq"]
        self.service.post("/v1/feedback", {**body, "value": 0.123}, status=409)

    @rule(target=judgements, sent=judgements, value=values)
    def correct(self, sent: dict[str, Any], value: float | None) -> dict[str, Any]:
        return self.judged(sent["decision_id"], sent["metric"], sent["source"], value)

    @rule(target=expected, value=values)
    def judge_early(self, value: float | None) -> str:
        name = f"d{next(NAMES)}"
        self.known[name] = Known()
        self.judged(name, "quality", "human", value)
        return name

    @rule(target=decisions, name=consumes(expected))
    def decide_late(self, name: str) -> Any:
        known = self.known[name]
        known.body = self.body(name, 1)
        known.answer = self.service.post("/v1/decisions", known.body, status=200)
        return multiple(name)

    @rule(name=decisions, value=st.sampled_from((-2.0, 1.5, 1e308)))
    def judge_out_of_range(self, name: str, value: float) -> None:
        self.service.post("/v1/feedback", {"decision_id": name, "value": value}, status=422)

    @rule(name=decisions)
    def read(self, name: str) -> None:
        known = self.known[name]
        found = self.service.get(f"/v1/decisions/{name}")
        assert found["decision"] == known.answer
        assert found["status"] == "open"
        assert len(found["events"]) == known.events

    @invariant()
    def what_is_in_force_is_what_was_said_last(self) -> None:
        fold = self.service.service.engine.fold
        self.service.until(self.service.settled)
        served = fold.routes[trial.ROUTE]
        for name, known in self.known.items():
            if known.answer is None:
                assert name in fold.parked
                continue
            one = served.open[name]
            assert (one.values or {}) == known.values
            assert one.cost_usd == known.cost_usd


def test_decisions_and_feedback_live_as_the_model_says(tmp_path: Path) -> None:
    made = trial.as_read(trial.settings(tmp_path), tmp_path)
    Life.service = Running(made).until_ready()
    try:
        Life.TestCase.settings = settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize="EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        )
        Life.TestCase().runTest()
        served = states.arrays_of(Life.service.service.engine.fold)
    finally:
        Life.service.stop()
    store = open_store(made.database_url, read_only=True)
    rows = states.all_rows(store)
    store.close()
    clean = states.folded(rows)
    assert states.differences(served, states.arrays_of(clean)) == []
    once = states.told_once(rows, clean.routes[trial.ROUTE])
    assert states.differences(once, states.sums_of(served)) == []
    assert sum(row.kind == "decision" for row in rows) > EXAMPLES
