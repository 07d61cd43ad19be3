"""Logs that earlier releases wrote are read, and fold to the same sums, bit for bit.

``served_log.db.gz`` is a service's log of 0.1.0 and ``router_log.jsonl.gz`` one of a router in a library;
``expected_sums.npz`` holds the whole-number sums that 0.1.0 itself folded them to.
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from fairlead.optimizer.features import Encoder, SurfaceFeatures, TaskLabel
from fairlead.optimizer.persistence.event_log import read_log
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import Budget, Metric, Prices, Provider, Route, Source
from tests.api.state.folds import fold_of
from tests.paths import ROOT

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


def assert_same(router: Router, route: str) -> None:
    expected, sums = expected_sums(route), sums_of(router)
    assert sums.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(sums[name], array, err_msg=f"{route}: {name}")
    assert sum(int(array[1]) for name, array in expected.items() if name.endswith("scalars")) > 50


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
