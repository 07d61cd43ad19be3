"""The configuration: providers, prices, routes and keys, as a fold of the events that changed them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel, Field

from fairlead.api.schemas.budgets import SharedBudgetIn
from fairlead.api.schemas.declarations import ObjectiveIn, PriceIn, ProviderIn, RouteIn
from fairlead.api.schemas.keys import KeyIn
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.types import Budget, Constraints, Metric, Objective, Prices, Provider, Route
from fairlead.optimizer.types.route import Source

Entity = Literal["provider", "price", "route", "key", "budget"]
Action = Literal["put", "remove", "activate"]


class PriceList(PriceIn):
    """A declared price list, with its id and the time from which it applies."""

    id: str
    effective_s: float
    active: bool = False
    """Whether it has come into force; the latest list in force applies."""


KEY_VERSION: Final = 1
"""What the scopes of a key mean; see `_key`."""


class Key(KeyIn):
    """A key as it is kept: only the SHA-256 of its secret."""

    id: str
    sha256: str = Field(min_length=64, max_length=64)
    previous_sha256: str | None = None
    """The secret before a rotation, accepted until ``previous_until_s``."""
    previous_until_s: float = 0.0
    version: Literal[1] = KEY_VERSION


class Change(NamedTuple):
    """One change of the configuration."""

    entity: Entity
    id: str
    action: Action
    body: Mapping[str, Any] | None

    def line(self) -> str:
        """Encode the change as its line in the log."""
        return json.dumps(self._asdict(), separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_line(cls, line: str) -> Change:
        """Decode what `line` encoded."""
        return cls(**json.loads(line))


@dataclass
class Configuration:
    """Everything declared at one place in the log; `after` returns the next one and changes nothing."""

    providers: dict[str, ProviderIn] = field(default_factory=dict)
    prices: dict[str, PriceList] = field(default_factory=dict)
    """By id, in the order in which they were declared."""
    routes: dict[str, RouteIn] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    budgets: dict[str, SharedBudgetIn] = field(default_factory=dict)
    """Those that routes share, by name."""

    def after(self, change: Change) -> Configuration:
        """Build the configuration after a change; `InvalidInput` if the change is impossible."""
        after = Configuration(**{part.name: dict(getattr(self, part.name)) for part in fields(self)})
        apply = {"put": after._put, "remove": after._remove, "activate": after._activate}
        apply[change.action](change)
        if change.entity == "key" and not any("admin" in key.scopes for key in after.keys.values()):
            # Checked here too: if two keys remove each other, only the log knows which came first.
            raise InvalidInput("no key of the scope admin would be left: create another one first")
        return after

    def _put(self, change: Change) -> None:
        if change.entity == "provider":
            self.providers[change.id] = _validate(ProviderIn, change.body)
        elif change.entity == "price":
            price = _validate(PriceList, change.body)
            if price.provider not in self.providers:
                raise InvalidInput(f"there is no provider {price.provider!r}: create it before its prices")
            self.prices[change.id] = price
        elif change.entity == "route":
            route = _validate(RouteIn, change.body)
            before = self.routes.get(change.id)
            if before is not None and before.features != route.features:
                raise InvalidInput(
                    f"route {change.id!r} has learned on its features, so they stay: create another route"
                )
            self.routes[change.id] = route
        elif change.entity == "budget":
            self.budgets[change.id] = _validate(SharedBudgetIn, change.body)
        else:
            self.keys[change.id] = _key(change.body)

    def _remove(self, change: Change) -> None:
        declared: dict[str, Any] = getattr(self, f"{change.entity}s")
        if change.id not in declared:
            raise InvalidInput(f"there is no {change.entity} {change.id!r}: it may have been removed already")
        if change.entity == "price" and declared[change.id].active:
            raise InvalidInput(
                f"price list {change.id!r} was in force, and decisions were made under it, so it stays: "
                "declare another one"
            )
        del declared[change.id]
        if change.entity != "provider":
            return
        for name, route in self.routes.items():
            if change.id in route.providers:
                others = tuple(provider for provider in route.providers if provider != change.id)
                if not others or route.default_provider == change.id:
                    why = "its default" if others else "its only provider"
                    raise InvalidInput(
                        f"provider {change.id!r} is {why} on route {name!r}: change the route first"
                    )
                self.routes[name] = route.model_copy(update={"providers": others})
        # Its lists go too: a provider that is created again under the name starts without prices.
        self.prices = {name: price for name, price in self.prices.items() if price.provider != change.id}

    def _activate(self, change: Change) -> None:
        if change.id not in self.prices:
            raise InvalidInput(f"price list {change.id!r} was removed before it came into force")
        self.prices[change.id] = self.prices[change.id].model_copy(update={"active": True})

    def price_in_force(self, provider: str) -> PriceList | None:
        """Return the price list of a provider that applies: the latest one in force."""
        active = [price for price in self.prices.values() if price.provider == provider and price.active]
        # Of two with the same date the later declared one applies; max keeps the first, so reversed.
        return max(reversed(active), key=lambda price: price.effective_s, default=None)

    def prices_to_activate(self, now_s: float) -> list[str]:
        """Ids of the price lists whose time has come and that are not in force yet, by their times."""
        waiting = [price for price in self.prices.values() if not price.active and price.effective_s <= now_s]
        return [price.id for price in sorted(waiting, key=lambda price: price.effective_s)]

    def core_route(self, name: str) -> Route:
        """Build a route in the optimizer's own type; `InvalidInput` if it is impossible."""
        body = self.routes[name]
        missing = [provider for provider in body.providers if provider not in self.providers]
        if missing:
            raise InvalidInput(f"route {name!r} names {missing[0]!r}: create that provider first")
        rules = body.constraints
        return Route(
            name=name,
            providers=tuple(map(self._provider, body.providers)),
            objective=objective(body.objective),
            budget=None if body.budget is None else Budget(**body.budget.model_dump()),
            constraints=Constraints(**{**rules.model_dump(), "capabilities": frozenset(rules.capabilities)}),
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
            prices = Prices(**{field.name: getattr(price, field.name) for field in fields(Prices)})
        return Provider(
            name=name,
            prices=prices,
            capabilities=frozenset(body.capabilities),
            context_window_tokens=body.context_window_tokens,
            tags=frozenset(body.tags),
            healthy=not body.paused,
        )

    def state(self) -> dict[str, Any]:
        """Everything declared, as JSON has it: by kind, the entities by id in the order of declaration."""
        return {
            kind: {id: entity.model_dump(mode="json") for id, entity in getattr(self, kind).items()}
            for kind in _READERS
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Configuration:
        """Build the configuration that gave `state`."""
        return cls(
            **{
                # There were no shared budgets in 0.1.0.
                kind: {id: read(entity) for id, entity in state.get(kind, {}).items()}
                for kind, read in _READERS.items()
            }
        )


def _key(body: Any) -> Key:
    """Read a key of the log.

    In 0.1.0, whose keys have no version, ``feedback`` allowed outcomes too. A client that also decides did
    report them, and goes on; one that only gives feedback may be a widget on a page, and may not.
    """
    if "version" not in body and {"decide", "feedback"} <= set(body["scopes"]):
        body = {**body, "scopes": [*body["scopes"], "outcome"]}
    key: Key = _validate(Key, body)
    return key


def _validate(model: type[BaseModel], body: Any) -> Any:
    # From JSON, since in that mode pydantic reads lists as the tuples and sets that the models declare.
    return model.model_validate_json(json.dumps(body))


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "providers": partial(_validate, ProviderIn),
    "prices": partial(_validate, PriceList),
    "routes": partial(_validate, RouteIn),
    "keys": _key,
    "budgets": partial(_validate, SharedBudgetIn),
}


def objective(declared: ObjectiveIn) -> Objective:
    """Build an objective in the optimizer's own type."""
    return Objective(willingness_to_pay_usd=declared.worth_usd, latency_weight=declared.latency_weight)
