"""The benchmark runs from end to end at tiny sizes; what it measures is for the benchmark itself to say."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fairlead.experiments.benchmarks.__main__ import main, run
from fairlead.experiments.benchmarks.changes import adoption
from fairlead.experiments.benchmarks.report import Section
from fairlead.experiments.benchmarks.tables import Options, data_folder
from fairlead.experiments.benchmarks.task import PlainBandit, make_task

TINY = Options(data=data_folder(), seeds=1, budgets=1, rounds=30, speed_rounds=6, cells=((5, 32),))


def test_speed_runs_without_peers_and_says_so() -> None:
    section = run(5, TINY)
    names = [row.name for row in section.rows]
    assert "decide + learn at k=20, d=64: mean µs" in names
    assert {f"task k={k}, d={d}, Fairlead: score" for k, d in TINY.cells} <= set(names)
    assert all(math.isfinite(row.measured) for row in section.rows)
    assert sum("make peers" in note for note in section.notes) == 1
    assert json.dumps(section.plain(), allow_nan=False)


def test_the_warm_protocol_runs_at_one_budget() -> None:
    if not (TINY.data / "outcomes" / "paretobandit.parquet").is_file():
        pytest.skip("paretobandit.parquet is not there: set FAIRLEAD_DATA")
    section = run(1, TINY)
    measured = {row.name: row.measured for row in section.rows}
    assert 0.8 < measured["Fairlead: mean quality over the budgets"] < measured["oracle"]
    assert any(name.startswith("utilisation at $1.5") for name in measured)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_without_data_a_section_says_what_is_missing(number: int, tmp_path: Path) -> None:
    section = run(number, Options(data=tmp_path))
    assert not section.rows
    assert all(note.startswith("Skipped: ") and "FAIRLEAD_DATA" in note for note in section.notes)
    assert section.notes


def test_json_holds_every_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_DATA", str(tmp_path / "nowhere"))
    file = tmp_path / "found.json"
    assert main(["--only", "4,1", "--json", str(file)]) == 0
    assert [section["number"] for section in json.loads(file.read_text())["sections"]] == [1, 4]


@pytest.mark.parametrize("arguments", [["--only", "8"], ["--only", ""], ["--seeds", "0"], ["--jobs", "x"]])
def test_bad_arguments_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "give" in capsys.readouterr().err


def test_targets_count_the_standard_error_only_where_they_say_so() -> None:
    section = Section(number=1, title="t")
    section.no_less_than_zero("lift", [-0.03, 0.01])  # mean −.01, standard error .02
    section.at_least("quality", [0.8, 0.9], 0.86)
    section.at_most("utilisation", [1.0, 1.02], 1.02)
    assert [row.met for row in section.rows] == [True, False, True]
    assert "| quality | ≥ 0.86 | 0.8500 | 0.0500 | **no** |" in section.markdown()


def test_adoption_is_the_start_of_half_the_settled_share() -> None:
    chosen = np.zeros(400, dtype=np.bool_)
    chosen[100:] = True
    assert adoption(chosen) == 75  # 25 of the next 50
    assert adoption(np.zeros(400, dtype=np.bool_)) == 400


def test_the_task_is_one_that_a_plain_bandit_learns() -> None:
    task = make_task(providers=5, width=32, rounds=1_500, seed=0)
    assert task.observed.min() >= 0.0 and task.observed.max() <= 1.0
    assert np.allclose(np.linalg.norm(task.features[:, :-1], axis=1), 1.0)
    bandit = PlainBandit(providers=5, width=32, alpha=0.2, ridge=0.1, rng=None)
    chosen = []
    for x, observed in zip(task.features, task.observed, strict=True):
        chosen.append(bandit.choose(x))
        bandit.learn(x, chosen[-1], float(observed[chosen[-1]]))
    assert task.score(chosen) > 0.7
    assert task.score(task.mean.argmax(axis=1).tolist()) == pytest.approx(1.0)
