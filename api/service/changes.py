"""Changes of the configuration: checked, shown as a preview, written, and answered once in force."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from fairlead.api.problems import Problem, from_refusal, from_validation
from fairlead.api.schemas.budgets import SharedBudgetIn
from fairlead.api.schemas.configuration import AuditOut, ChangeOut, PriceOut, ProviderOut, RouteOut
from fairlead.api.schemas.declarations import PriceIn, ProviderIn, RouteIn
from fairlead.api.service.answers import timestamp
from fairlead.api.service.auth import Principal
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change, Entity, PriceList
from fairlead.api.store import Row
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider

Declared = TypeVar("Declared", bound=BaseModel)
Named = TypeVar("Named", ProviderIn, RouteIn, SharedBudgetIn)
Model = TypeVar("Model", bound=BaseModel)


async def make_change(service: Service, principal: Principal, change: Change, *, preview: bool) -> ChangeOut:
    """Check a change, write it unless it is a preview, and return once it is in force here."""
    engine = service.engine
    declared: Mapping[str, BaseModel] = getattr(engine.in_force.config, f"{change.entity}s")
    before = declared[change.id].model_dump(mode="json") if change.id in declared else None
    try:
        _, affected = engine.in_force.preview(change)
    except (InvalidInput, NoEligibleProvider) as error:
        raise from_refusal(error) from None
    answer = ChangeOut(
        preview=preview,
        seq=None,
        entity=change.entity,
        id=change.id,
        routes=list(affected),
        before=without_secrets(before),
        after=without_secrets(change.body),
    )
    if preview:
        return answer
    ((row, _),) = await service.append([service.change_row(change, by=principal.key)])
    await engine.wait_until_in_force(row.seq)
    if row.seq in engine.in_force.refused:
        # Another change came first and made this one impossible.
        raise Problem("conflict", engine.in_force.refused[row.seq])
    return answer.model_copy(update={"seq": row.seq})


def without_secrets(body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return a declaration without the digests of keys."""
    if body is None:
        return None
    return {name: value for name, value in body.items() if name not in ("sha256", "previous_sha256")}


def audit_entry(row: Row) -> AuditOut:
    """Return a change of the log, for people."""
    # Not read as a `Change`: one of a later release is shown too.
    change = json.loads(row.line)
    return AuditOut(
        seq=row.seq,
        at=timestamp(row.at_s),
        by=json.loads(row.metadata).get("by"),
        entity=change["entity"],
        id=change["id"],
        action=change["action"],
        body=without_secrets(change["body"]),
    )


def patched(current: BaseModel, patch: Mapping[str, Any], kind: type[Model], *, identity: str) -> Model:
    """Return the declaration with a JSON Merge Patch applied, checked as a whole by ``kind``.

    The field ``identity`` names the declaration and cannot change.
    """
    if patch.get(identity, getattr(current, identity)) != getattr(current, identity):
        raise Problem("invalid", f"The {identity} cannot change: declare another one instead.")
    before = current.model_dump(mode="json", include=set(kind.model_fields))
    whole = merge_patch(chosen(before, patch), patch)
    try:
        return kind.model_validate_json(json.dumps(whole))
    except ValidationError as error:
        raise from_validation(error) from None


ALTERNATIVES: Final = (
    (("willingness_to_pay_usd",), ("dial",)),
    (("usd_per_request",), ("usd_per_day",), ("usd", "window")),
)
"""Fields that set the same thing in several forms: at most one form is given."""


