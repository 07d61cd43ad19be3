"""The trials of operations, short: `python -m tests.trials operations NAME` runs them with twenty seeds.

Each trial has a short version here, with few seeds or few requests, and the same bounds.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from fairlead import Feedback, Outcome, Prices
from tests.trials.__main__ import main
from tests.trials.operations import (
    base,
    budgets,
    caps,
    embeddings,
    flaky,
    outages,
    poison,
    registry,
    revocation,
    weeks,
)
from tests.trials.operations.arrivals import DAY_S, MONDAY_S, PROFILES, arrivals
from tests.trials.operations.clients import Honest, Hostile
from tests.trials.operations.office import SHORT
from tests.trials.operations.play import make_router, play
from tests.trials.operations.result import at_least, at_most, in_most, joined, result_of, within
from tests.trials.operations.world import Endpoint, Moment, World, between


def quiet(line: str) -> None:
    """Show no progress."""


def test_a_router_without_faults_meets_the_bounds() -> None:
    assert base.run(range(1, 3), quiet).problems == []


def test_false_costs_move_next_to_nothing() -> None:
    assert poison.run_short([1], quiet).problems == []


def test_an_outage_takes_the_share_and_recovery_gives_it_back() -> None:
    assert outages.run_short(range(1, 4), quiet).problems == []


def test_a_few_failures_cost_little_and_many_are_believed() -> None:
    assert flaky.run_short([1, 2], quiet).problems == []


def test_limits_lock_nobody_out() -> None:
    assert caps.run_short([1], quiet).problems == []


def test_two_days_of_the_whole_service_end_without_a_fault_and_show_the_outage() -> None:
    result = weeks.run([1], quiet, plan=SHORT)
    met = {figure.what: figure.met for figure in result.figures}
    assert met["answers other than 200"]
    assert met["answers of the default provider"]
    assert met["support: failed calls in the outage's first 20 requests"]
    assert met["support: decisions until half of its share is back"]
    assert met["alarms: looks at the metrics that show the outage's open circuit"]
    assert met["alarms: entries about the price list that is off"]
    # What is no bound of a figure: the state of a rebuild, of a restart, and a key that is revoked.
    assert not [problem for problem in result.problems if ", target " not in problem]


@pytest.mark.parametrize("count", [1, 2])
def test_a_removed_key_and_a_pause_hold_in_every_process(
    tmp_path: Path, postgres_url: str, count: int
) -> None:
    url = postgres_url if count > 1 else None
    measured = revocation.play(tmp_path, url, [1], count=count, progress=quiet, warm_s=1.0, width=96)
    assert measured.problems == []
    assert (len(measured.refused_s), len(measured.paused_s)) == (count, 1) and measured.decisions > 0


def test_a_day_budget_is_used_up_evenly_at_the_hours_of_an_office() -> None:
    assert [
        figure for figure in budgets.profile("office hours", [1], quiet, days=2) if figure.met is False
    ] == []


def test_providers_that_a_budget_cannot_pay_are_alarmed_and_a_hard_one_holds() -> None:
    assert [figure for figure in budgets.too_dear([1], quiet) if figure.met is False] == []


# The simulated world


def two(**best: object) -> list[Endpoint]:
    return [Endpoint(name="best", quality=0.9, **best), Endpoint(name="next", quality=0.8)]  # type: ignore[arg-type]


def test_a_world_answers_by_its_seed_alone() -> None:
    first, again, other = (World(two(), requests=50, seed=seed) for seed in (3, 3, 4))
    calls = [
        [world.call(name, Moment(request=i, at_s=0.0)) for i in reversed(range(50)) for name in world.names]
        for world in (first, again, other)
    ]
    assert calls[0] == calls[1]
    assert calls[0] != calls[2]


def test_a_fault_of_one_provider_changes_no_other_call() -> None:
    well = World(two(), requests=50, seed=3)
    ill = World(two(failure=1.0, latency_s=9.0), requests=50, seed=3)
    for i in range(50):
        moment = Moment(request=i, at_s=0.0)
        assert well.call("next", moment) == ill.call("next", moment)
        assert ill.call("best", moment).status == "error"


@pytest.mark.parametrize("binary", [False, True])
def test_rewards_costs_and_latencies_have_the_stated_means(binary: bool) -> None:
    prices = Prices(input_usd_per_mtok=2.0, output_usd_per_mtok=8.0)
    endpoint = Endpoint(name="a", quality=0.95, latency_s=2.0, latency_spread=0.5, prices=prices)
    world = World([endpoint], requests=4_000, seed=1, binary=binary)
    calls = [world.call("a", Moment(request=i, at_s=0.0)) for i in range(4_000)]
    assert np.mean([call.quality for call in calls]) == pytest.approx(0.95, abs=0.012)
    assert np.mean([call.latency_s for call in calls]) == pytest.approx(2.0, rel=0.05)
    assert np.mean([call.cost_usd for call in calls]) == pytest.approx(world.mean_costs()[0], rel=0.03)


def test_a_reward_drawn_anew_has_the_same_mean_and_is_independent() -> None:
    world = World(two(), requests=4_000, seed=1)
    had = [world.call("best", Moment(request=i, at_s=float(i))).quality or 0.0 for i in range(4_000)]
    anew = [world.reward_anew("best", i) for i in range(4_000)]
    assert np.mean(anew) == pytest.approx(np.mean(had), abs=0.01)
    assert abs(float(np.corrcoef(had, anew)[0, 1])) < 0.05


def test_an_outage_lasts_from_its_first_request_to_before_its_last() -> None:
    world = World(two(failure=between(10, 12, inside=1.0, outside=0.0)), requests=20, seed=1)
    statuses = [world.call("best", Moment(request=i, at_s=0.0)).status for i in range(20)]
    assert [i for i, status in enumerate(statuses) if status == "error"] == [10, 11]


def test_tasks_have_their_own_quality_and_embeddings_lie_near_those_of_their_task() -> None:
    endpoints = [Endpoint(name="a", quality=0.5, by_task={"sql": 0.9, "chat": 0.1})]
    world = World(endpoints, requests=40, seed=1, tasks=("sql", "chat"), embedding_width=64)
    by_task: dict[str | None, list[np.ndarray]] = {"sql": [], "chat": []}
    for i in range(40):
        vector = world.embedding(i)
        assert vector is not None
        assert np.linalg.norm(vector) == pytest.approx(1.0)
        by_task[world.task(i)].append(vector)
        expected = {"sql": 0.9, "chat": 0.1}[world.task(i) or ""]
        assert world.endpoints["a"].worth(Moment(request=i, at_s=0.0), world.task(i)) == expected
    sql, chat = np.array(by_task["sql"]), np.array(by_task["chat"])
    assert (sql @ sql.T).mean() > 0.3 > abs((sql @ chat.T).mean())


@pytest.mark.parametrize("name", PROFILES)
def test_arrivals_follow_their_profile(name: str) -> None:
    times = arrivals(PROFILES[name], days=7, per_day=2_000.0, seed=1)
    assert len(times) == pytest.approx(14_000, rel=0.03)
    assert (np.diff(times) >= 0).all()
    assert MONDAY_S <= times[0] < times[-1] < MONDAY_S + 7 * DAY_S
    hours = np.bincount(((times - MONDAY_S) // 3600).astype(int), minlength=168)
    expected = np.array([PROFILES[name](hour) for hour in range(168)])
    assert hours == pytest.approx(expected * len(times) / expected.sum(), abs=5.0 * hours.max() ** 0.5)


# The player and its clients


def test_reports_come_when_they_are_due() -> None:
    """With a delay beyond the last request nothing is learned: the distribution stays the first."""
    world = World(two(), requests=60, seed=1)
    late = play(make_router(world), world, client=Honest(outcome_after_s=99.0, feedback_after_s=99.0))
    soon = play(make_router(world), world, client=Honest(feedback_after_s=5.0))
    assert np.ptp(late.probabilities[:, 0]) < 1e-9
    # The sixth request comes as the first is judged: nothing is learned before, and that at once.
    assert np.ptp(soon.probabilities[:5, 0]) < 1e-9
    assert np.ptp(soon.probabilities[4:6, 0]) > 0.01
    assert soon.share("best", 40) > 0.6


def test_hostile_reports_replace_a_share_of_the_honest_ones() -> None:
    world, sent = World(two(), requests=400, seed=1), []

    def corrupt(reports: list, decision: object, call: object) -> list:  # type: ignore[type-arg]
        sent.append([type(event) for _, event in reports])
        return []

    play(make_router(world), world, client=Hostile(honest=Honest(), share=0.1, corrupt=corrupt))
    assert 25 <= len(sent) <= 55
    assert all(kinds == [Outcome, Feedback] for kinds in sent)


def test_a_record_says_who_served_and_what_it_was_worth() -> None:
    world = World(two(failure=1.0), requests=200, seed=1, tasks=("chat", "sql"))
    played = play(make_router(world), world, keep_decisions=True)
    assert played.served("best") + played.served("next") == 200
    assert played.failed.sum() == played.served("best") > 0
    assert set(played.worth.tolist()) == {0.0, 0.8}
    assert (played.cost_usd[played.failed] == 0).all()
    assert played.probabilities.sum(axis=1) == pytest.approx(np.ones(200))
    assert len(played.decisions) == 200
    assert played.refused == 0


# Figures and their bounds


def test_a_missed_bound_becomes_a_problem() -> None:
    met = [at_most("a", 1.0, 1.0), at_least("b", 2.0, 1.0), within("c", [0.9, 1.1], low=0.95, high=1.05)]
    assert result_of(met).problems == []
    nothing = float("nan")
    missed = [at_most("a", nothing, 1.0), at_least("b", 0.5, 1.0, unit="s"), within("c", [], low=0, high=1)]
    problems = result_of(missed, problems=["noticed"]).problems
    assert problems[0] == "noticed"
    assert problems[2] == "b: 0.5 s, target ≥ 1 s"
    assert len(problems) == 4
    assert joined({"one": result_of(missed)}).problems[1].startswith("one: b: ")


@pytest.mark.parametrize(("held", "n", "met"), [(19, 20, True), (18, 20, False), (2, 2, True), (1, 2, False)])
def test_most_seeds_are_nineteen_of_twenty(held: int, n: int, met: bool) -> None:
    assert in_most("it holds", [True] * held + [False] * (n - held), share=0.95).met is met


# The command


def test_the_command_writes_figures_and_fails_if_a_bound_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    assert main(["--json", str(path), "operations", "base", "--seeds", "1"]) == 0
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["problems"] == []
    assert {"what", "measured", "target", "met"} == set(written["figures"][0])
    assert "measured" in capsys.readouterr().err
    monkeypatch.setattr(base, "run", lambda seeds, progress: result_of([at_most("x", 2.0, 1.0)]))
    monkeypatch.setattr(registry, "TRIALS", {"base": ""})
    assert main(["operations", "all", "--seeds", "1"]) == 1
    with pytest.raises(SystemExit):
        main(["operations", "no-such-trial"])
    with pytest.raises(SystemExit):
        main(["operations", "base", "--seed", "7"])  # not taken for --seeds: it belongs before the name


def test_every_trial_of_the_registry_has_a_file() -> None:
    assert all(callable(registry.trial(name)) for name in registry.TRIALS)


# Embeddings


def test_fits_of_wide_embeddings_and_the_loop_stay_quick() -> None:
    # What is timed depends on the machine, so only what does not is compared with bounds here.
    figures = [*embeddings.fits(1_536, 3, [1], rounds=30), *embeddings.service(256, 1, rounds=20)]
    assert all(figure.measured for figure in figures)
    assert [figure.met for figure in embeddings.learning([1], quiet, rounds=1_000)] == [True]
