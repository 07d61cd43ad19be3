"""The benchmark of changes, on a made-up world of two months and on providers that stay as they are."""

from pathlib import Path

import duckdb
import numpy as np
import pytest

from fairlead.experiments.benchmarks import drift
from fairlead.experiments.benchmarks.tables import DataMissing, Options

QUALITY = {("gpt-4", drift.MARCH): 0.95, ("gpt-4", drift.JUNE): 0.2}


@pytest.fixture
def options(tmp_path: Path) -> Options:
    rng, folder = np.random.default_rng(1), tmp_path / "outcomes"
    folder.mkdir()
    rows = [
        f"('p{i}', 'prime', '', '{model}', '{month}', "
        f"{int(rng.random() < QUALITY.get((model, month), 0.6))}, 0.001, 100, {rng.integers(20, 60)}, 1.0)"
        for i in range(300)
        for model in ("gpt-4", "gpt-3.5")
        for month in (drift.MARCH, drift.JUNE)
    ]
    names = (
        "prompt_id, task, prompt, model, period, quality, cost_usd, input_tokens, output_tokens, latency_s"
    )
    query = f"SELECT * FROM (VALUES {', '.join(rows)}) t({names})"
    duckdb.execute(f"COPY ({query}) TO '{folder / 'llmdrift.parquet'}'")
    return Options(data=tmp_path, seeds=1)


def test_a_provider_that_got_worse_is_found_and_left(options: Options) -> None:
    section = drift.changes_found(options, tasks=("prime",))
    before, after, later, alarm, quality = (row.measured for row in section.rows[:5])
    assert before > 0.9 and after < 0.6 and later < 0.1
    assert alarm <= quality < 40


def test_alarms_are_counted_of_a_provider_that_changes_and_none_of_one_that_does_not() -> None:
    for name, calls in drift.synthetic(3, rounds=300):
        assert drift.alarms_alone(calls) == []
        longer = [call._replace(tokens=5e4, latency_s=3_000.0) for call in calls[:60]]
        assert drift.alarms_alone([*calls, *longer])[0].quantity == "tokens", name
        if "0.5" not in name.split():
            worse = [call._replace(quality=1.0 - call.quality) for call in calls[:60]]
            assert drift.alarms_alone([*calls, *worse])[0].quantity == "quality", name


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"repeats\.parquet"):
        drift.file_of(Options(data=tmp_path), "repeats")
