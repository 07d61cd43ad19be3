"""What is configured: providers, prices, routes and keys, as a fold of the events that changed them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

from pydantic import Field

from fairlead.api.schemas.declarations import KeyIn, ObjectiveIn, PriceIn, ProviderIn, RouteIn, Worth
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.types import Budget, Constraints, Metric, Objective, Prices, Provider, Route
from fairlead.optimizer.types.route import Source

ENTITIES: Final = ("provider", "price", "route", "key")
Entity = Literal["provider", "price", "route", "key"]
Action = Literal["put", "remove", "activate"]


class PriceList(PriceIn):
    """A price list that was declared, with its name and the time from which it counts."""

    id: str
    effective_s: float
    active: bool = False
    """Whether it has come into force; of those the latest counts."""


class Key(KeyIn):
    """A key as it is kept: of the secret only its SHA-256."""

    id: str
    sha256: str = Field(min_length=64, max_length=64)
    previous_sha256: str | None = None
    """The secret before a rotation, and until when it is still taken."""
    previous_until_s: float = 0.0


class Change(NamedTuple):
    """One event of configuration."""

    entity: Entity
    id: str
    action: Action
    body: Mapping[str, Any] | None

    def line(self) -> str:
        """As it is written to the log."""
        return json.dumps(self._asdict(), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_line(cls, line: str) -> Change:
        """The change that `line` was written for."""
        return cls(**json.loads(line))


@dataclass
class Configuration:
    """Everything declared, at one place in the log. `after` gives the next one and changes nothing."""

    providers: dict[str, ProviderIn] = field(default_factory=dict)
    prices: dict[str, PriceList] = field(default_factory=dict)
    """By id, in the order in which they were declared."""
    routes: dict[str, RouteIn] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)

    def after(self, change: Change) -> Configuration:
        """What is configured once this has changed; `InvalidInput` where it cannot be."""
        made = Configuration(dict(self.providers), dict(self.prices), dict(self.routes), dict(self.keys))
        apply = {"put": made._put, "remove": made._remove, "activate": made._activate}
        apply[change.action](change)
        if change.entity == "key" and not any("admin" in key.scopes for key in made.keys.values()):
            # Asked here too, since of two that remove each other only the log knows who came first.
            raise InvalidInput("no key of the scope admin would be left: create another one first")
        return made

    def _put(self, change: Change) -> None:
        text = json.dumps(change.body)
        if change.entity == "provider":
            self.providers[change.id] = ProviderIn.model_validate_json(text)
        elif change.entity == "price":
            price = PriceList.model_validate_json(text)
            if price.provider not in self.providers:
                raise InvalidInput(f"there is no provider {price.provider!r}: create it before its prices")
            self.prices[change.id] = price
        elif change.entity == "route":
            route = RouteIn.model_validate_json(text)
            before = self.routes.get(change.id)
            if before is not None and before.features != route.features:
                raise InvalidInput(
                    f"route {change.id!r} has learned on its features, so they stay: create another route"
                )
            self.routes[change.id] = route
        else:
            self.keys[change.id] = Key.model_validate_json(text)

    def _remove(self, change: Change) -> None:
        held: dict[str, Any] = getattr(self, f"{change.entity}s")
        if change.id not in held:
            raise InvalidInput(f"there is no {change.entity} {change.id!r}: it may have been removed already")
        if change.entity == "price" and held[change.id].active:
            raise InvalidInput(
                f"price list {change.id!r} is in force or was, and decisions were made by it, so it stays: "
                "declare another one"
            )
        del held[change.id]
        if change.entity != "provider":
            return
        for name, route in self.routes.items():
            if change.id in route.providers:
                left = tuple(one for one in route.providers if one != change.id)
                if not left or route.default_provider == change.id:
                    why = "its default" if left else "its only provider"
                    raise InvalidInput(
                        f"provider {change.id!r} is {why} on route {name!r}: change the route first"
                    )
                self.routes[name] = route.model_copy(update={"providers": left})
        # Its lists go too: one that is created again under the name starts without prices.
        self.prices = {name: price for name, price in self.prices.items() if price.provider != change.id}

    def _activate(self, change: Change) -> None:
        if change.id not in self.prices:
            raise InvalidInput(f"price list {change.id!r} was removed before it came into force")
        self.prices[change.id] = self.prices[change.id].model_copy(update={"active": True})

    def price_in_force(self, provider: str) -> PriceList | None:
        """The latest list of a provider that has come into force."""
        active = [price for price in self.prices.values() if price.provider == provider and price.active]
        # The later declared one of two with the same date; max keeps the first, so from the end.
        return max(reversed(active), key=lambda price: price.effective_s, default=None)

    def due_prices(self, now_s: float) -> list[str]:
        """The lists whose time has come and that are not in force yet, in the order of their times."""
        due = [price for price in self.prices.values() if not price.active and price.effective_s <= now_s]
        return [price.id for price in sorted(due, key=lambda price: price.effective_s)]

    def core_route(self, name: str) -> Route:
        """A route as the optimiser takes it; `InvalidInput` where it cannot be."""
        body = self.routes[name]
        missing = [one for one in body.providers if one not in self.providers]
        if missing:
            raise InvalidInput(f"route {name!r} names {missing[0]!r}: create that provider first")
        rules = body.constraints
        return Route(
            name=name,
            providers=tuple(self._provider(one) for one in body.providers),
            objective=objective(body.objective),
            budget=None if body.budget is None else Budget(**body.budget.model_dump()),
            constraints=Constraints(
                allow=rules.allow,
                deny=rules.deny,
                capabilities=frozenset(rules.capabilities),
                max_cost_usd=rules.max_cost_usd,
                max_latency_s=rules.max_latency_s,
                max_tail_latency_s=rules.max_tail_latency_s,
            ),
            metrics=tuple(Metric(**metric.model_dump()) for metric in body.metrics),
            sources=tuple(Source(name=source, weight=weight) for source, weight in body.sources.items()),
            default_provider=body.default_provider or body.providers[0],
            newcomer_share=body.newcomer_share,
            exploration_share=body.exploration_share,
        )

    def _provider(self, name: str) -> Provider:
        body, price = self.providers[name], self.price_in_force(name)
        prices = None
        if price is not None:
            prices = Prices(
                input_usd_per_mtok=price.input_usd_per_mtok,
                output_usd_per_mtok=price.output_usd_per_mtok,
                cached_usd_per_mtok=price.cached_usd_per_mtok,
                per_call_usd=price.per_call_usd,
            )
        return Provider(
            name=name,
            prices=prices,
            capabilities=frozenset(body.capabilities),
            context_window_tokens=body.context_window_tokens,
            tags=frozenset(body.tags),
            healthy=not body.paused,
        )

    def state(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return {
            name: [one.model_dump(mode="json") for one in getattr(self, name).values()]
            for name in ("providers", "prices", "routes", "keys")
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Configuration:
        """The configuration that gave `state`."""
        made = cls()
        for one in state["providers"]:
            made.providers[one["name"]] = ProviderIn.model_validate_json(json.dumps(one))
        for one in state["prices"]:
            made.prices[one["id"]] = PriceList.model_validate_json(json.dumps(one))
        for one in state["routes"]:
            made.routes[one["name"]] = RouteIn.model_validate_json(json.dumps(one))
        for one in state["keys"]:
            made.keys[one["id"]] = Key.model_validate_json(json.dumps(one))
        return made


def objective(given: ObjectiveIn) -> Objective:
    """The objective as the optimiser takes it."""
    return Objective(willingness_to_pay_usd=worth_usd(given), latency_weight=given.latency_weight)


def worth_usd(given: Worth) -> float | None:
    """USD that a point of quality is worth; a dial of 10 says that cost does not count."""
    if given.dial is None:
        return given.willingness_to_pay_usd
    return None if given.dial == 10 else 10.0 ** (-4.0 + 0.4 * given.dial)


def effective_s(price: PriceIn, now_s: float) -> float:
    """From when a list counts, seconds since 1970; `InvalidInput` for a time that is over."""
    if price.effective_at is None:
        return now_s
    given: datetime = price.effective_at
    if given.timestamp() < now_s - 60.0:
        raise InvalidInput(
            f"effective_at is {given.isoformat()}, which is over, and decisions were made by another list: "
            "leave it out for a list from now on"
        )
    return given.timestamp()
