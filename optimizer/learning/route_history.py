"""Which configuration of a route was in force at each seq.

A configuration takes effect at its seq and not when it arrives, so that decisions are always learned under
the prices that they were made under.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.models.pricing import kind_of
from fairlead.optimizer.types.events import RouteChanged
from fairlead.optimizer.types.route import Prices, Route


class RouteHistory:
    """The configurations of one route by their seq; the first is in force from the start."""

    def __init__(self, first: Route) -> None:
        self._changes: list[tuple[int, int]] = [(-1, 0)]
        self._routes: list[Route] = [first]
        # One mapping a configuration, shared by all decisions under it.
        self._prices: list[dict[str, Prices]] = [prices_of(first)]
        self._kinds: dict[str, str] = {}
        self._update_kinds()

    @property
    def latest(self) -> Route:
        """The configuration of the highest seq."""
        return self._routes[self._changes[-1][1]]

    @property
    def first(self) -> Route:
        """The configuration that the router was made with."""
        return self._routes[0]

    @property
    def events(self) -> list[RouteChanged]:
        """All configurations but the first, by their seq."""
        return [RouteChanged(seq=seq, route=self._routes[i]) for seq, i in self._changes[1:]]

    def add(self, event: RouteChanged) -> bool:
        """Add a configuration; False if it is known already, `InvalidInput` if it does not fit the route."""
        first = self._routes[0]
        if event.route.name != first.name:
            raise InvalidInput(
                f"a configuration of route {event.route.name!r} came to route {first.name!r}: "
                "give each route a router of its own"
            )
        if (event.route.metrics, event.route.sources) != (first.metrics, first.sources):
            raise InvalidInput(
                f"route {first.name!r} changes its metrics or sources, but rewards under two definitions "
                "cannot be learned together: make a new route for them"
            )
        for seq, i in self._changes:
            if seq == event.seq:
                if self._routes[i] == event.route:
                    return False
                raise InvalidInput(
                    f"two different configurations of route {first.name!r} have seq {seq}: "
                    "give each a seq of its own"
                )
        self._routes.append(event.route)
        self._prices.append(prices_of(event.route))
        insort(self._changes, (event.seq, len(self._routes) - 1))
        self._update_kinds()
        return True

    def _update_kinds(self) -> None:
        for _, i in self._changes:
            self._kinds |= {provider.name: kind_of(provider.prices) for provider in self._routes[i].providers}

    def prices_at(self, seq: int) -> Mapping[str, Prices]:
        """Return the price lists in force at a seq, by provider."""
        index = bisect_right(self._changes, seq, key=lambda change: change[0]) - 1
        return self._prices[self._changes[max(index, 0)][1]]

    def cost_kind(self, name: str) -> str:
        """Return what is learned of a provider's cost, by the latest configuration that has the provider."""
        return self._kinds[name]

    def names(self) -> list[str]:
        """List every provider that was ever on the route."""
        return list(self._kinds)


def prices_of(route: Route) -> dict[str, Prices]:
    """Return the price lists of those of a route's providers that have one."""
    return {provider.name: provider.prices for provider in route.providers if provider.prices is not None}
