"""The worlds of wrong price lists are what their names say, and a short run of one finds the lists out."""

import numpy as np
import pytest

from fairlead.experiments.benchmarks.wrong_prices import WORLDS, World, main, play_world, world_table
from fairlead.experiments.tables.price_list import price_list


def world(name: str) -> World:
    return next(world for world in WORLDS if world.name == name)


def test_a_world_depends_on_its_seed_alone() -> None:
    first, again, other = (world_table(WORLDS[0], requests=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.cost_usd, again.cost_usd)
    assert not np.array_equal(first.quality, other.quality)


def test_lists_fees_and_lengths_are_as_declared() -> None:
    spread = world_table(world("lengths that differ 30 x"), requests=400)
    lengths = spread.output_tokens.mean(axis=0)
    assert lengths.max() / lengths.min() == pytest.approx(30.0, rel=0.3)
    tokens = world_table(world("one-token answers"), requests=400)
    assert (tokens.output_tokens == 1.0).all()
    fees = world_table(world("fees per call"), requests=400)
    assert (np.ptp(fees.cost_usd, axis=0) == 0.0).all()
    for table in (tokens, fees):
        estimates = price_list(table).values()
        assert all((each.usd_per_million_output or 0.0) < 100.0 for each in estimates)
        assert all(each.usd_per_call is not None for each in estimates)


def test_a_list_a_thousand_times_too_high_is_found_out_in_a_short_run() -> None:
    """At the budget of the middle, without the lists in question the lift is below -.02."""
    (run,) = play_world(world("1,000 x too high"), 0, requests=500, budgets=(3,))
    assert run.used <= 1.1
    assert run.lift >= -0.03


def test_an_unknown_world_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--worlds", "flat"])
    assert "no world has 'flat'" in capsys.readouterr().err
