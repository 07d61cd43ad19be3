"""Probabilities that were rounded are read with a sum of 1, and a sum that is wrong is shown as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from fairlead.experiments.logs.log import open_log
from fairlead.experiments.logs.read import Reader
from fairlead.experiments.ope.logged import LoggedBatch
from fairlead.optimizer.errors import InvalidInput
from tests.api.cli.command_line import run
from tests.experiments.logs.log_lines import NAMES, drawn_lines, line, lines, write_jsonl
from tests.paths import SHARED_DATA


def wide(propensities: Sequence[float], **more: Any) -> dict[str, Any]:
    names = [f"p{j}" for j in range(len(propensities))]
    return {"providers": names, "provider": "p1", "propensities": list(propensities), **more}


@pytest.mark.parametrize("digits", [3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("k", [3, 30, 300])
def test_any_digits_from_three_are_taken(tmp_path: Path, *, digits: int, k: int) -> None:
    shares = (
        np.random.default_rng(digits).dirichlet(np.full(k, 50.0), size=40).round(digits).clip(10.0**-digits)
    )
    sums = shares.sum(axis=1)
    fitting = np.abs(sums - 1.0) <= 0.5 * 10.0**-digits * k + 1e-9
    content = [line(i, served_provider=..., **wide(row.tolist())) for i, row in enumerate(shares)]
    path = write_jsonl(
        tmp_path / "log.jsonl", [row for row, fits in zip(content, fitting, strict=True) if fits]
    )
    with open_log(path) as log, Reader(log) as reader:
        batch = reader.read(log.parts()[0])
        assert batch.propensities is not None
        assert np.abs(batch.propensities.sum(axis=1) - 1.0).max() < 1e-9
        assert log.normalised == (np.abs(sums[fitting] - 1.0) > 1e-9).sum()
        said = [note for note in log.notes() if "normalised" in note]
        assert len(said) == bool(log.normalised)
        assert all(f"{log.normalised:,} of {log.rows:,}" in note for note in said)


@pytest.mark.parametrize(
    ("propensities", "shown"),
    [
        ([0.33, 0.33, 0.33], "0.99"),
        ([0.5, 0.5, 0.002], "1.002"),
        ([0.3333335, 0.3333335, 0.333336], "1.000003"),
        ([0.5, 0.5, 0.0000011234567], "1.0000011234567"),
        ([1 / 3, 1 / 3, 1 / 3 + 2e-6], "1.000001999"),
    ],
)
def test_a_sum_that_no_rounding_explains_is_shown_in_full(
    tmp_path: Path, *, propensities: list[float], shown: str
) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", [*lines(2), line(2, propensities=propensities)])
    with (
        pytest.raises(InvalidInput, match=rf"row 3: propensities sum to {shown}\d*, not 1: "),
        open_log(path),
    ):
        pass


def test_other_numbers_are_shown_with_the_digits_that_are_wrong(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "log.jsonl", [line(0), line(1, reward=1.0 + 1e-12)])
    with pytest.raises(InvalidInput, match=r"reward is 1\.000000000001, outside"), open_log(path):
        pass
    with pytest.raises(InvalidInput, match=r"propensity of decision 0 is 1\.00000000000000\d+, which"):
        LoggedBatch(reward=[1.0], action=[0], propensity=[np.nextafter(1.0, 2.0)], target=[[1.0]])


def test_single_precision_of_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    rows = write_jsonl(
        tmp_path / "rows.jsonl", [line(i, propensities=[0.333, 0.333, 0.333]) for i in range(30)]
    )
    duckdb.execute(
        "COPY (SELECT * REPLACE (propensities::FLOAT[] AS propensities, "
        "decided_at::TIMESTAMPTZ AS decided_at) "
        f"FROM read_json('{rows}')) TO '{path}' (FORMAT parquet)"
    )
    with open_log(path) as log:
        assert log.normalised == 30


def test_six_digits_of_another_system(tmp_path: Path) -> None:
    path = SHARED_DATA.parent / "cases" / "r3_6.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    result = run("replay", path, "--target", "uniform", "--resamples", 0)
    assert result.exit_code == 0, result.output
    assert "normalised" in result.output


def test_a_target_that_is_the_logging_policy_says_so(tmp_path: Path) -> None:
    content = [row | {"target_propensities": row["propensities"]} for row in drawn_lines(300)]
    path = write_jsonl(tmp_path / "log.jsonl", content)
    result = run("replay", path, "--target", "column", "--target", "uniform", "--quiet", "--resamples", 0)
    text = " ".join(result.output.split())
    assert result.exit_code == 0, text
    assert "column coincides with the logging policy" in text
    assert "uniform coincides" not in text
    assert len(NAMES) == 3
