"""The contract of policies, and the checks of input that all of them share."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.types import FloatArray

LARGEST: Final = 1e100


class Policy(Protocol):
    """A map from predictions of utility to a probability per provider; pure, and without randomness.

    Rows are requests and columns providers. A provider that is ruled out has utility −inf and gets
    probability 0 exactly. Every row of the result is at least 0 and sums to 1 within 1e-12, and is the
    same whether the row comes alone or among others.

    >>> class Softmax:
    ...     name, takes_floor = "softmax", True
    ...     def probabilities(self, utility, spread):
    ...         weight = np.exp(10 * (utility - best_utility(utility, spread)))
    ...         return weight / weight.sum(axis=1, keepdims=True)
    >>> Softmax().probabilities(np.array([[0.7, 0.6, -np.inf]]), np.full((1, 3), 0.1)).round(2)
    array([[0.73, 0.27, 0.  ]])
    """

    @property
    def name(self) -> str:
        """The name from which `policy_from_name` makes this policy."""

    @property
    def takes_floor(self) -> bool:
        """Whether the route's exploration floor is put under the probabilities.

        False for policies that set their exploration themselves, or that are to have none.
        """

    def probabilities(self, utility: FloatArray, spread: FloatArray) -> FloatArray:
        """Probabilities, shape (n, k), from utility and the sd of its prediction, both (n, k)."""


def best_utility(utility: FloatArray, spread: FloatArray) -> FloatArray:
    """Return the highest utility of each row, shape (n, 1); raises if no policy could answer.

    `InvalidInput` for shapes that differ, a utility that is NaN or beyond 1e100, a spread that is
    negative, NaN or beyond 1e100; `NoEligibleProvider` for a row whose utilities are all −inf.
    """
    if utility.ndim != 2 or utility.shape != spread.shape or not utility.shape[1]:
        raise InvalidInput(
            f"utility has shape {utility.shape} and spread {spread.shape}: "
            "give both as (requests, providers), with one provider or more"
        )
    best: FloatArray = np.maximum.reduce(utility, axis=1, keepdims=True)
    # A NaN anywhere in a row is its maximum; one row is the common case and needs no array to check.
    finite = (
        -np.inf < best.item() < LARGEST
        if best.size == 1
        else bool(((best > -np.inf) & (best < LARGEST)).all())
    )
    if not finite:
        _refuse_utility(best)
    if spread.size and not (
        np.minimum.reduce(spread, axis=None) >= 0 and np.maximum.reduce(spread, axis=None) < LARGEST
    ):
        wrong = spread[~((spread >= 0) & (spread < LARGEST))][0]
        raise InvalidInput(
            f"a spread is {wrong:g}: give the sd of the belief, at least 0 and less than 1e100"
        )
    return best


def _refuse_utility(best: FloatArray) -> None:
    wrong = best[~(best < LARGEST)]
    if wrong.size:
        raise InvalidInput(
            f"a utility is {wrong[0]:g}: give a number of less than 1e100, or −inf for a ruled-out provider"
        )
    row = int(np.argmax(best[:, 0] == -np.inf))
    raise NoEligibleProvider(
        f"every provider is ruled out for request {row} of {len(best)}: relax its constraints"
    )


def equal_shares(chosen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FloatArray:
    """Share every row's probability equally among its chosen providers; shape (n, k), bool in, float out."""
    shares: FloatArray = chosen / np.count_nonzero(chosen, axis=1)[:, None]
    return shares
