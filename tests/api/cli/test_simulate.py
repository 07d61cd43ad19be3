"""The command line: every option on a small table, every kind of bad input, and nothing half-written."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.core import TyperGroup

from fairlead.api.cli.main import app
from tests.api.cli.command_line import assert_refused, plant_traps, run

KINDS = ("Write a function in Python that sorts a list", "Translate into French: the parcel is late")
RATES = {"a/cheap": (0.9, 0.1), "b/mid": (0.2, 0.8), "c/dear": (0.85, 0.85)}
COSTS = {"a/cheap": 0.001, "b/mid": 0.002, "c/dear": 0.02}


def rows(n: int = 90) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    content = []
    for i in range(n):
        kind = i % 2
        for model, rates in RATES.items():
            content.append(
                {
                    "prompt_id": f"p{i}", "split": "val" if i < n // 2 else "test", "task": f"t{kind}",
                    "prompt": f"{KINDS[kind]} number {i} item{rng.integers(50)}", "model": model,
                    "quality": float(rng.random() < rates[kind]), "cost_usd": COSTS[model],
                    "input_tokens": 20, "output_tokens": 50, "latency_s": 0.5,
                }
            )  # fmt: skip
    return content


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "table.csv", rows())


QUICK = ("--seeds", 1, "--jobs", 1, "--no-supervised", "--budget", 0.003)


def simulated(table: Path, *options: object, quick: tuple[object, ...] = QUICK) -> dict[str, Any]:
    out = table.parent / "out.json"
    result = run("simulate", table, *quick, *options, "--json", out, "--quiet")
    assert result.exit_code == 0, result.output
    result: dict[str, Any] = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(name))
    return result


def test_the_records_have_the_promised_schema(table: Path) -> None:
    result = simulated(table, "--seeds", 2)
    measured = ["mean_quality", "mean_cost_usd", "utilisation", "best_fixed_mix_at_spend", "lift"]
    wanted = ["policy", "budget_usd", "wtp_usd", "seed", "n", *measured]
    wanted += [f"{name}_second_half" for name in measured] + ["share"]
    assert [record["seed"] for record in result["records"]] == [0, 1]
    for record in result["records"]:
        assert list(record)[: len(wanted)] == wanted
        assert record["n"] == 90
        assert sum(record["share"].values()) == pytest.approx(1.0)
        assert record["lift"] == pytest.approx(record["mean_quality"] - record["best_fixed_mix_at_spend"])
        assert record["utilisation"] == pytest.approx(record["mean_cost_usd"] / 0.003)
        assert record["utilisation_after_1000"] is None
        assert len(record["phase_quality"]) == 3
    summary = result["summary"]
    assert {"policies", "overall", "oracle", "supervised", "providers", "settings", "versions"} <= set(
        summary
    )
    (policy,) = summary["policies"]
    qualities = [record["mean_quality"] for record in result["records"]]
    assert policy["mean"]["mean_quality"] == pytest.approx(np.mean(qualities))
    assert policy["standard_error"]["mean_quality"] == pytest.approx(np.std(qualities, ddof=1) / np.sqrt(2))


def test_the_same_command_gives_the_same_numbers_in_any_number_of_processes(table: Path) -> None:
    options = ("--policy", "default", "--policy", "uniform", "--seeds", 2)
    alone = simulated(table, *options)
    assert simulated(table, *options, "--jobs", 2)["records"] == alone["records"]


@pytest.mark.parametrize(
    "policy",
    ["default", "greedy", "uniform", "fixed:b/mid", "linucb", "thompson", "squarecb", "epsilon-greedy:0.1",
     "linucb:0.3"],
)  # fmt: skip
def test_every_policy_plays(table: Path, policy: str) -> None:
    (record,) = simulated(table, "--policy", policy)["records"]
    assert record["policy"] == policy
    if policy == "fixed:b/mid":
        assert record["share"] == {"a/cheap": 0.0, "b/mid": 1.0, "c/dear": 0.0}
        assert record["mean_cost_usd"] == pytest.approx(0.002)


GOALLESS = QUICK[:-2]


def test_goals(table: Path) -> None:
    def budgets(*options: object) -> list[float]:
        records = simulated(table, "--policy", "uniform", *options, quick=GOALLESS)["records"]
        return [record["budget_usd"] for record in records]

    assert budgets("--budget", 0.002, "--budget", 0.01) == [0.002, 0.01]
    assert budgets("--budgets", 3) == pytest.approx(np.geomspace(0.001, 0.02, 3))
    assert budgets("--budgets", 1) == pytest.approx([np.sqrt(0.001 * 0.02)])
    assert budgets() == pytest.approx(np.geomspace(0.001, 0.04, 5))
    (record,) = simulated(table, "--wtp", 0.01, quick=GOALLESS)["records"]
    assert (record["budget_usd"], record["wtp_usd"], record["utilisation"]) == (None, 0.01, None)


def test_splits_providers_labels_and_feedback(table: Path) -> None:
    result = simulated(table, "--warmup-split", "val", "--score-split", "test", "--task-labels",
                      "--features", "surface", "--feedback-delay", 5, "--feedback-rate", 0.5,
                      "--no-price-list", "--providers", "a/*,c/dear")  # fmt: skip
    (record,) = result["records"]
    assert record["n"] == 45
    assert list(record["share"]) == ["a/cheap", "c/dear"]
    assert result["summary"]["providers"]["a/cheap"]["price_list"] == {"source": "none"}


def test_changes(table: Path) -> None:
    fixed = ("--policy", "fixed:c/dear")
    (record,) = simulated(table, *fixed, "--price-change", "c/dear=0.5@45")["records"]
    assert record["mean_cost_usd"] == pytest.approx(0.015)
    assert record["mean_cost_usd_second_half"] == pytest.approx(0.01)
    (record,) = simulated(table, *fixed, "--quality-change", "c/dear=0.1@30:60")["records"]
    assert record["phase_quality"][1] == pytest.approx(0.1)
    assert record["share_after_change"] == {"c/dear": None}
    (record,) = simulated(table, "--policy", "uniform", "--add-provider", "c/dear@45")["records"]
    assert 0.0 < record["share"]["c/dear"] < 0.35
    for policy in ("default", "linucb"):
        changes = ("--add-provider", "c/dear@30", "--price-change", "a/cheap=2@50")
        simulated(table, "--policy", policy, *changes)


def test_repeated_prompts_count_once_unless_asked(tmp_path: Path) -> None:
    content = rows(20)
    for row in content:
        row["prompt"] = row["prompt"][:20]
    table = write(tmp_path / "table.csv", content)
    assert simulated(table, "--all-prompts", "--policy", "uniform")["records"][0]["n"] == 20
    assert simulated(table, "--policy", "uniform")["records"][0]["n"] == 2


def test_missing_cells_are_counted_and_never_chosen(tmp_path: Path) -> None:
    content = [row for row in rows() if row["model"] != "c/dear" or int(row["prompt_id"][1:]) >= 30]
    table = write(tmp_path / "table.csv", content)
    for policy in ("default", "uniform", "fixed:c/dear", "linucb"):
        result = simulated(table, "--policy", policy)
        assert result["summary"]["providers"]["c/dear"]["missing"] == 30
        assert result["records"][0]["share"]["c/dear"] <= 2 / 3 + 1e-9
        assert "c/dear lacks an outcome for 30 of 90" in result["summary"]["notes"][0]


def test_the_terminal_shows_a_table_and_a_sentence(table: Path) -> None:
    out, chart = table.parent / "out.csv", table.parent / "plane.svg"
    result = run("simulate", table, "--seeds", 1, "--jobs", 1, "--budget", 0.003, "--budget", 0.01,
                 "--csv", out, "--chart", chart)  # fmt: skip
    assert result.exit_code == 0, result.output
    for word in ("oracle", "supervised", "default earned", "best fixed mix"):
        assert word in " ".join(result.output.split())
    first, _ = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    assert first["policy"] == "default"
    assert 0.0 <= float(first["share:a/cheap"]) <= 1.0
    assert chart.read_text().startswith("<svg")
    assert sorted(path.name for path in table.parent.iterdir()) == ["out.csv", "plane.svg", "table.csv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "magic"], "there is no policy 'magic'"),
        (["--policy", "fixed:x"], "no provider is called 'x'"),
        (["--policy", "greedy", "--policy", "greedy"], "each once"),
        (["--budget", "0"], "more than 0"),
        (["--budget", "-1"], "more than 0"),
        (["--budget", "nan"], "finite"),
        (["--budget", "inf"], "finite"),
        (["--budget", "cheap"], "Invalid value for '--budget'"),
        (["--budget", "1", "--wtp", "1"], "exclude each other"),
        (["--budgets", "0"], "at least 1"),
        (["--wtp", "-2"], "more than 0"),
        (["--score-split", "nope"], "no prompt is of split 'nope'"),
        (["--warmup-split", "val"], "without a score split"),
        (["--warmup-split", "val", "--score-split", "val"], "also scored"),
        (["--providers", "a/cheap,,b/mid"], "empty name"),
        (["--providers", "z*"], "no provider is called 'z*'"),
        (["--features", "deep"], "deep"),
        (["--feedback-delay", "-1"], "at least 0"),
        (["--feedback-rate", "1.5"], "in [0, 1]"),
        (["--feedback-rate", "nan"], "in [0, 1]"),
        (["--seeds", "0"], "at least 1"),
        (["--jobs", "0"], "at least 1"),
        (["--price-change", "a/cheap"], "PROVIDER=FACTOR@STEP"),
        (["--price-change", "a/cheap=x@1"], "is not a number"),
        (["--price-change", "a/cheap=-1@1"], "more than 0"),
        (["--price-change", "a/cheap=2@90"], "never happens"),
        (["--price-change", "x=2@1"], "no provider is called 'x'"),
        (["--quality-change", "a/cheap=2@1:5"], "in [0, 1]"),
        (["--quality-change", "a/cheap=.5@5:5"], "no time"),
        (["--quality-change", "a/cheap=.5@5:91"], "at most 90"),
        (["--add-provider", "a/cheap"], "NAME@STEP"),
        (["--providers", "a/*", "--add-provider", "a/cheap@1"], "to score"),
        (["--json", "nowhere/out.json"], "does not exist"),
        (["--chart", "plane.gif"], "use .png or .svg or .html"),
        (["--frobnicate"], "No such option"),
    ],
)  # fmt: skip
def test_a_bad_option_gets_one_sentence(
    table: Path, monkeypatch: pytest.MonkeyPatch, *, options: list[str], said: str
) -> None:
    monkeypatch.chdir(table.parent)
    result = run("simulate", table, "--json", "left.json", "--csv", "left.csv", *options)
    assert_refused(result, said)
    assert [path.name for path in table.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [("quality", "nan", "quality"), ("quality", 1.5, "quality"), ("cost_usd", -1, "cost_usd"),
     ("cost_usd", "inf", "cost_usd"), ("latency_s", -1, "latency_s"), ("quality", "good", "quality")],
)  # fmt: skip
def test_a_bad_cell_gets_one_sentence(tmp_path: Path, *, column: str, value: object, said: str) -> None:
    content = rows(10)
    content[4][column] = value
    assert_refused(run("simulate", write(tmp_path / "table.csv", content)), said)


def test_a_bad_table_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    assert_refused(run("simulate", tmp_path / "empty.csv"), "is empty")
    assert_refused(run("simulate", tmp_path / "absent.csv"), "no such file")
    assert_refused(run("simulate", write(tmp_path / "columns.csv", [{"a": 1}])), "is missing")
    assert_refused(run("simulate", write(tmp_path / "one.csv", rows(1))), "at least 2")
    assert_refused(run("simulate"), "Missing argument")
    assert_refused(run("conjure"), "No such command")
    free = [row | {"cost_usd": 0.0} for row in rows(10)]
    assert_refused(run("simulate", write(tmp_path / "free.csv", free)), "name the budgets")


def test_quiet_leaves_the_table(table: Path) -> None:
    loud, quiet = (run("simulate", table, *QUICK, *more).stdout for more in ((), ("--quiet",)))
    assert loud.startswith(quiet.rstrip())
    for head in ("used", "fixed mix", "lift"):
        assert head in quiet
    assert "points of quality" in loud and "points of quality" not in quiet


def test_the_version_is_printed() -> None:
    assert run("--version").output.startswith("fairlead ")


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_help_of_every_command_has_a_summary_and_an_example(name: str) -> None:
    """The summary is one line for the list of commands; the example is an indented line of the text."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    text = command.commands[name].help or ""
    assert text.splitlines()[0].endswith(".")
    assert f"\n    fairlead {name}" in text
    assert f"fairlead {name}" in run(name, "--help").output


def test_help_imports_neither_the_service_nor_the_algorithm() -> None:
    for arguments in (["--help"], ["simulate", "--help"], ["replay", "--help"], ["serve", "--help"]):
        code = f"import sys; sys.argv = ['fairlead', *{arguments}]\nfrom fairlead.api.cli.main import app\n"
        code += "try:\n    app()\nfinally:\n    print('imported', *sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        imported = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()[1:]}
        assert not imported & {
            "numpy",
            "duckdb",
            "fastapi",
            "sqlalchemy",
            "scipy",
            "sklearn",
            "numba",
        }


def test_processes_import_nothing_from_the_working_directory(table: Path, tmp_path: Path) -> None:
    """As the installed command does: a script that lies elsewhere, with worker processes of its own."""
    script, project = tmp_path / "command.py", tmp_path / "project"
    script.write_text("from fairlead.api.cli.main import main\nif __name__ == '__main__': main()\n", "utf-8")
    project.mkdir()
    plant_traps(project)
    arguments = ["simulate", table, "--seeds", 2, "--jobs", 2, "--no-supervised", "--budget", 0.003]
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "lift" in done.stdout
    assert not (project / "ran").exists()
