"""What the settings declare to be created: providers, prices and routes, each once per content.

An entry that was applied once stays applied: what the API changed since is not undone by a restart, and an
entry that is edited in the file is applied again.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from api.engine.configuration import Change, effective_s
from api.engine.fold import Fold
from api.schemas.base import Strict
from api.schemas.config import ObjectiveIn, PriceIn, ProviderIn, RouteIn
from api.settings import Settings
from optimizer.errors import InvalidInput

_LOG = logging.getLogger("fairlead.service")

QUICKSTART: Final = (
    ProviderIn(name="small"),
    ProviderIn(name="large"),
    PriceIn(provider="small", input_usd_per_mtok=0.05, output_usd_per_mtok=0.4),
    PriceIn(provider="large", input_usd_per_mtok=1.25, output_usd_per_mtok=10.0),
    # A point of quality is worth a cent, so that what is learned of quality soon shows in the choice.
    RouteIn(
        name="quickstart", providers=("small", "large"), objective=ObjectiveIn(willingness_to_pay_usd=0.01)
    ),
)
"""What a log starts with where nothing is declared: enough to try everything."""


def declared_changes(settings: Settings, fold: Fold, *, now_s: float) -> list[tuple[str, Change]]:
    """The changes that lead to what is declared, each with its uid; `InvalidInput` where one cannot be."""
    declared: tuple[Strict, ...] = (*settings.providers, *settings.prices, *settings.routes)
    if not declared and not fold.config.routes and fold.seq == 0:
        _LOG.info("nothing is declared: starting with the route `quickstart` (see `fairlead init`)")
        declared = QUICKSTART
    trial = Fold(parked_wait_s=1.0, parked_limit=1, learn=False)
    trial.config, trial.routes = fold.config, dict(fold.routes)
    found = []
    for entry in declared:
        digest = hashlib.sha256(f"{type(entry).__name__} {entry.model_dump_json()}".encode()).hexdigest()[:24]
        change = _change(entry, digest, now_s)
        uid = f"file:{change.entity}:{digest}"
        if uid in fold.applied:
            _warn_where_changed(change, fold)
            continue
        try:
            trial.config, _ = trial.checked(change)
        except InvalidInput as error:
            raise InvalidInput(f"the settings declare {change.entity} {change.id!r}: {error}") from None
        found.append((uid, change))
    return found


def _change(entry: Strict, digest: str, now_s: float) -> Change:
    body = entry.model_dump(mode="json")
    if isinstance(entry, ProviderIn):
        return Change("provider", entry.name, "put", body)
    if isinstance(entry, RouteIn):
        return Change("route", entry.name, "put", body)
    assert isinstance(entry, PriceIn)
    since_s, name = effective_s(entry, now_s), f"file-{digest}"
    full = {**body, "id": name, "effective_s": since_s, "active": since_s <= now_s}
    return Change("price", name, "put", full)


def _warn_where_changed(change: Change, fold: Fold) -> None:
    config = fold.config
    now: Strict | None = config.providers.get(change.id) or config.routes.get(change.id)
    if change.entity != "price" and (now is None or now.model_dump(mode="json") != change.body):
        _LOG.warning("%s %s was changed since it was declared in the settings", change.entity, change.id)
