"""The price list behind an outcome table, recovered from the costs of its calls."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from fairlead.experiments.tables.outcome_table import OutcomeTable

_MIN_PRICED_ROWS = 20
_MAX_PRICE_MISFIT = 0.05
_MAX_CONDITION = 1e4


@dataclass(frozen=True, kw_only=True)
class PriceEstimate:
    """What a provider charges, in USD per million tokens or else per call, and from how many `rows` it comes.

    >>> from fairlead.experiments.files import bundled_path
    >>> from fairlead.experiments.tables.outcome_table import read_outcome_table
    >>> estimate = price_list(read_outcome_table(bundled_path("synthetic_support.parquet")))["synthetic/mini"]
    >>> round(estimate.usd_per_million_input, 3), round(estimate.usd_per_million_output, 3), estimate.rows
    (0.25, 2.0, 3000)
    """

    usd_per_million_input: float | None
    usd_per_million_output: float | None
    usd_per_call: float | None
    rows: int


def price_list(table: OutcomeTable) -> dict[str, PriceEstimate]:
    """Recover the price list behind a table: what an operator knows before the first request.

    Prices are public, so a router may start from them without having seen an outcome. A table states only
    what calls cost; token prices are the non-negative least squares solution of cost = input tokens × price +
    output tokens × price. If a provider has too few rows with both counts, if they do not tell the two prices
    apart, or if over 5 % of the cost stays unexplained, the mean cost of a call stands in, rounded to one
    significant digit: as much as a glance at a price list tells. None of it looks at quality.
    """
    prices = {}
    for j, provider in enumerate(table.providers):
        cost = table.cost_usd[:, j]
        tokens = np.column_stack([table.input_tokens[:, j], table.output_tokens[:, j]]) / 1e6
        has_cost = np.isfinite(cost)
        counted = has_cost & np.isfinite(tokens).all(axis=1)
        fit = _token_prices(tokens[counted], cost[counted])
        prices[provider] = PriceEstimate(
            usd_per_million_input=fit[0] if fit else None,
            usd_per_million_output=fit[1] if fit else None,
            usd_per_call=float(f"{cost[has_cost].mean():.0e}") if fit is None and has_cost.any() else None,
            rows=int(counted.sum() if fit else has_cost.sum()),
        )
    return prices


def _token_prices(tokens: NDArray[np.float64], cost: NDArray[np.float64]) -> tuple[float, float] | None:
    """Solve for USD per million tokens of input and output; `tokens` are millions, shape (n, 2)."""
    scale = tokens.max(axis=0, initial=0.0)
    if len(cost) < _MIN_PRICED_ROWS or not scale.all() or np.linalg.cond(tokens / scale) > _MAX_CONDITION:
        return None
    price = nnls(tokens, cost)[0]
    if np.abs(tokens @ price - cost).sum() > _MAX_PRICE_MISFIT * cost.sum():
        return None
    return float(price[0]), float(price[1])
