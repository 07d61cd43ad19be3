"""What is served is in the log, and the log replays to it, on SQLite and on PostgreSQL."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fairlead.api.state.configuration import Change
from fairlead.api.state.decide import decide
from fairlead.api.store import Query, open_store
from fairlead.optimizer.persistence.event_log import decode
from fairlead.optimizer.types import Context, Decision
from tests.api.running import Running, running
from tests.trials.states import new_fold


@pytest.fixture
def service(tmp_path: Path, store_url: str) -> Iterator[Running]:
    with running(tmp_path, store_url) as running_service:
        yield running_service


def test_the_served_log_replays_to_identical_probabilities(service: Running, store_url: str) -> None:
    rng = np.random.default_rng(1)
    for i in range(60):
        answer = service.decide(prompt=f"question {i}", task=["a", "b"][i % 2], id=f"d{i}")
        value = float(rng.random() < {"small": 0.3, "large": 0.8}[answer["selected"]])
        service.post("/v1/feedback", {"decision_id": f"d{i}", "value": value}, status=200)
    store = open_store(store_url, read_only=True)
    rows = store.rows(Query(limit=10_000))
    store.close()
    fold, compared = new_fold(), 0
    for row in rows:
        if row.kind == "decision":
            # As served: from the state of its time, which is not always that of its place in the log.
            logged, metadata = decode(row.line), json.loads(row.metadata)
            assert isinstance(logged, Decision)
            assert metadata["state_seq"] == fold.seq
            number = int(logged.id[1:])
            context = Context(text=f"question {number}", task=logged.task)
            if logged.model_version > fold.routes["quickstart"].router.model_version:
                fold.refit()  # else it was made while the beliefs of this place were being computed
            again, fault = decide(
                fold.routes["quickstart"],
                context,
                decision_id=logged.id,
                draw=metadata["draw"],
                at_s=row.at_s,
            )
            assert fault is None
            assert again.probabilities.tobytes() == logged.probabilities.tobytes()
            assert again.selected == logged.selected
            compared += 1
        fold.apply(row, refit=False)
    fold.refit()
    assert compared == 60
    served = service.service.engine.fold
    assert served.routes["quickstart"].router.summary() == fold.routes["quickstart"].router.summary()


def test_a_change_is_a_line_of_the_log(service: Running, store_url: str) -> None:
    store = open_store(store_url, read_only=True)
    changes = [Change.from_line(row.line) for row in store.rows(Query(kind="config"))]
    store.close()
    assert [change.entity for change in changes] == ["provider", "provider", "price", "price", "route"]
