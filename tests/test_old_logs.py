"""Logs that earlier releases wrote are read, and fold to the same sums, bit for bit.

``served_log.db.gz`` is a service's log of 0.1.0 and ``router_log.jsonl.gz`` one of a router in a library. In
``based_log.db.gz``, also of a service, a base stands for the first 920 events. ``expected_sums.npz`` holds
the whole-number sums that 0.1.0 itself folded them to, and ``expected_base.json.gz`` the rest of the state
that it loaded from the base, and the state that it had at the end of that log. Two things differ since:
decisions after a base are numbered by the route's own count, and no longer by their place in the log; and
calls that failed count towards neither quality nor cost, so that the sums are those which 0.1.0 folds a log
to that lacks their outcomes and feedback. Of the calls before a base that holds for the decisions which are
still open: rewards and costs of failed calls on these are taken out of its sums, as a correction would.

They are of today where a later release judges otherwise on purpose: a cost that cannot be right is not
learned, and those of a provider whose price list is wrong by a power of ten are counted in units of that.
"""

from __future__ import annotations

import gzip
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.store import open_store
from fairlead.optimizer.features import Encoder, SurfaceFeatures, TaskLabel
from fairlead.optimizer.persistence.array_file import FeatureFileError
from fairlead.optimizer.persistence.event_log import read_log
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Metric, Prices, Provider, Route, Source
from tests.api.state.folds import fold_of
from tests.paths import ROOT
from tests.trials.states import new_fold

FIXTURES = ROOT / "tests/fixtures"
LIBRARY = Route(
    name="library",
    providers=(
        Provider(name="small", prices=Prices(input_usd_per_mtok=0.1, output_usd_per_mtok=0.4)),
        Provider(name="large", prices=Prices(input_usd_per_mtok=2.0, output_usd_per_mtok=8.0)),
        Provider(name="unpriced"),
    ),
    budget=Budget(usd_per_request=0.002),
    metrics=(Metric(), Metric(name="stars", low=1.0, high=5.0, weight=2.0)),
    sources=(Source(name="human", weight=3.0),),
)


def expected_sums(route: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "expected_sums.npz") as arrays:
        return {
            name.removeprefix(f"{route}/"): arrays[name] for name in arrays if name.startswith(f"{route}/")
        }


def sums_of(router: Router) -> dict[str, np.ndarray]:
    """Return the whole-number sums by quantity, provider, side of its last change, and name."""
    sums = {}
    for quantity, belief in (("quality", router._beliefs.quality), ("cost", router._beliefs.cost)):
        for side, statistics in (("current", belief._current), ("past", belief._past)):
            for provider, held in statistics.items():
                for name, array in held.state().items():
                    sums[f"{quantity}/{provider}/{side}/{name}"] = array
    return sums


def assert_same(router: Router, route: str, *, more_than: int = 50) -> None:
    expected, sums = expected_sums(route), sums_of(router)
    assert sums.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(sums[name], array, err_msg=f"{route}: {name}")
    assert sum(int(array[1]) for name, array in expected.items() if name.endswith("scalars")) > more_than


def state_of(fold: Fold) -> Any:
    """Return what a fold keeps beside the sums, as JSON has it."""
    state = {
        "seq": fold.seq,
        "clock_s": fold.clock_s,
        "sessions": fold.sessions,
        "pending": [[name, [row.seq for row, _ in group]] for name, group in fold.pending.groups()],
        "closed": fold.pending.closed,
        "given_up": fold.pending.given_up,
        "counts": sorted([*key, count] for key, count in fold.counts.items()),
        "applied": sorted(fold.declared.applied),
        "routes": {name: route_state(served, fold) for name, served in fold.routes.items()},
    }
    return json.loads(json.dumps(state))


def route_state(served: ServedRoute, fold: Fold) -> dict[str, Any]:
    router = served.router
    learner, pacer = router._learner, router._pacing._pacer
    return {
        "decisions": served.decisions,
        "fallbacks": served.fallbacks,
        "explored": served.explored,
        "spent_usd": served.spent_usd,
        "broken": served.broken,
        "tasks": {name: [n, total.tolist(), tokens] for name, (n, total, tokens) in served.tasks.items()},
        "next_seq": router.next_seq,
        "model_version": router.model_version,
        "alarms": [[alarm.provider, alarm.since_seq, alarm.at_seq] for alarm in router.alarms],
        "counts": learner.counts,
        "newcomers": sorted(router._newcomers.names),
        "units": router._beliefs._units,
        "failures": {name: belief.recent for name, belief in router._beliefs.failure.items()},
        "budget": pacer and [pacer.shadow_price, pacer.balance_usd, pacer.spent_usd, pacer.requests],
        "open": [
            {
                "id": decision.id,
                "seq": decision.seq,
                "at_s": fold.open[decision.id].at_s,
                "session": fold.open[decision.id].session,
                "by_key": fold.open[decision.id].by_key,
                "provider": decision.provider,
                "reward": decision.reward,
                "outcome": decision.outcome and asdict(decision.outcome),
                "feedback": [asdict(event) for event in decision.feedback],
                "booked_usd": decision.booked_usd,
                "prices": sorted(decision.prices),
            }
            for decision in router.open_decisions()
        ],
    }


def without_fitted(state: Any) -> Any:
    """Leave out what was fitted since the base: its last digits depend on the machine."""
    for route in state["routes"].values():
        route["budget"] = route["budget"] and route["budget"][1:]
    return state


def unpacked(name: str, folder: Path) -> Path:
    path = folder / name.removesuffix(".gz")
    with gzip.open(FIXTURES / name) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


