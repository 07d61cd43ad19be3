"""The price list behind an outcome table, recovered from the costs of its calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from fairlead.experiments.tables.outcome_table import OutcomeTable

_MIN_PRICED_ROWS = 20
_MAX_PRICE_MISFIT = 0.05
_GOOD_PRICE_MISFIT = 0.002
"""Share of the cost that rounding leaves unexplained; what leaves more has perhaps another part."""

_MAX_CONDITION = 1e4
_LEAST_SPREAD = 0.02
"""Standard deviation of a count relative to its mean, below which its price cannot be told from a fee."""

_LEAST_SHARE = 1e-6
"""Share of the cost below which a price is what the arithmetic left over."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PriceEstimate:
    """What a provider charges, in USD per million tokens and per call, and from how many `rows` it comes.

    A price is None if it is not charged, or cannot be told: `note` says so.

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
    note: str = ""


def price_list(table: OutcomeTable) -> dict[str, PriceEstimate]:
    """Recover the price list behind a table: what an operator knows before the first request.

    Prices are public, so a router may start from them without having seen an outcome. A table states only
    what calls cost; prices are the non-negative least squares solution of cost = input tokens × price +
    output tokens × price + fee per call. A count that is nearly the same in all calls, such as the output of
    one-token labels, has no price that could be told from a fee, and counts as one; and there is a fee only
    if tokens alone leave more of the cost unexplained than rounding does. If a provider has too few rows with
    both counts, if they do not tell the prices apart, or if over 5 % of the cost stays unexplained, the mean
    cost of a call stands in, rounded to one significant digit: as much as a glance at a price list tells.
    None of it looks at quality.
    """
    prices = {}
    for j, provider in enumerate(table.providers):
        cost = table.cost_usd[:, j]
        tokens = np.column_stack([table.input_tokens[:, j], table.output_tokens[:, j]]) / 1e6
        has_cost = np.isfinite(cost)
        counted = has_cost & np.isfinite(tokens).all(axis=1)
        prices[provider] = _estimate(tokens[counted], cost[counted]) or _per_call(cost[has_cost])
    return prices


def _per_call(cost: Matrix) -> PriceEstimate:
    """Give the mean cost of a call as its price, if there is any."""
    return PriceEstimate(
        usd_per_million_input=None,
        usd_per_million_output=None,
        usd_per_call=float(f"{cost.mean():.0e}") if len(cost) else None,
        rows=len(cost),
        note="token prices cannot be told" if len(cost) else "no cost is known",
    )


def _estimate(tokens: Matrix, cost: Matrix) -> PriceEstimate | None:
    """Solve for the prices of input, output and call, if they can be told; `tokens` are millions, (n, 2)."""
    if len(cost) < _MIN_PRICED_ROWS:
        return None
    mean = tokens.mean(axis=0)
    varies = tokens.std(axis=0) > _LEAST_SPREAD * mean
    fixed = [
        name for name, is_fixed in zip(("input", "output"), ~varies & (mean > 0), strict=True) if is_fixed
    ]
    best: tuple[float, Sequence[int], Matrix] | None = None
    for columns in _candidates(varies, is_whole=not fixed):
        price, misfit = _solve(np.column_stack([tokens, np.ones(len(cost))])[:, columns], cost)
        if misfit <= (_MAX_PRICE_MISFIT if best is None else best[0] / 2):
            best = misfit, columns, price
        if misfit <= _GOOD_PRICE_MISFIT:
            break
    if best is None:
        return None
    by_column = dict(zip(best[1], best[2].tolist(), strict=True))
    note = f"the price of {' and '.join(fixed)} tokens cannot be told from a fee per call" if fixed else ""
    return PriceEstimate(
        usd_per_million_input=by_column.get(0) or None,
        usd_per_million_output=by_column.get(1) or None,
        usd_per_call=by_column.get(2) or None,
        rows=len(cost),
        note=note,
    )


def _candidates(varies: NDArray[np.bool_], *, is_whole: bool) -> Iterator[list[int]]:
    """Yield the columns that may explain a cost, the simplest first: input, output, fee."""
    counts = np.flatnonzero(varies).tolist()
    if is_whole and counts:
        yield counts
    if not is_whole or counts:
        yield [*counts, 2]


def _solve(columns: Matrix, cost: Matrix) -> tuple[Matrix, float]:
    """Return the prices of the columns, and the share of the cost that they leave unexplained."""
    scale = columns.max(axis=0)
    if not scale.all() or not cost.sum() > 0 or np.linalg.cond(columns / scale) > _MAX_CONDITION:
        return np.zeros(columns.shape[1]), np.inf
    price = nnls(columns, cost)[0]
    price[price * columns.sum(axis=0) < _LEAST_SHARE * cost.sum()] = 0.0
    return price, float(np.abs(columns @ price - cost).sum() / cost.sum())
