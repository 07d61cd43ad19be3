"""The synthetic table: the file is what the generator writes, and it holds the trade-offs it promises."""

from pathlib import Path

import numpy as np
import pytest

from fairlead.experiments.baselines.frontier import best_fixed_mix, budget_grid, oracle, provider_means
from fairlead.experiments.baselines.supervised import supervised_reference
from fairlead.experiments.benchmarks.synthetic_support import PROVIDERS, generate, write
from fairlead.experiments.files import bundled_path
from fairlead.experiments.simulation.demo import DEMO_OUTAGE, DEMO_PRICE_CUT
from fairlead.experiments.tables.outcome_table import OutcomeTable, read_outcome_table
from fairlead.experiments.tables.price_list import price_list


@pytest.fixture(scope="module")
def table() -> OutcomeTable:
    return read_outcome_table(bundled_path("synthetic_support.parquet"))


def test_the_file_is_what_the_generator_writes(table: OutcomeTable, tmp_path: Path) -> None:
    path = tmp_path / "again.parquet"
    write(path)
    again = read_outcome_table(path)
    for field in ("providers", "prompt_ids", "tasks", "prompts"):
        assert getattr(again, field) == getattr(table, field)
    for field in ("quality", "cost_usd", "latency_s", "input_tokens", "output_tokens"):
        np.testing.assert_allclose(getattr(again, field), getattr(table, field), rtol=1e-9, err_msg=field)


def test_the_seed_decides() -> None:
    assert generate(seed=1, n_prompts=20) == generate(seed=1, n_prompts=20)
    assert generate(seed=1, n_prompts=20) != generate(seed=2, n_prompts=20)


def test_it_is_complete_small_and_named_as_synthetic(table: OutcomeTable) -> None:
    assert bundled_path("synthetic_support.parquet").stat().st_size < 400_000
    assert len(table) == len(set(table.prompts)) == 3000
    assert set(table.providers) == set(PROVIDERS)
    assert all(name.startswith("synthetic/") for name in table.providers)
    assert table.notes == ()
    assert (table.latency_s > 0).all()


def test_the_price_list_is_that_of_the_generator(table: OutcomeTable) -> None:
    for name, price in price_list(table).items():
        assert price.usd_per_million_input == pytest.approx(PROVIDERS[name].usd_per_million_input, rel=1e-3)
        assert price.usd_per_million_output == pytest.approx(PROVIDERS[name].usd_per_million_output, rel=1e-3)


def test_no_provider_is_best_everywhere(table: OutcomeTable) -> None:
    tasks = np.array(table.tasks)
    quality = {
        task: dict(zip(table.providers, table.quality[tasks == task].mean(axis=0), strict=True))
        for task in set(table.tasks)
    }
    assert len(quality) == 6
    assert max(quality["mathematics"], key=quality["mathematics"].__getitem__) == "synthetic/reason"
    assert max(quality["legal-analysis"], key=quality["legal-analysis"].__getitem__) == "synthetic/frontier"
    assert quality["code"]["synthetic/code"] > quality["code"]["synthetic/frontier"] - 0.05
    assert quality["support-faq"]["synthetic/code"] < quality["support-faq"]["synthetic/mini"] - 0.2
    plain = [text.startswith("How do I reset") and text.count(".") == 0 for text in table.prompts]
    easy = table.quality[plain]
    assert len(easy) > 5
    assert easy[:, table.providers.index("synthetic/nano")].mean() > easy.max(axis=1).mean() - 0.05


def test_context_is_worth_something(table: OutcomeTable) -> None:
    """The task label earns a good part of the oracle's lead, and the length of the text adds to it."""
    mean_cost, mean_quality = provider_means(table.quality, table.cost_usd)
    budgets = budget_grid(mean_cost, mean_quality)
    label = np.array(
        [[task == name for name in sorted(set(table.tasks))] for task in table.tasks], dtype=float
    )
    length = np.array([[len(text), text.count(".")] for text in table.prompts], dtype=float)
    nothing, with_label, with_both = (
        supervised_reference(
            features, table.quality, table.cost_usd, budgets=budgets, seeds=range(2)
        ).mean_lift
        for features in (np.empty((len(table), 0)), label, np.hstack([label, length]))
    )
    ceiling = oracle(table.quality, table.cost_usd).quality_at(budgets)
    lead = float((ceiling - best_fixed_mix(mean_cost, mean_quality).quality_at(budgets)).mean())
    assert abs(nothing) < 0.002
    assert 0.3 * lead < with_label < with_both < lead


def test_the_demo_changes_fit_the_table(table: OutcomeTable) -> None:
    assert {DEMO_PRICE_CUT.provider, DEMO_OUTAGE.provider} <= set(table.providers)
    assert 0 < DEMO_PRICE_CUT.step < len(table)
    assert 0 < DEMO_OUTAGE.from_step < DEMO_OUTAGE.to_step <= len(table)
    assert 0.0 < DEMO_PRICE_CUT.factor < 1.0
    assert 0.0 <= DEMO_OUTAGE.value < 0.3


def test_bundled_files_are_found_or_named() -> None:
    assert bundled_path("synthetic_support.parquet").is_file()
    for wrong in ("missing.parquet", "../pyproject.toml", ""):
        with pytest.raises(FileNotFoundError, match=r"synthetic_support\.parquet"):
            bundled_path(wrong)