@pytest.fixture(scope="module")
def router_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked("router_log.jsonl.gz", tmp_path_factory.mktemp("log"))


def test_a_served_log_of_0_1_0_folds_to_the_same_sums(tmp_path: Path) -> None:
    fold = fold_of(f"sqlite:///{unpacked('served_log.db.gz', tmp_path)}")
    assert set(fold.routes) == {"quickstart", "support"}
    assert fold.counts["decision", "joined"] == 130
    for name, served in fold.routes.items():
        assert served.broken is None
        assert_same(served.router, name)


def test_a_router_log_of_0_1_0_folds_to_the_same_sums(router_log: Path) -> None:
    encoder = Encoder([SurfaceFeatures(), TaskLabel(width=4)])
    router = Router(LIBRARY, encoder=encoder, detect_drift=False).rebuild(read_log(router_log))
    assert len(router.alarms) == 1
    assert_same(router, "library")


def test_one_event_less_leads_to_other_sums(router_log: Path) -> None:
    """The comparison above can fail."""
    encoder = Encoder([SurfaceFeatures(), TaskLabel(width=4)])
    events = [event for event in read_log(router_log) if getattr(event, "decision_id", "") != "d100"]
    router = Router(LIBRARY, encoder=encoder, detect_drift=False).rebuild(events)
    with pytest.raises(AssertionError):
        assert_same(router, "library")


def test_a_base_of_0_1_0_stands_for_the_events_that_were_removed(tmp_path: Path) -> None:
    with gzip.open(FIXTURES / "expected_base.json.gz") as file:
        expected = json.load(file)
    for state in expected.values():
        for route in state["routes"].values():
            del route["detectors"]  # of another test, and started anew
    # A trial of a provider's cost solves the price once more than the release that wrote this.
    expected["end"]["routes"]["support"]["model_version"] += 1
    store = open_store(f"sqlite:///{unpacked('based_log.db.gz', tmp_path)}", read_only=True)
    fold = snapshots.latest_fold(tmp_path / "none", store, new_fold)
    assert state_of(fold) == expected["base"]
    support = expected["base"]["routes"]["support"]
    assert support["alarms"] and support["newcomers"] and support["units"] and support["fallbacks"]
    assert all(expected["base"][name] for name in ("pending", "closed", "given_up", "sessions"))
    snapshots.rebuild(fold, store, until=store.last_seq())
    assert without_fitted(state_of(fold)) == without_fitted(expected["end"])
    for name, served in fold.routes.items():
        assert_same(served.router, f"base/{name}", more_than=40)
    # The next base is of today's format, and is loaded as it was saved.
    path = snapshots.save(fold, tmp_path / "next", log=snapshots.log_fingerprint(store, fold.seq))
    assert state_of(snapshots.latest_fold(path.parent, store, new_fold)) == state_of(fold)
    store.close()


def test_a_failed_call_of_a_base_that_proves_to_be_answered_counts_once(tmp_path: Path) -> None:
    """0.1.0 had learned rewards, costs and latencies of failed calls too: a base has them in its sums."""
    store = open_store(f"sqlite:///{unpacked('based_log.db.gz', tmp_path)}", read_only=True)
    router = snapshots.latest_fold(tmp_path / "none", store, new_fold).routes["support"].router
    store.close()
    failed = [(d, d.outcome) for d in router.open_decisions() if d.outcome and d.outcome.status != "ok"]
    loaded, counted = sums_of(router), learned_calls(router)
    expected = {name: array.copy() for name, array in loaded.items()}
    for decision, outcome in failed:
        router.learn(replace(outcome, status="ok", revision=10**6))
        side = (
            "current" if decision.seq >= router._beliefs.quality.changes.get(decision.provider, 0) else "past"
        )
        if decision.reward is not None and decision.row is not None:
            gram, reward = np.outer(decision.row, decision.row), round(decision.reward * 2**16)
            sums = {"gram": gram, "moment": decision.row * reward, "scalars": [reward * reward, 1, 0]}
            for name, added in sums.items():
                expected[f"quality/{decision.provider}/{side}/{name}"] += np.array(added, dtype=np.int64)
    learned = sums_of(router)
    for name in [name for name in expected if name.startswith("quality")]:
        np.testing.assert_array_equal(learned[name], expected[name], err_msg=name)
    assert not all((learned[name] == loaded[name]).all() for name in learned if name.startswith("quality"))
    more = {
        name: count - counted[name] for name, count in learned_calls(router).items() if count != counted[name]
    }
    assert more == {
        ("latency", "acme/small"): 3,
        ("latency", "acme/large"): 2,
        ("latency", "gamma/free"): 1,
        ("cost", "gamma/free"): 1,
    }
    for _, outcome in failed:
        router.learn(replace(outcome, revision=10**6 + 1))
    assert learned_calls(router) == counted
    for name, array in sums_of(router).items():
        np.testing.assert_array_equal(array, loaded[name], err_msg=name)


def learned_calls(router: Router) -> dict[tuple[str, str], int]:
    """Count the latencies and costs that are learned, by provider."""
    beliefs = router._beliefs
    latencies = {("latency", name): belief.count for name, belief in beliefs.latency.items()}
    return latencies | {("cost", name): beliefs.cost.count(name) for name in beliefs.names}


def test_a_damaged_base_of_0_1_0_is_refused(tmp_path: Path) -> None:
    path = unpacked("based_log.db.gz", tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE bases SET content = cast(content || x'00' AS BLOB) WHERE name = 'route1.npz'"
        )
    with closing(open_store(f"sqlite:///{path}", read_only=True)) as store, pytest.raises(FeatureFileError):
        snapshots.latest_fold(tmp_path / "none", store, new_fold)
