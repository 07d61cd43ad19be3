"""Eligibility: what rules a provider out of one decision, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

import numpy as np

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.types import Constraints, FloatArray, Provider

LIMITS: Final = ("max_cost_usd", "max_latency_s", "max_tail_latency_s")
"""Fields of `Constraints` that compare with what is expected of a provider."""

_LEAST_LIMIT: Final = 1e-12
_JUST_BEYOND: Final = 1.0 + 1e-12

_LIMIT_REASONS: Final = (
    (
        "has no known price, so it cannot be shown to meet the cost limit of ${limit:g}",
        "is expected to cost ${value:.3g}, above the limit of ${limit:g}",
    ),
    (
        "has no latency history, so it cannot be shown to meet the latency limit of {limit:g} s",
        "is expected to take {value:.3g} s, above the latency limit of {limit:g} s",
    ),
    (
        "has no latency history, so it cannot be shown to meet the tail latency limit of {limit:g} s",
        "has a tail latency of {value:.3g} s, above the limit of {limit:g} s",
    ),
)
"""For cost, latency and its tail: of a provider whose value is not known, and of one beyond the limit."""


def require_eligible(ineligible: Mapping[str, str], names: Sequence[str], *, decision_id: str) -> None:
    """Raise `NoEligibleProvider`, with every reason, if all of ``names`` are ineligible."""
    if len(ineligible) == len(names):
        reasons = "; ".join(f"{name} {reason}" for name, reason in ineligible.items())
        raise NoEligibleProvider(f"no provider may serve decision {decision_id!r}: {reasons}")


class ConstraintChecker:
    """The rules of a route, or of route and request together, worked out once as far as no request matters.

    A provider must satisfy all ``rules``. For a route with neither limits nor context windows, a check takes
    well under a microsecond.
    """

    def __init__(self, providers: Sequence[Provider], *rules: Constraints) -> None:
        self._names = tuple(provider.name for provider in providers)
        self._always = {
            provider.name: reason
            for provider in providers
            if (reason := _standing_reason(provider, rules)) is not None
        }
        self._windows = tuple(
            (provider.name, provider.context_window_tokens)
            for provider in providers
            if provider.context_window_tokens is not None
        )
        self._smallest_window = min((window for _, window in self._windows), default=float("inf"))
        self.limits = tuple(lowest(getattr(each, name) for each in rules) for name in LIMITS)
        """The lowest of each of `LIMITS`, None without one."""
        self.has_limits = any(limit is not None for limit in self.limits)
        self.is_strict = any(each.strict for each in rules)
        """Whether a provider that is not believed to meet a limit is ruled out, instead of put on trial."""

    @property
    def always_ineligible(self) -> frozenset[str]:
        """The providers that are ruled out whatever the request."""
        return frozenset(self._always)

    def check(self, *, candidates: tuple[str, ...] | None = None, input_tokens: float) -> dict[str, str]:
        """Name to reason for every provider ruled out by rules, health, candidates or context window.

        ``candidates`` are the providers that the request may use (None: all).
        """
        ineligible = dict(self._always)
        if candidates is not None:
            self._check_candidates(ineligible, candidates)
        if input_tokens > self._smallest_window:
            for name, window in self._windows:
                if input_tokens > window:
                    reason = f"takes {window} tokens of context, but the request has {input_tokens:.0f}"
                    ineligible.setdefault(name, reason)
        return ineligible

    def _check_candidates(self, ineligible: dict[str, str], candidates: tuple[str, ...]) -> None:
        unknown = [name for name in candidates if name not in self._names]
        if unknown:
            raise InvalidInput(
                f"candidate {unknown[0]!r} is not a provider of the route: choose from {list(self._names)}"
            )
        for name in self._names:
            if name not in candidates:
                ineligible.setdefault(name, "is not among the candidates of the request")

    def excess(self, values: Sequence[FloatArray]) -> FloatArray:
        """Return cost, latency and tail latency, (k,) each, as multiples of their limits, shape (3, k).

        NaN stays NaN; without a limit, everything is 0.
        """
        result = np.zeros((len(LIMITS), len(self._names)))
        for row, (limit, column) in enumerate(zip(self.limits, values, strict=True)):
            if limit is not None:
                with np.errstate(over="ignore"):
                    # Beyond a limit of 0 is the least bad still the one with the least.
                    beyond = column / max(limit, _LEAST_LIMIT)
                # So said that a limit of 0 is met by 0, and that rounding puts nobody beyond.
                result[row] = np.where(
                    column <= limit, np.minimum(beyond, 1.0), np.maximum(beyond, _JUST_BEYOND)
                )
        return result

    def limit_reason(self, row: int, value: float) -> str:
        """Say why a provider with this value is not believed to meet one of `LIMITS`."""
        unknown, beyond = _LIMIT_REASONS[row]
        return (beyond if value == value else unknown).format(value=value, limit=self.limits[row])

    def slow_reason(self, least_s: float, *, calls: int) -> str:
        """Say why a provider whose latest calls all took this long or longer does not meet the limit."""
        return (
            f"took {least_s:.3g} s or more in {calls} calls in a row, above the latency limit of "
            f"{self.limits[1]:g} s"
        )


def lowest(limits: Iterable[float | None]) -> float | None:
    """Return the strictest of some limits, each None for no limit."""
    return min((limit for limit in limits if limit is not None), default=None)


def _standing_reason(provider: Provider, rules: Sequence[Constraints]) -> str | None:
    """Say why no request may use the provider, or None."""
    for pattern in (pattern for each in rules for pattern in each.deny):
        if fnmatchcase(provider.name, pattern):
            return f"is denied by {pattern!r}"
    for each in rules:
        if not any(fnmatchcase(provider.name, pattern) for pattern in each.allow):
            return f"is not allowed by {', '.join(map(repr, each.allow)) or 'an empty list'}"
    required = frozenset[str]().union(*(each.capabilities for each in rules))
    missing = sorted(required - provider.capabilities)
    if missing:
        return f"lacks the required capability {', '.join(map(repr, missing))}"
    return None if provider.healthy else "is marked unhealthy"


def check_contradictions(constraints: Constraints, providers: Sequence[Provider]) -> None:
    """Raise `InvalidInput` for rules that no provider of the list can satisfy, whatever the request.

    An allow pattern that matches no provider is refused too: it is usually a misspelling. Health is
    left out, since it changes without a new configuration.
    """
    names = [provider.name for provider in providers]
    if not constraints.allow:
        raise InvalidInput('allow is empty, so no provider is left: leave it out, or give ("*",) for all')
    for pattern in constraints.allow:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InvalidInput(f"allow has {pattern!r}, which matches no provider: choose from {names}")
    offered = frozenset[str]().union(*(provider.capabilities for provider in providers))
    nowhere = sorted(constraints.capabilities - offered)
    if nowhere:
        raise InvalidInput(
            f"capability {nowhere[0]!r} is required, but no provider has it: choose from {sorted(offered)}, "
            "or declare it on a provider"
        )
    standing = ((p.name, _standing_reason(replace(p, healthy=True), [constraints])) for p in providers)
    reasons = {name: reason for name, reason in standing if reason is not None}
    if len(reasons) == len(names):
        sentences = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
        raise InvalidInput(f"the constraints leave no provider ({sentences}): relax one of them")
