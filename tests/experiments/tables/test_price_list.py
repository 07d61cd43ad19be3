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
            usd_per_million_input=None,
            usd_per_million_output=None,
            usd_per_call=rounded,
            rows=60,
            note="token prices cannot be told",
        )


def test_a_constant_count_has_no_price_of_its_own() -> None:
    rng = np.random.default_rng(2)
    inputs = rng.integers(10, 900, size=(60, 4)).astype(float)
    outputs = np.ones((60, 4))
    outputs[:, 3] = rng.integers(10, 900, size=60)
    cost = np.empty((60, 4))
    cost[:, 0] = inputs[:, 0] * 3e-6 + 0.004  # a fee of $4,000 per million one-token answers
    cost[:, 1] = 0.02  # nothing but a fee
    inputs[:, 2] = 80.0
    cost[:, 2] = 0.001  # neither count varies
    cost[:, 3] = inputs[:, 3] * 1e-6 + outputs[:, 3] * 5e-6 + 0.01
    prices = price_list(priced(cost, inputs, outputs))
    assert prices["a"].usd_per_million_input == pytest.approx(3.0)
    assert prices["a"].usd_per_call == pytest.approx(0.004)
    assert prices["b"].usd_per_call == pytest.approx(0.02)
    assert prices["c"].usd_per_call == pytest.approx(0.001)
    assert [prices[name].usd_per_million_output for name in "abc"] == [None] * 3
    assert prices["a"].note == "the price of output tokens cannot be told from a fee per call"
    assert prices["c"].note == "the price of input and output tokens cannot be told from a fee per call"
    fee_and_tokens = prices["d"]
    assert fee_and_tokens.usd_per_million_input == pytest.approx(1.0)
    assert fee_and_tokens.usd_per_million_output == pytest.approx(5.0)
    assert (fee_and_tokens.usd_per_call, fee_and_tokens.note) == (pytest.approx(0.01), "")


def test_a_fee_beside_counts_that_vary_has_no_token_price() -> None:
    """The fit leaves prices of 1e-17 over, in units of which no cost could be learned."""
    rng = np.random.default_rng(0)
    inputs, outputs = (rng.integers(10, 900, size=(200, 4)).astype(float) for _ in range(2))
    cost = np.repeat(np.array([[1e-4, 2e-4, 2e-3, 2e-2]]), 200, axis=0)
    for estimate in price_list(priced(cost, inputs, outputs)).values():
        assert (estimate.usd_per_million_input, estimate.usd_per_million_output) == (None, None)
        assert estimate.usd_per_call in (
            pytest.approx(1e-4),
            pytest.approx(2e-4),
            pytest.approx(2e-3),
            pytest.approx(2e-2),
        )