def chosen(value: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the forms that a patch replaces by another one, so that it need not set them to null.

    >>> chosen({"budget": {"usd_per_day": 5.0, "hard": True}}, {"budget": {"usd_per_request": 0.1}})
    {'budget': {'hard': True}}
    """
    left_out: set[str] = set()
    for forms in ALTERNATIVES:
        forms_set = [form for form in forms if any(patch.get(name) is not None for name in form)]
        if len(forms_set) == 1:
            left_out.update(name for form in forms if form not in forms_set for name in form)
    return {
        name: chosen(item, patch[name])
        if isinstance(item, dict) and isinstance(patch.get(name), Mapping)
        else item
        for name, item in value.items()
        if name not in left_out
    }


def merge_patch(value: Any, patch: Any) -> Any:
    """Apply a JSON Merge Patch (RFC 7396): null removes a field, which then has its default.

    >>> merge_patch({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": 4}})
    {'b': {'c': 4, 'd': 3}}
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, item in patch.items():
        if item is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), item)
    return merged


class Declarations(Generic[Declared]):
    """The declarations of one kind, each by its name or id."""

    def __init__(self, service: Service, entity: Entity, *, missing: str) -> None:
        self.service, self.entity = service, entity
        self.missing = missing

    def all(self) -> dict[str, Declared]:
        """Return every declaration, by name or id."""
        declared: dict[str, Declared] = getattr(self.service.engine.in_force.config, f"{self.entity}s")
        return declared

    def get(self, name: str, *, among: Mapping[str, Declared] | None = None) -> Declared:
        """Return one declaration, by default of all; raises a problem if there is none of the name."""
        body = (self.all() if among is None else among).get(name)
        if body is None:
            raise Problem("not-found", self.missing)
        return body

    async def put(self, name: str, body: BaseModel, principal: Principal, *, preview: bool) -> ChangeOut:
        """Declare something new, or replace a declaration."""
        change = Change(self.entity, name, "put", body.model_dump(mode="json"))
        return await make_change(self.service, principal, change, preview=preview)

    async def remove(self, name: str, principal: Principal, *, preview: bool) -> ChangeOut:
        """Remove a declaration."""
        async with self.service.changing:
            self.get(name)
            self._check_removal(name)
            change = Change(self.entity, name, "remove", None)
            return await make_change(self.service, principal, change, preview=preview)

    def _check_removal(self, name: str) -> None:
        """Raise a problem if the declaration must stay; called with the configuration held."""


class Resource(Declarations[Named]):
    """Providers or routes, which have names of their own and can be changed."""

    def __init__(self, service: Service, entity: Entity, kind: type[Named]) -> None:
        super().__init__(service, entity, missing=f"There is no {entity} of this name.")
        self._kind: type[Named] = kind

    async def create(self, body: Named, principal: Principal, *, preview: bool) -> ChangeOut:
        """Declare something new."""
        async with self.service.changing:
            if body.name in self.all():
                raise Problem(
                    "conflict", f"There is a {self.entity} of this name already: change it instead."
                )
            return await self.put(body.name, body, principal, preview=preview)

    async def patch(
        self, name: str, patch: Mapping[str, Any], principal: Principal, *, preview: bool
    ) -> ChangeOut:
        """Change some fields."""
        async with self.service.changing:
            body = patched(self.get(name), patch, self._kind, identity="name")
            return await self.put(name, body, principal, preview=preview)


def providers_seen(service: Service, principal: Principal) -> dict[str, ProviderIn]:
    """Return the providers on routes that the holder of a key may use; all for a key without limits."""
    config = service.engine.in_force.config
    if principal.routes is None:
        return config.providers
    own = {
        name
        for route in principal.routes
        if route in config.routes
        for name in config.routes[route].providers
    }
    return {name: body for name, body in config.providers.items() if name in own}


def prices_seen(service: Service, principal: Principal) -> dict[str, PriceList]:
    """Return the price lists of the providers that the holder of a key sees."""
    providers, prices = providers_seen(service, principal), service.engine.in_force.config.prices
    return {name: price for name, price in prices.items() if price.provider in providers}


def provider_answer(service: Service, body: ProviderIn, principal: Principal) -> ProviderOut:
    """Return a provider as it is answered, with those of its routes that the holder of a key may use."""
    config = service.engine.in_force.config
    price = config.price_in_force(body.name)
    routes = [
        name
        for name, route in config.routes.items()
        if body.name in route.providers and principal.may_use(name)
    ]
    return ProviderOut(**dict(body), price_id=None if price is None else price.id, routes=routes)


def route_answer(service: Service, body: RouteIn) -> RouteOut:
    """Return a route as it is answered."""
    width = service.engine.in_force.routes[body.name].width
    return RouteOut(**dict(body), feature_width=width)


class PriceLists(Declarations[PriceList]):
    """Price lists, which are never changed, only followed by others."""

    def __init__(self, service: Service) -> None:
        super().__init__(service, "price", missing="There is no price list of this id.")

    def answer(self, price: PriceList) -> PriceOut:
        """Return a list as it is answered."""
        in_force = self.service.engine.in_force.config.price_in_force(price.provider)
        return PriceOut(
            **price.model_dump(include=set(PriceIn.model_fields)),
            id=price.id,
            effective_from=timestamp(price.effective_s),
            in_force=in_force is not None and in_force.id == price.id,
        )

    async def declare(self, body: PriceIn, principal: Principal, *, preview: bool) -> ChangeOut:
        """Declare a list, in force from its date on, or from now on."""
        now_s = self.service.clock()
        since_s = body.effective_from_s(now_s)
        name = f"price_{secrets.token_hex(8)}"
        price = PriceList(**dict(body), id=name, effective_s=since_s, active=since_s <= now_s)
        return await self.put(name, price, principal, preview=preview)
