"""What a router is told falsely is false in the way that it should be."""

import numpy as np
import pytest

from fairlead.experiments.benchmarks.evidence import borrowed, main, shuffled, warm_starts
from fairlead.experiments.benchmarks.tables import DataMissing, Options
from tests.experiments.simulation.test_run import two_kinds
from tests.experiments.simulation.test_stream import make_table


def test_renamed_outcomes_move_together_and_shuffled_ones_do_not():
    table = two_kinds(50)
    renamed = shuffled(table, np.random.default_rng(1), renamed=True)
    (columns,) = {tuple(np.flatnonzero(row == 1e-2)) for row in renamed.cost_usd}
    np.testing.assert_array_equal(renamed.quality[:, columns[0]], table.quality[:, 2])
    mixed = shuffled(table, np.random.default_rng(1), renamed=False)
    assert len({tuple(np.flatnonzero(row == 1e-2)) for row in mixed.cost_usd}) == 3
    for matrix in (renamed.quality, mixed.quality):
        np.testing.assert_array_equal(np.sort(matrix, axis=1), np.sort(table.quality, axis=1))


def test_outcomes_are_borrowed_under_other_names():
    other = make_table(40, 2)
    table = borrowed(other, ("x", "y", "z"), np.random.default_rng(0))
    assert (table.providers, table.prompts) == (("x", "y", "z"), other.prompts)
    for column in table.quality.T:
        assert any(np.array_equal(column, own) for own in other.quality.T)


def test_without_data_it_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAIRLEAD_DATA", str(tmp_path))
    with pytest.raises(DataMissing):
        warm_starts(Options(data=tmp_path), "routerbench", prompts=5)
    assert main(["--table", "logparse", "--seeds", "1"]) == 0
    assert "logparse is left out: logparse.parquet is not in" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--seeds", "0"])
