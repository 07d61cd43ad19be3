"""The worlds with a specialist are what they are said to be, and one that is easy to find is found."""

from dataclasses import replace

import numpy as np
import pytest

from fairlead.experiments.benchmarks.specialist import TASKS, WORLDS, World, find_specialist, main

EASY = World(name="easy", generalists=(0.5, 0.45), elsewhere=0.45, best=0.9, graded=True)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_the_specialist_is_the_worst_everywhere_but_at_its_task(world):
    quality = world.quality()
    assert quality.shape == (len(world.generalists) + 1, TASKS)
    assert (quality[:-1].min(axis=0) > quality[-1])[:-1].all()
    assert quality[-1, -1] > quality[:-1, -1].max()
    # It looks dominated: on average over the tasks it is worse than the best generalist.
    assert quality[-1].mean() < quality.mean(axis=1).max()


def test_an_easy_specialist_is_found_and_one_that_is_nowhere_best_is_not():
    easy = [find_specialist(EASY, seed=seed, rounds=300) for seed in range(2)]
    assert min(run.share for run in easy) > 0.5
    assert np.mean([run.regret for run in easy]) < 0.08
    # Equally good at its task as the best generalist, it is no loss to leave it out.
    dull = find_specialist(replace(EASY, elsewhere=0.05, best=0.5001), seed=1, rounds=300)
    assert dull.share < 0.5


def test_there_must_be_something_to_play(capsys):
    with pytest.raises(SystemExit):
        main(["--seeds", "0"])
    assert "give at least 1 seed" in capsys.readouterr().err
