"""The command line as a user meets it, run inside the tests."""

from pathlib import Path

from typer.testing import CliRunner, Result

from fairlead.api.cli.main import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_refused(result: Result, said: str) -> None:
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def plant_traps(folder: Path) -> None:
    """Fill a folder with modules named like others, which leave a file ``ran`` there if they are imported."""
    trap = f"open({str(folder / 'ran')!r}, 'w').close()\nraise SystemExit('a trap was imported')\n"
    for name in ("api", "fairlead", "optimizer", "experiments"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(trap, encoding="utf-8")
    for name in ("random", "struct", "signal", "multiprocessing", "numpy", "sqlalchemy"):
        (folder / f"{name}.py").write_text(trap, encoding="utf-8")
