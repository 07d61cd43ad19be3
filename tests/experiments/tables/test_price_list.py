"""The price list behind a table is recovered from what calls cost, and only as far as that tells."""

import numpy as np
import pytest

from fairlead.experiments.tables.outcome_table import OutcomeTable
from fairlead.experiments.tables.price_list import PriceEstimate, price_list


def priced(cost: np.ndarray, tokens_in: np.ndarray, tokens_out: np.ndarray) -> OutcomeTable:
    n, k = cost.shape
    return OutcomeTable(
        providers=tuple("abcdef"[:k]),
        prompt_ids=tuple(map(str, range(n))),
        splits=np.full(n, None),
        tasks=("",) * n,
        prompts=("",) * n,
        quality=np.where(np.isnan(cost), np.nan, 0.5),
        cost_usd=cost,
        latency_s=np.full((n, k), np.nan),
        input_tokens=tokens_in,
        output_tokens=tokens_out,
    )


def test_price_list_recovers_token_prices_and_falls_back_to_the_call() -> None:
    rng = np.random.default_rng(1)
    tokens = rng.integers(10, 900, size=(2, 60, 5)).astype(float)
    cost = (tokens[0] * 3.0 + tokens[1] * 15.0) / 1e6
    tokens[0][:50, 1] = np.nan  # b: too few rows with both counts
    tokens[0][:, 2] = tokens[1][:, 2]  # c: input and output never differ
    cost[:, 3] = rng.exponential(0.01, 60)  # d: the cost follows something else
    cost[:10, 4] = np.nan  # e: some outcomes missing
    prices = price_list(priced(cost, *tokens))
    for name, rows in (("a", 60), ("e", 50)):
        assert prices[name].usd_per_million_input == pytest.approx(3.0)
        assert prices[name].usd_per_million_output == pytest.approx(15.0)
        assert prices[name].usd_per_call is None
        assert prices[name].rows == rows
    for j, name in ((1, "b"), (2, "c"), (3, "d")):
        rounded = float(f"{cost[:, j].mean():.0e}")
        assert prices[name] == PriceEstimate(
            usd_per_million_input=None, usd_per_million_output=None, usd_per_call=rounded, rows=60
        )
