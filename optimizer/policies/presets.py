"""Policies by name, as configuration, command line and reports write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.policies.base import Policy
from fairlead.optimizer.policies.epsilon_greedy import EpsilonGreedy
from fairlead.optimizer.policies.fixed import Fixed
from fairlead.optimizer.policies.greedy import Greedy
from fairlead.optimizer.policies.linucb import LinUCB
from fairlead.optimizer.policies.squarecb import SquareCB
from fairlead.optimizer.policies.thompson import Thompson
from fairlead.optimizer.policies.uniform import Uniform

_PLAIN: Final[dict[str, Callable[[], Policy]]] = {
    "default": Thompson,
    "thompson": Thompson,
    "uniform": Uniform,
    "greedy": Greedy,
    "squarecb": SquareCB,
    "epsilon-greedy": EpsilonGreedy,
    "linucb": LinUCB,
}
_WITH_NUMBER: Final[dict[str, Callable[[float], Policy]]] = {
    "squarecb": lambda gamma: SquareCB(gamma=gamma),
    "epsilon-greedy": lambda epsilon: EpsilonGreedy(epsilon=epsilon),
    "linucb": lambda alpha: LinUCB(alpha=alpha),
}
POLICY_NAMES: Final = (
    "default (thompson)",
    "thompson",
    "squarecb[:GAMMA]",
    "epsilon-greedy[:EPSILON]",
    "linucb[:ALPHA]",
    "greedy",
    "uniform",
    "fixed:PROVIDER",
)


def policy_from_name(name: str, *, providers: Sequence[str] = ()) -> Policy:
    """Make the policy called ``name``, such as ``thompson``, ``squarecb:200`` or ``fixed:openai/gpt-5-mini``.

    ``providers`` are the names on the route, in its order; only ``fixed:`` needs them.
    """
    kind, colon, setting = name.partition(":")
    if not colon and kind in _PLAIN:
        return _PLAIN[kind]()
    if kind == "fixed":
        if setting not in providers:
            raise InvalidInput(
                f"policy {name!r} names no provider of the route: choose from {list(providers)}"
            )
        return Fixed(index=list(providers).index(setting), provider=setting)
    if colon and kind in _WITH_NUMBER:
        try:
            number = float(setting)
        except ValueError:
            raise InvalidInput(
                f"policy {name!r} has {setting!r} in place of a number: give one, as in {kind}:0.1"
            ) from None
        return _WITH_NUMBER[kind](number)
    raise InvalidInput(f"there is no policy {name!r}: choose from {', '.join(POLICY_NAMES)}")
