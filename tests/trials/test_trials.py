"""The trials of the service, short: `python -m tests.trials` runs them at full length."""

import random
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired

import pytest

from fairlead.api.store import open_store
from fairlead.experiments.files import bundled_path
from fairlead.optimizer.errors import InvalidInput
from tests.api.running import Running
from tests.trials import settings as trial
from tests.trials import states
from tests.trials.__main__ import main
from tests.trials.damage import damaged_snapshots
from tests.trials.databases import start_patiently
from tests.trials.kills import kill_cycles
from tests.trials.power import compiled, power_cuts
from tests.trials.rebuild import rebuild
from tests.trials.replicas import replicas
from tests.trials.served_table import served_table


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_was_acknowledged_survives_kill_9(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = None if kind == "sqlite" else request.getfixturevalue("postgres_url")
    result = kill_cycles(tmp_path, cycles=3, seed=1, url=url)
    assert result.problems == []
    assert (result.kills, result.stops, result.states) == (2, 1, 3)
    assert result.acknowledged > 30


@pytest.fixture
def compiler(tmp_path: Path) -> None:
    try:
        compiled(tmp_path / "library")
    except InvalidInput as missing:
        pytest.skip(str(missing))


@pytest.mark.usefixtures("compiler")
def test_what_was_acknowledged_survives_a_power_cut(tmp_path: Path) -> None:
    result = power_cuts(tmp_path, cuts=2, seed=1)
    assert (result.problems, result.lost, result.cuts) == ([], 0, 2)
    assert result.acknowledged > 5


@pytest.mark.usefixtures("compiler")
def test_a_power_cut_is_noticed_where_commits_are_not_synced(tmp_path: Path) -> None:
    """The negative control: a trial that finds nothing here would find nothing anywhere."""
    result = power_cuts(tmp_path, cuts=2, seed=1, synchronous="NORMAL")
    assert result.lost > 0
    assert any(problem.startswith("lost: ") for problem in result.problems)


def test_damaged_snapshots_are_noticed_and_answered_by_a_rebuild(tmp_path: Path) -> None:
    result = damaged_snapshots(tmp_path, times=12, seed=1, rounds=20)
    assert result.problems == []
    assert (result.damages, result.detected, result.rebuilt) == (12, 12, 12)


def test_replicas_learn_the_same_while_they_die(tmp_path: Path, postgres_url: str) -> None:
    result = replicas(tmp_path, postgres_url, seconds=4.0, kill_every_s=1.5, seed=1)
    assert result.problems == []
    assert result.kills >= 1
    assert result.feedback > 20


def test_feedback_in_any_order_ends_in_the_statistics_of_the_clean_one(tmp_path: Path) -> None:
    """Posted early, shuffled, repeated and corrected; compared with a log that says each last word once."""
    rng, service_settings = random.Random(5), trial.read_back(trial.settings(tmp_path), tmp_path)
    bodies = []
    for i in range(30):
        for name in range(2):
            bodies.append(
                {"id": f"f{i}-{name}", "decision_id": f"d{i}", "value": rng.random(), "source": "human"}
            )
    bodies += rng.sample(bodies, 20)
    rng.shuffle(bodies)
    service = Running(service_settings).until_ready()
    try:
        for i, body in enumerate(bodies):
            service.post("/v1/feedback", body, status=200)
            if i % 2 == 0 and i < 60:
                ask = {
                    "route": trial.ROUTE,
                    "features": [rng.uniform(-1, 1)] * trial.WIDTH,
                    "id": f"d{i // 2}",
                }
                service.post("/v1/decisions", ask, status=200)
        service.until(service.settled)
        fold = service.service.engine.fold
        served = states.arrays_of(fold)
        # A repetition is no correction: each counts where it came first.
        first = {body["id"]: body for body in bodies}.values()
        last = {body["decision_id"]: body["value"] for body in first}
        decisions = fold.routes[trial.ROUTE].router.open_decisions()
        values = {decision.id: states.feedback_of(decision) for decision in decisions}
        assert values == {name: {"quality/human": value} for name, value in last.items()}
    finally:
        service.stop()
    store = open_store(service_settings.database_url, read_only=True)
    rows = states.all_rows(store)
    store.close()
    assert sum(row.kind == "feedback" for row in rows) == 60
    once = states.clean_sums(rows, states.fold_rows(rows).routes[trial.ROUTE])
    assert any(array.any() for array in once.values())
    assert states.differences(once, states.sums_of(served)) == []


def test_a_long_log_is_rebuilt_bit_for_bit(tmp_path: Path) -> None:
    result = rebuild(tmp_path, rounds=1_200, seed=1, open_decisions=500)
    assert result.problems == []
    assert result.rebuild_cpu_s > 0


def test_a_trial_that_cannot_be_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kill", "--cycles", "0"])
    assert ended.value.code == 2
    assert "give a whole number from 1 on" in capsys.readouterr().err


def test_a_server_that_starts_slowly_is_asked_again() -> None:
    answers = iter([TimeoutExpired("pg_ctl", 10), TimeoutExpired("pg_ctl", 10), "running", "never reached"])

    def start() -> str:
        answer = next(answers)
        if isinstance(answer, TimeoutExpired):
            raise answer
        return answer

    assert start_patiently(start) == "running"
    assert next(answers) == "never reached"


def test_a_server_that_cannot_start_is_reported_at_once() -> None:
    def start() -> str:
        raise CalledProcessError(1, "initdb")

    with pytest.raises(CalledProcessError):
        start_patiently(start)


def test_what_is_served_is_what_is_simulated(tmp_path: Path) -> None:
    """Short: one budget of the first prompts of a bundled table, with one fit of texts."""
    result = served_table(tmp_path, bundled_path("synthetic_support.parquet"), seeds=1, budgets=1, most=300)
    assert result.problems == []
    assert result.fits >= 1
    assert abs(result.served_mean - result.simulated_mean) < 0.1
