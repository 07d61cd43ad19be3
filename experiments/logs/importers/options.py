"""What an imported file does not say itself, and which of it applies to which source."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.optimizer.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Keep the rows whose column fits a pattern with ``*`` and ``?``, or, negated, those whose does not.

    >>> Filter.parse("call_type!=*embedding")
    Filter(column='call_type', pattern='*embedding', negated=True)
    """

    column: str
    pattern: str
    negated: bool

    @classmethod
    def parse(cls, text: str) -> Filter:
        """Parse ``COLUMN=PATTERN`` or ``COLUMN!=PATTERN``; a dot leads into an object, as in metadata.key."""
        match = re.fullmatch(r"([^=!]+)(!?=)(.*)", text)
        if match is None:
            raise InvalidInput(
                f"the filter {text!r} is not of the form COLUMN=PATTERN or COLUMN!=PATTERN: write it as in "
                "call_type=acompletion."
            )
        column, operator, pattern = match.groups()
        return cls(column=column.strip(), pattern=pattern.strip(), negated=operator == "!=")

    def __str__(self) -> str:
        return f"{self.column}{'!=' if self.negated else '='}{self.pattern}"


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What the imported file does not say itself; an option at its default was not given.

    ``reward_range`` is the lowest and the highest reward of the source, mapped onto [0, 1]. ``weights`` are
    the shares, absolute or relative, in which traffic was split at random, by provider; None if it was not.
    ``rewards`` is a file with rewards by id. ``aliases`` are pairs of a pattern and the name that providers
    fitting it are given; the first that fits counts. ``attributes`` name further columns
    to be kept. ``route`` is whose decisions to import.
    `InvalidInput` says which of them cannot be.

    >>> ImportOptions(weights={"small": 3.0, "large": 1.0}).shares
    {'small': 0.75, 'large': 0.25}
    >>> ImportOptions(weights={"small": 0.7, "large": float("nan")})
    Traceback (most recent call last):
    fairlead.optimizer.errors.InvalidInput: the weight of 'large' is nan: give each provider a finite ...
    """

    reward_range: tuple[float, float] | None = None
    weights: Mapping[str, float] | None = None
    rewards: Path | None = None
    task_tag: str | None = None
    score: str | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    filters: tuple[Filter, ...] = ()
    attributes: tuple[str, ...] = ()
    skip_bad: bool = False
    route: str | None = None
    shares: Mapping[str, float] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        low, high = self.reward_range or (0.0, 1.0)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InvalidInput(
                f"the reward range is {low:g} to {high:g}: give two finite numbers, the lower first"
            )
        if self.weights is not None:
            object.__setattr__(self, "shares", _shares(self.weights))

    def require(self, source: str, applicable: frozenset[str]) -> None:
        """Raise `InvalidInput` if an option was given that says nothing about this source."""
        for name in (
            "reward_range",
            "weights",
            "rewards",
            "task_tag",
            "score",
            "aliases",
            "filters",
            "attributes",
            "skip_bad",
            "route",
        ):
            if getattr(self, name) and name not in applicable:
                raise InvalidInput(f"{flag(name)} does not apply to --from {source}: leave it out.")


def flag(name: str) -> str:
    """Return an option as it is written on the command line."""
    singular = {"aliases": "alias", "filters": "filter", "attributes": "attribute"}
    return "--" + singular.get(name, name).replace("_", "-")


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0.0):
            raise InvalidInput(
                f"the weight of {name!r} is {weight:g}: give each provider a finite weight above 0, such as "
                "the share of traffic that it got"
            )
    total = math.fsum(weights.values())
    if abs(total - 1.0) <= 1e-6:  # absolute: a share is kept to the last bit
        return dict(weights)
    return {name: weight / total for name, weight in weights.items()}
