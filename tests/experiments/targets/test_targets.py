"""Target policies: a served log gives its own probabilities, and no decision is judged by what came of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from fairlead.experiments.logs.batch import LogBatch
from fairlead.experiments.logs.importers import ImportOptions, import_log
from fairlead.experiments.logs.log import open_log
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.simulation.scenario import Goal
from fairlead.experiments.targets.base import TargetSpec, target_specs
from fairlead.experiments.targets.factory import make_target
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features import Encoder, SurfaceFeatures
from fairlead.optimizer.persistence.event_log import encode
from fairlead.optimizer.persistence.route_codec import to_json
from fairlead.optimizer.router import Router
from fairlead.optimizer.types import (
    Budget,
    Context,
    Event,
    Feedback,
    FloatArray,
    Objective,
    Outcome,
    Prices,
    Provider,
    Route,
)
from tests.experiments.logs.log_lines import NAMES, drawn_lines, lines, write_jsonl

PROMPTS = ("What is 2 + 2?", "Write a poem about rain.", "def f(x):\n    return x", "Translate: guten Tag")
ROUTE = Route(
    name="served",
    providers=tuple(
        Provider(name=name, prices=Prices(input_usd_per_mtok=price, output_usd_per_mtok=4 * price))
        for name, price in (("small", 0.1), ("middle", 0.5), ("large", 3.0))
    ),
)
ROUTES = {
    "quality": ROUTE,
    "wtp": replace(ROUTE, objective=Objective(willingness_to_pay_usd=0.01)),
    "budget": replace(ROUTE, budget=Budget(usd_per_request=0.0005)),
}


def served(route: Route, n: int) -> list[Event]:
    """Return what a router logged: some requests rule providers out, some never get a reward."""
    router, rng = Router(route, encoder=Encoder([SurfaceFeatures()])), np.random.default_rng(7)
    events: list[Event] = []
    for i in range(n):
        context = Context(text=PROMPTS[i % len(PROMPTS)] * int(rng.integers(1, 5)), task=f"t{i % 4}")
        able = ("small", "large") if i % 7 == 3 else None
        decision = router.decide(
            context, decision_id=str(i), draw=float(rng.random()), candidates=able, at_s=1.7e9 + i
        )
        came: list[Event] = [decision]
        came.append(
            Outcome(
                decision_id=str(i), served_provider=decision.selected, cost_usd=float(rng.random()) * 1e-3,
                latency_s=0.5, status="ok" if i % 11 else "error",
            )
        )  # fmt: skip
        if i % 5:
            came.append(Feedback(decision_id=str(i), value=float(rng.random())))
        for event in came:
            router.learn(event)
        events += came
    return events


def declared(path: Path, route: Route) -> Path:
    path.write_text(yaml.safe_dump({**to_json(route), "policy": "default"}), encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("goal", ["quality", "wtp", "budget"])
def test_a_served_log_replays_to_identical_probabilities(tmp_path: Path, goal: str, suffix: str) -> None:
    events = served(ROUTES[goal], 250)
    log_path, events_path = tmp_path / f"log{suffix}", tmp_path / "events.jsonl"
    events_path.write_text("".join(encode(event) + "\n" for event in events), encoding="utf-8")
    import_log(events_path, source="events", out=log_path, options=ImportOptions())
    spec = TargetSpec(name=str(declared(tmp_path / "router.yaml", ROUTES[goal])))
    with open_log(log_path, part_rows=100) as log, Reader(log) as reader:
        target = make_target(spec, log, reader)
        for part in log.parts():
            columns = reader.read(part, contexts=True)
            np.testing.assert_array_equal(target.probabilities(columns), columns.propensities)


def columns_of(path: Path) -> LogBatch:
    with open_log(path) as log, Reader(log) as reader:
        return reader.read(log.parts()[0], contexts=True)


def played(
    path: Path, name: str, columns: LogBatch, *, goal: Goal | None = None, delay: int = 0
) -> FloatArray:
    with open_log(path) as log, Reader(log) as reader:
        spec = TargetSpec(name=name, goal=goal or Goal(wtp_usd=0.05), feedback_delay=delay)
        return make_target(spec, log, reader).probabilities(columns)


LEARNERS = ("default", "greedy", "linucb", "squarecb:50")


@pytest.mark.parametrize("name", LEARNERS)
def test_no_decision_is_judged_by_what_came_of_it_or_later(tmp_path: Path, name: str) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(300))
    columns = columns_of(path)
    reward = columns.reward.copy()
    reward[150:] = 1.0 - reward[150:]
    before, after = played(path, name, columns), played(path, name, replace(columns, reward=reward))
    np.testing.assert_array_equal(before[:151], after[:151])
    assert (before[151:] != after[151:]).any()
    for probabilities in (before, after):
        np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("name", ["default", "linucb"])
def test_late_rewards_are_learned_late(tmp_path: Path, name: str) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(200))
    columns = columns_of(path)
    other = replace(columns, reward=1.0 - columns.reward)
    late = [played(path, name, some, delay=50) for some in (columns, other)]
    np.testing.assert_array_equal(late[0][:51], late[1][:51])
    at_once = [played(path, name, some) for some in (columns, other)]
    assert (at_once[0][:51] != at_once[1][:51]).any()


def test_learners_find_out_what_is_good(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(800))
    columns = columns_of(path)
    for name in LEARNERS:
        late = played(path, name, columns, goal=Goal())[600:].mean(axis=0)
        assert late[2] > 0.8, (name, late)


@pytest.mark.parametrize("budget_usd", [0.004, 0.02])
def test_a_budget_is_kept_by_what_the_target_would_have_spent(tmp_path: Path, budget_usd: float) -> None:
    """The log spends 0.0235 a decision, and the targets their own budget."""
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(1200))
    probabilities = played(path, "default", columns_of(path), goal=Goal(budget_usd=budget_usd))
    spent = probabilities[200:] @ np.array([0.001, 0.01, 0.1])
    assert spent.mean() == pytest.approx(budget_usd, rel=0.15)


def test_targets_that_do_not_learn(tmp_path: Path) -> None:
    content = lines(40)
    content[4] |= {"providers": ["b/mid", "c/dear"], "propensities": [0.5, 0.5], "provider": "b/mid"}
    for entry in content:
        entry["target_propensities"] = [1.0 / len(entry["providers"])] * len(entry["providers"])
    path = write_jsonl(tmp_path / "log.jsonl", content)
    columns = columns_of(path)
    assert played(path, "uniform", columns)[4].tolist() == [0.0, 0.5, 0.5]
    np.testing.assert_allclose(played(path, "column", columns), played(path, "uniform", columns))
    fixed = played(path, "fixed:a/cheap", columns)
    assert fixed[3].tolist() == [1.0, 0.0, 0.0]
    assert fixed[4].tolist() == [0.0, 1.0, 0.0]


def test_specs_and_labels() -> None:
    goals = [Goal(wtp_usd=0.01), Goal(wtp_usd=0.1)]
    specs = target_specs(["default", "uniform", "fixed:a"], goals, feedback_delay=0)
    assert [spec.label for spec in specs] == ["default @ wtp 0.01", "default @ wtp 0.1", "uniform", "fixed:a"]
    assert [spec.learns for spec in specs] == [True, True, False, False]
    with pytest.raises(InvalidInput, match="feedback delay is -1"):
        target_specs(["default"], [], feedback_delay=-1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.yaml", None, "there is no such file"),
        ("a.yaml", "name: [", "cannot be read as YAML"),
        ("a.yaml", "- x", "declares no router"),
        ("a.yaml", "name: x\nproviders: [{name: nobody}]", "none of its providers is in the log"),
        ("a.yaml", "name: x\nproviders: [{name: a/cheap}]\ncolour: red", "unknown field 'colour'"),
        ("a.yaml", "name: x\nproviders: [{name: a/cheap}]\npolicy: best", "there is no policy 'best'"),
        ("column", None, "no column target_propensities"),
        ("fixed:z", None, "names no provider of the log"),
        ("best", None, "there is no policy 'best'"),
    ],
)
def test_targets_that_cannot_be(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", lines(30))
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    named = str(tmp_path / name) if name.endswith(".yaml") else name
    with pytest.raises(InvalidInput, match=message) as caught:
        played(path, named, columns_of(path))
    assert "\n" not in str(caught.value)


def test_a_router_that_does_not_know_all_providers_chooses_among_its_own(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", drawn_lines(120))
    route = Route(name="two", providers=tuple(Provider(name=name) for name in (NAMES[2], NAMES[0])))
    probabilities = played(path, str(declared(tmp_path / "two.yaml", route)), columns_of(path))
    assert (probabilities[:, 1] == 0.0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
