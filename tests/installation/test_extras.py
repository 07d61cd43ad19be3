"""Without an extra, what needs it says so in one sentence; everything else works."""

from __future__ import annotations

import pytest

from tests.experiments.logs.log_lines import drawn_lines, write_jsonl
from tests.installation.environments import Environment
from tests.paths import ROOT

TABLE = ROOT / "data" / "synthetic_support.parquet"


def assert_refused(environment: Environment, arguments: list[object], *, extra: str) -> None:
    result = environment.fairlead(*arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.startswith("fairlead: ")
    assert result.stderr.endswith(f"which is not installed: pip install 'fairlead[{extra}]'\n"), result.stderr
    assert result.stderr.count("\n") == 1
    assert not result.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["demo"], "replay"),
        (["simulate", TABLE], "replay"),
        (["replay", "decisions.jsonl"], "replay"),
        (["import-log", "spend.csv", "--from", "litellm", "--out", "log.jsonl"], "replay"),
        (["serve", "--config", "postgres.yaml"], "postgres"),
        (["migrate", "--config", "postgres.yaml"], "postgres"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_command_names_the_extra_that_it_needs(
    light: Environment, arguments: list[object], extra: str
) -> None:
    settings = "database_url: postgresql://a@127.0.0.1/b\n"
    (light.directory / "postgres.yaml").write_text(settings, encoding="utf-8")
    assert_refused(light, arguments, extra=extra)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["replay", "log.jsonl", "--report", "out.html"], "report"),
        (["simulate", TABLE, "--chart", "out.png"], "report"),
        (["replay", "log.jsonl", "--target", "uniform", "--engine", "dask"], "dask"),
    ],
    ids=["report", "chart", "dask"],
)
def test_an_option_names_the_extra_that_it_needs(
    with_replay: Environment, arguments: list[object], extra: str
) -> None:
    write_jsonl(with_replay.directory / "log.jsonl", drawn_lines(60))
    assert_refused(with_replay, arguments, extra=extra)


def test_what_needs_no_extra_works_without(light: Environment) -> None:
    for arguments in (["--help"], ["--version"], ["init", "starter.yaml"], ["serve", "--help"]):
        result = light.fairlead(*arguments)
        assert result.returncode == 0, result.stderr
    result = light.program(
        """\
import pkgutil, importlib
import fairlead.optimizer, fairlead.api, fairlead.experiments.ope
for package in (fairlead.optimizer, fairlead.experiments.ope):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
"""
    )
    assert result.returncode == 0, result.stderr
