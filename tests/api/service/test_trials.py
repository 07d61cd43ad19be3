"""The trials of the service, short: `python -m api.trials` runs them at full length."""

from pathlib import Path

import pytest

from api.trials.__main__ import main
from api.trials.damage import damaged_snapshots
from api.trials.kills import kill_cycles
from api.trials.power import compiled, power_cuts
from api.trials.rebuild import rebuild
from api.trials.replicas import replicas
from optimizer.errors import InvalidInput


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
    assert (result.made, result.detected, result.rebuilt) == (12, 12, 12)


def test_replicas_learn_the_same_while_they_die(tmp_path: Path, postgres_url: str) -> None:
    result = replicas(tmp_path, postgres_url, seconds=4.0, kill_every_s=1.5, seed=1)
    assert result.problems == []
    assert result.kills >= 1
    assert result.feedback > 20


def test_a_long_log_is_rebuilt_bit_for_bit(tmp_path: Path) -> None:
    result = rebuild(tmp_path, rounds=1_200, seed=1, open_decisions=500)
    assert result.problems == []
    assert result.rebuild_cpu_s > 0


def test_a_trial_that_cannot_be_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["kill", "--cycles", "0"])
    assert ended.value.code == 2
    assert "give a whole number from 1 on" in capsys.readouterr().err
