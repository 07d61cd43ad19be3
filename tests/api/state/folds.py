"""States of the service to compare: traffic that makes one, and the clean fold of a log."""

from pathlib import Path

import numpy as np

from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.state.snapshots import save
from fairlead.api.store import open_store
from tests.api.running import Running
from tests.trials.states import new_fold


def play(service: Running, rounds: int, *, seed: int = 0) -> None:
    """Traffic with everything that can happen to a decision."""
    rng = np.random.default_rng(seed)
    for i in range(rounds):
        name = f"s{seed}d{i}"
        if rng.random() < 0.1:
            service.post("/v1/feedback", {"decision_id": name, "value": float(rng.random())}, status=200)
        fields = {"id": name} if i % 3 else {}
        name = service.decide(task=["a", "b"][i % 2], session_id=f"s{i % 5}", **fields)["id"]
        if rng.random() < 0.7:
            usage = {"input_tokens": 10, "output_tokens": int(rng.integers(1, 900))}
            body = {"usage": usage, "latency_s": float(rng.random())}
            service.post(f"/v1/decisions/{name}/outcome", body, status=200)
        if rng.random() < 0.7:
            service.post("/v1/feedback", {"decision_id": name, "value": float(rng.random())}, status=200)
    service.post("/v1/feedback", {"session_id": "s1", "value": 0.5, "source": "human"}, status=200)
    service.until(service.settled)


def same(first: Fold, second: Fold, folder: Path) -> bool:
    """Whether two folds are the same, bit for bit: their snapshots are."""
    paths = [save(fold, folder / name, log="") for fold, name in ((first, "one"), (second, "two"))]
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in paths]
    return files[0] == files[1]


def fold_of(url: str) -> Fold:
    store = open_store(url, read_only=True)
    fold = snapshots.rebuild(new_fold(), store, until=store.last_seq())
    store.close()
    return fold
