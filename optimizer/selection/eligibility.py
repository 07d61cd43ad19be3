"""Eligibility: what rules a provider out of one decision, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.types import Constraints, FloatArray, Provider

_NONE: Final = Constraints()

# Each pair: of a provider whose value is not known, and of one whose value is beyond the limit.
_COST_REASONS: Final = (
    "has no known price, so it cannot be shown to meet the cost limit of ${limit:g}",
    "is expected to cost ${value:.3g}, above the limit of ${limit:g}",
)
_LATENCY_REASONS: Final = (
    "has no latency history, so it cannot be shown to meet the latency limit of {limit:g} s",
    "is expected to take {value:.3g} s, above the latency limit of {limit:g} s",
)
_TAIL_REASONS: Final = (
    "has no latency history, so it cannot be shown to meet the tail latency limit of {limit:g} s",
    "has a tail latency of {value:.3g} s, above the limit of {limit:g} s",
)


@dataclass(frozen=True, kw_only=True)
class MergedConstraints(Constraints):
    """Constraints of route and request together: a provider must match ``allow`` and ``also_allow``."""

    also_allow: tuple[str, ...] = ("*",)


def require_eligible(ineligible: Mapping[str, str], names: Sequence[str], *, decision_id: str) -> None:
    """Raise `NoEligibleProvider`, with every reason, if all of ``names`` are ineligible."""
    if len(ineligible) == len(names):
        reasons = "; ".join(f"{name} {reason}" for name, reason in ineligible.items())
        raise NoEligibleProvider(f"no provider may serve decision {decision_id!r}: {reasons}")


def merge(route: Constraints, request: Constraints | None) -> Constraints:
    """Combine both to the tighter: allowed by both, denied by either, the lower of two limits."""
    if request is None or request == _NONE:
        return route
    return MergedConstraints(
        allow=route.allow,
        also_allow=request.allow,
        deny=route.deny + request.deny,
        capabilities=route.capabilities | request.capabilities,
        max_cost_usd=_lower(route.max_cost_usd, request.max_cost_usd),
        max_latency_s=_lower(route.max_latency_s, request.max_latency_s),
        max_tail_latency_s=_lower(route.max_tail_latency_s, request.max_tail_latency_s),
    )


def _lower(first: float | None, second: float | None) -> float | None:
    limits = [limit for limit in (first, second) if limit is not None]
    return min(limits, default=None)


def _allows(constraints: Constraints) -> tuple[tuple[str, ...], ...]:
    """Return the lists of patterns of which a name must match each."""
    if isinstance(constraints, MergedConstraints):
        return (constraints.allow, constraints.also_allow)
    return (constraints.allow,)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class ConstraintChecker:
    """The rules of one route or request, with all that does not depend on the request worked out once.

    For a route with neither limits nor context windows, a check takes well under a microsecond.
    """

    def __init__(self, providers: Sequence[Provider], constraints: Constraints) -> None:
        self._names = tuple(provider.name for provider in providers)
        self._constraints = constraints
        self._always = {
            provider.name: reason
            for provider in providers
            if (reason := _standing_reason(provider, constraints)) is not None
        }
        self._windows = tuple(
            (provider.name, provider.context_window_tokens)
            for provider in providers
            if provider.context_window_tokens is not None
        )
        self._smallest_window = min((window for _, window in self._windows), default=float("inf"))
        limits = (constraints.max_cost_usd, constraints.max_latency_s, constraints.max_tail_latency_s)
        self.has_limits = any(limit is not None for limit in limits)
        """Whether `check_limits` could rule a provider out."""
        self.limits_tail = constraints.max_tail_latency_s is not None
        """Whether `check_limits` looks at ``tail_latency_s``."""

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

    def check_limits(
        self,
        ineligible: dict[str, str],
        *,
        cost_usd: FloatArray,
        latency_s: FloatArray,
        tail_latency_s: FloatArray,
    ) -> None:
        """Add the providers beyond a limit, and why, unless they are ineligible already.

        The arrays have shape (k,); NaN, for a cost or a latency that is not known, is beyond any limit.
        """
        limits = self._constraints
        for limit, values, (unknown, beyond) in (
            (limits.max_cost_usd, cost_usd, _COST_REASONS),
            (limits.max_latency_s, latency_s, _LATENCY_REASONS),
            (limits.max_tail_latency_s, tail_latency_s, _TAIL_REASONS),
        ):
            if limit is None:
                continue
            for name, value in zip(self._names, values.tolist(), strict=True):
                # Not "value > limit": a NaN must be ruled out too.
                if not value <= limit:
                    reason = beyond if value == value else unknown
                    ineligible.setdefault(name, reason.format(value=value, limit=limit))


def _standing_reason(provider: Provider, constraints: Constraints) -> str | None:
    """Say why no request may use the provider, or None."""
    denied = [pattern for pattern in constraints.deny if fnmatchcase(provider.name, pattern)]
    if denied:
        return f"is denied by {denied[0]!r}"
    for patterns in _allows(constraints):
        if not _matches(provider.name, patterns):
            return f"is not allowed by {', '.join(map(repr, patterns)) or 'an empty list'}"
    missing = sorted(constraints.capabilities - provider.capabilities)
    if missing:
        return f"lacks the required capability {', '.join(map(repr, missing))}"
    return None if provider.healthy else "is marked unhealthy"


def check_contradictions(constraints: Constraints, providers: Sequence[Provider]) -> None:
    """Raise `InvalidInput` for rules that no provider of the list can satisfy, whatever the request.

    An allow pattern that matches no provider is refused too: it is usually a misspelling. Health is left
    out, since it changes by itself.
    """
    names = [provider.name for provider in providers]
    for patterns in _allows(constraints):
        if not patterns:
            raise InvalidInput('allow is empty, so no provider is left: leave it out, or give ("*",) for all')
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InvalidInput(f"allow has {pattern!r}, which matches no provider: choose from {names}")
    offered = frozenset[str]().union(*(provider.capabilities for provider in providers))
    nowhere = sorted(constraints.capabilities - offered)
    if nowhere:
        raise InvalidInput(
            f"capability {nowhere[0]!r} is required, but no provider has it: choose from {sorted(offered)}, "
            "or declare it on a provider"
        )
    standing = ((p.name, _standing_reason(replace(p, healthy=True), constraints)) for p in providers)
    reasons = {name: reason for name, reason in standing if reason is not None}
    if len(reasons) == len(names):
        sentences = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
        raise InvalidInput(f"the constraints leave no provider ({sentences}): relax one of them")
