"""The whole life of decisions and feedback against a model that fits on a page."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.api.running import Running, settings_for

VALUES = st.sampled_from([0.0, 0.25, 1.0, None])
# What a call of either provider may cost: anything else would not be believed.
COSTS = st.floats(2e-4, 2e-3)
NUMBERS = st.integers(0, 3)
SOURCES = st.sampled_from(["human", "code"])


class Life(RuleBasedStateMachine):
    """Decides and reports in any order, with repetitions, corrections and restarts, and counts for itself."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="life"))
        self.service = Running(settings_for(self.folder, snapshot_every_s=1e6)).until_ready()
        self.decided: dict[str, Any] = {}
        self.values: dict[tuple[str, str], float | None] = {}
        self.costs: dict[str, float] = {}
        self.sent: dict[str, Any] = {}

    @rule(number=NUMBERS)
    def decide(self, number: int) -> None:
        name = f"d{number}"
        answer = self.service.decide(id=name)
        assert answer == self.decided.setdefault(name, answer), "the same id has the same answer"

    @rule(number=NUMBERS)
    def ask_for_something_else_under_a_known_id(self, number: int) -> None:
        name = f"d{number}"
        if name in self.decided:
            body = {"route": "quickstart", "prompt": "another", "id": name}
            self.service.post("/v1/decisions", body, status=409)

    @rule(number=NUMBERS, value=VALUES, source=SOURCES)
    def judge(self, number: int, value: float | None, source: str) -> None:
        name = f"d{number}"
        body = {"decision_id": name, "value": value, "source": source, "id": f"f{len(self.sent)}"}
        answer = self.service.post("/v1/feedback", body, status=200)
        assert answer["state"] == ("joined" if name in self.decided else "parked")
        self.sent[body["id"]] = (body, answer)
        self.values[name, source] = value

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def send_a_judgement_again(self, data: st.DataObject) -> None:
        body, answer = data.draw(st.sampled_from(list(self.sent.values())))
        again = self.service.post("/v1/feedback", body, status=200)
        assert {**again, "state": ""} == {**answer, "state": ""}

    @rule(number=NUMBERS, cost=COSTS)
    def report(self, number: int, cost: float) -> None:
        name = f"d{number}"
        self.service.post(f"/v1/decisions/{name}/outcome", {"cost_usd": cost}, status=200)
        self.costs[name] = cost

    @rule(number=NUMBERS)
    def judge_beyond_the_range(self, number: int) -> None:
        if f"d{number}" in self.decided:
            self.service.post("/v1/feedback", {"decision_id": f"d{number}", "value": 2.0}, status=422)

    @rule(snapshot=st.booleans())
    def restart(self, snapshot: bool) -> None:
        self.service.stop()
        if not snapshot:
            for path in (self.folder / "state").rglob("*.npz"):
                path.write_bytes(b"damaged")
        self.service = Running(settings_for(self.folder, snapshot_every_s=1e6)).until_ready()

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "service"):
            return
        self.service.until(self.service.settled)
        state = self.service.get("/v1/routes/quickstart/state")
        assert state["decisions"] == len(self.decided)
        spent = sum(cost for name, cost in self.costs.items() if name in self.decided)
        assert state["spent_usd"] == pytest.approx(spent)
        judged = {
            name for (name, _), value in self.values.items() if value is not None and name in self.decided
        }
        assert sum(provider["feedback"] for provider in state["providers"].values()) == len(judged)
        parked = [key for key in self.sent.values() if key[0]["decision_id"] not in self.decided]
        assert len(self.service.service.engine.fold.pending) >= len(parked)

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.service.stop()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=8,
    stateful_step_count=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
