"""Declarations of the operator: providers and prices, objective, budget, constraints, metrics, route."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fairlead.optimizer.errors import InvalidInput, check_amounts, finite, plain_text
from fairlead.optimizer.types.budget import Budget

MAX_COST_USD: Final = 1e6
MAX_CONTEXT_TOKENS: Final = 10**9


@dataclass(frozen=True, kw_only=True)
class Prices:
    """A provider's price list in USD. If a price is unknown, leave the whole list out; never set it to 0.

    >>> prices = Prices(input_usd_per_mtok=1.0, output_usd_per_mtok=4.0, cached_usd_per_mtok=0.1)
    >>> round(prices.cost_usd(input_tokens=1_000, output_tokens=500, cached_tokens=600), 6)
    0.00246
    """

    input_usd_per_mtok: float
    output_usd_per_mtok: float
    cached_usd_per_mtok: float | None = None
    per_call_usd: float = 0.0

    def __post_init__(self) -> None:
        remedy = "give USD as a finite number of at least 0, or no prices at all if they are unknown"
        for name in ("input_usd_per_mtok", "output_usd_per_mtok", "per_call_usd"):
            finite(name, getattr(self, name), low=0, high=MAX_COST_USD, remedy=remedy)
        check_amounts(self, "cached_usd_per_mtok", high=MAX_COST_USD, remedy=remedy)

    def cost_usd(self, *, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0) -> float:
        """Return the USD of one call; ``cached_tokens`` are those input tokens that came from a cache."""
        cached_price = (
            self.input_usd_per_mtok if self.cached_usd_per_mtok is None else self.cached_usd_per_mtok
        )
        fresh = max(input_tokens - cached_tokens, 0.0)
        tokens = fresh * self.input_usd_per_mtok + cached_tokens * cached_price
        return self.per_call_usd + (tokens + output_tokens * self.output_usd_per_mtok) / 1e6

    def scaled(self, factor: float) -> Prices:
        """Return the list after a price change by ``factor``."""
        cached = None if self.cached_usd_per_mtok is None else self.cached_usd_per_mtok * factor
        return Prices(
            input_usd_per_mtok=self.input_usd_per_mtok * factor,
            output_usd_per_mtok=self.output_usd_per_mtok * factor,
            cached_usd_per_mtok=cached,
            per_call_usd=self.per_call_usd * factor,
        )


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A model endpoint to choose; in the mathematics, an action.

    Without ``prices`` its costs are learned from outcomes alone. Requests longer than
    ``context_window_tokens`` do not go to it, and none do while it is not ``healthy``.

    >>> mini = Provider(name="openai/gpt-5-mini", capabilities=frozenset({"tools"}))
    >>> mini.healthy, mini.prices
    (True, None)
    """

    name: str
    prices: Prices | None = None
    capabilities: frozenset[str] = frozenset()
    context_window_tokens: int | None = None
    tags: frozenset[str] = frozenset()
    healthy: bool = True

    def __post_init__(self) -> None:
        plain_text("provider name", self.name)
        if not self.name or len(self.name) > 200:
            raise InvalidInput(f"provider name is {self.name!r}: give 1 to 200 characters")
        remedy = "give the tokens of its context window, at least 1, or leave it out if it is unknown"
        check_amounts(self, "context_window_tokens", low=1, high=MAX_CONTEXT_TOKENS, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The weights of quality, cost and latency: quality − cost / willingness_to_pay − latency × weight.

    ``willingness_to_pay_usd`` is what one whole point of quality is worth; None means that cost
    does not count by itself (a budget may still bind). ``latency_weight`` is quality per second.

    An answer of quality .8 that costs $0.01 and takes 2 s is worth as much as one of .5 that is free at once:

    >>> objective = Objective(willingness_to_pay_usd=0.05, latency_weight=0.05)
    >>> round(0.8 - 0.01 / objective.willingness_to_pay_usd - 2.0 * objective.latency_weight, 3)
    0.5
    """

    willingness_to_pay_usd: float | None = None
    latency_weight: float = 0.0

    def __post_init__(self) -> None:
        remedy = "give USD per point of quality, more than 0, or None if cost does not count"
        check_amounts(self, "willingness_to_pay_usd", low=1e-12, high=1e9, remedy=remedy)
        remedy = "give points per second, at least 0"
        finite("latency_weight", self.latency_weight, low=0, high=1e6, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Rules that a choice must satisfy; ``allow`` and ``deny`` take wildcards, and ``deny`` has priority.

    Limits compare with what is expected of a provider for the request: its cost, its mean latency, and the
    95 % quantile of its latency (tail). A provider that is not believed to meet one is tried with a small
    share of requests, and serves only if no other can; the decision then names the limit in ``relaxed``. With
    ``strict`` it never serves, and without a provider that meets all limits there is no decision.

    >>> rules = Constraints(allow=("openai/*", "local/*"), deny=("openai/o1*",), max_cost_usd=0.01)
    >>> rules.max_latency_s is None
    True
    """

    allow: tuple[str, ...] = ("*",)
    deny: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    max_cost_usd: float | None = None
    max_latency_s: float | None = None
    max_tail_latency_s: float | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        limits = ("max_cost_usd", "max_latency_s", "max_tail_latency_s")
        check_amounts(self, *limits, high=1e6, remedy="give a limit of at least 0, or none")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A kind of feedback that counts towards the reward: its range, its direction and its weight.

    >>> Metric(name="stars", low=1, high=5).scaled(4)
    0.75
    >>> Metric(name="edits", low=0, high=20, higher_is_better=False).scaled(5)
    0.75
    """

    name: str = "quality"
    low: float = 0.0
    high: float = 1.0
    higher_is_better: bool = True
    weight: float = 1.0

    def __post_init__(self) -> None:
        finite("low", self.low, low=-1e9, high=1e9, remedy="give the worst possible value of the metric")
        finite("high", self.high, low=-1e9, high=1e9, remedy="give the best possible value of the metric")
        finite("weight", self.weight, low=1e-6, high=1e6, remedy="give a weight of more than 0")
        if self.low >= self.high:
            raise InvalidInput(
                f"metric {self.name!r} ranges from {self.low:g} to {self.high:g}: give low < high"
            )

    def scaled(self, value: float) -> float:
        """Scale ``value`` to quality in [0, 1]; raises `InvalidInput` outside the declared range."""
        remedy = "send a value within the range that the route declares for the metric"
        share = (finite(self.name, value, low=self.low, high=self.high, remedy=remedy) - self.low) / (
            self.high - self.low
        )
        return share if self.higher_is_better else 1.0 - share


@dataclass(frozen=True, kw_only=True)
class Source:
    """A source of feedback that counts more or less than the others, which weigh 1.

    >>> Source(name="expert", weight=5.0)
    Source(name='expert', weight=5.0)
    """

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        plain_text("source", self.name)
        finite("weight", self.weight, low=1e-6, high=1e6, remedy="give a weight of more than 0")


@dataclass(frozen=True, kw_only=True)
class Route:
    """One decision point of a product: its providers, objective, budget and rules.

    ``default_provider`` answers when routing itself fails. ``newcomer_share`` caps the share of
    requests, and of what a budget leaves beyond the cheapest provider, that may be spent on getting to know
    providers added later.
    ``exploration_share`` is the share of requests, and of what a budget leaves beyond the cheapest provider,
    spent on a floor under every propensity, so that other policies can be evaluated from the log afterwards;
    providers with hardly any feedback yet have a higher floor. With 0 there is neither.

    >>> small, large = Provider(name="small"), Provider(name="large")
    >>> route = Route(name="support-chat", providers=(small, large), budget=Budget(usd_per_day=20.0))
    >>> route.objective.willingness_to_pay_usd is None
    True
    >>> Route(name="support-chat", providers=(small, small))
    Traceback (most recent call last):
    fairlead.optimizer.errors.InvalidInput: route 'support-chat' lists 'small' twice: give each provider once
    """

    name: str
    providers: tuple[Provider, ...]
    objective: Objective = Objective()
    budget: Budget | None = None
    constraints: Constraints = Constraints()
    metrics: tuple[Metric, ...] = (Metric(),)
    sources: tuple[Source, ...] = ()
    default_provider: str | None = None
    newcomer_share: float = 0.2
    exploration_share: float = 0.002

    def __post_init__(self) -> None:
        names = [provider.name for provider in self.providers]
        if not names:
            raise InvalidInput(f"route {self.name!r} has no provider: give at least one")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InvalidInput(f"route {self.name!r} lists {twice[0]!r} twice: give each provider once")
        if self.default_provider is not None and self.default_provider not in names:
            raise InvalidInput(
                f"default provider {self.default_provider!r} is not on route {self.name!r}: "
                f"choose from {names}"
            )
        if len({metric.name for metric in self.metrics}) != len(self.metrics) or not self.metrics:
            raise InvalidInput(f"route {self.name!r} needs one or more metrics, each with a name of its own")
        if len({source.name for source in self.sources}) != len(self.sources):
            raise InvalidInput(f"route {self.name!r} lists a source of feedback twice: give each once")
        for name in ("newcomer_share", "exploration_share"):
            finite(name, getattr(self, name), low=0, high=1, remedy="give a share of requests in [0, 1]")

    @property
    def fallback_provider(self) -> str:
        """The declared default, else the first healthy provider, else the first of all."""
        healthy = (provider.name for provider in self.providers if provider.healthy)
        return self.default_provider or next(healthy, self.providers[0].name)
