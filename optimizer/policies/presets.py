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

_KINDS: Final[dict[str, tuple[Callable[..., Policy], str | None]]] = {
    "thompson": (Thompson, None),
    "squarecb": (SquareCB, "gamma"),
    "epsilon-greedy": (EpsilonGreedy, "epsilon"),
    "linucb": (LinUCB, "alpha"),
    "greedy": (Greedy, None),
    "uniform": (Uniform, None),
}
"""Each policy, and the number that may follow its name."""

POLICY_NAMES: Final = (
    "default (thompson)",
    *(name + (f"[:{setting.upper()}]" if setting else "") for name, (_, setting) in _KINDS.items()),
    "fixed:PROVIDER",
)


def policy_from_name(name: str, *, providers: Sequence[str] = ()) -> Policy:
    """Make the policy called ``name``, such as ``thompson``, ``squarecb:200`` or ``fixed:openai/gpt-5-mini``.

    ``providers`` are the names on the route, in its order; only ``fixed:`` needs them.
    """
    kind, colon, text = ("thompson" if name == "default" else name).partition(":")
    if kind == "fixed":
        if text not in providers:
            raise InvalidInput(
                f"policy {name!r} names no provider of the route: choose from {list(providers)}"
            )
        return Fixed(index=list(providers).index(text), provider=text)
    create, setting = _KINDS.get(kind, (None, None))
    if create is None or (colon and setting is None):
        raise InvalidInput(f"there is no policy {name!r}: choose from {', '.join(POLICY_NAMES)}")
    if not colon or setting is None:
        return create()
    try:
        number = float(text)
    except ValueError:
        raise InvalidInput(
            f"policy {name!r} has {text!r} in place of a number: give one, as in {kind}:0.1"
        ) from None
    return create(**{setting: number})
