"""Changes that create what the settings declare: providers, prices and routes.

Each entry is applied once per content: a restart does not undo what the API changed since, and an edited
entry is applied again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Final

from fairlead.api.schemas.base import Strict
from fairlead.api.schemas.budgets import SharedBudgetIn
from fairlead.api.schemas.declarations import ObjectiveIn, PriceIn, ProviderIn, RouteIn
from fairlead.api.settings import Settings
from fairlead.api.state.configuration import Change, Entity
from fairlead.api.state.configuration_view import ConfigurationView
from fairlead.optimizer.errors import InvalidInput

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
"""What an empty log starts with if nothing is declared: enough to try everything."""


def declared_changes(
    settings: Settings, view: ConfigurationView, *, now_s: float
) -> list[tuple[str, Change]]:
    """Return the changes, with their uids, that lead to what is declared.

    Raises `InvalidInput` if a declared entry is not valid.
    """
    declared: tuple[Strict, ...] = (
        *settings.providers,
        *settings.prices,
        *settings.routes,
        *settings.budgets,
    )
    if not declared and not view.config.routes and view.seq == 0:
        _LOG.info("the settings declare nothing: starting with the route `quickstart` (see `fairlead init`)")
        declared = QUICKSTART
    trial, last = view.copy(), _last_applied(view)
    changes: list[tuple[str, Change]] = []
    subjects: set[str] = set()
    for entry in declared:
        subject, digest = _subject(entry), _digest(entry.model_dump_json())
        if subject in subjects:
            raise InvalidInput(f"the settings declare {_shown(entry)} twice: leave one of them out")
        subjects.add(subject)
        number, applied = last.get(subject, (-1, ""))
        if digest == applied:
            _warn_if_changed(entry, view)
            continue
        # Numbered, since an entry can be edited and edited back: each edit is a change with its own uid.
        uid = f"{subject}:{digest}:{number + 1}"
        change = _change(entry, f"file-{_digest(uid)}", now_s)
        try:
            trial.config, _ = trial.preview(change)
        except InvalidInput as error:
            raise InvalidInput(f"the settings declare {change.entity} {change.id!r}: {error}") from None
        changes.append((uid, change))
    return changes


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _subject(entry: Strict) -> str:
    """Identify what an entry declares: it stays the same when the entry is edited."""
    if isinstance(entry, PriceIn):
        return f"file:price:{_digest(f'{entry.provider} {entry.effective_at}')}"
    return f"file:{_kind(entry)}:{_digest(_named(entry).name)}"


def _last_applied(view: ConfigurationView) -> dict[str, tuple[int, str]]:
    """Return by subject how often an entry was applied, counted from 0, and the digest of the last one."""
    applied: dict[str, tuple[int, str]] = {}
    for uid in view.applied:
        subject, digest, number = uid.rsplit(":", 2)
        applied[subject] = max(applied.get(subject, (-1, "")), (int(number), digest))
    return applied


def _change(entry: Strict, name: str, now_s: float) -> Change:
    body = entry.model_dump(mode="json")
    if not isinstance(entry, PriceIn):
        return Change(_kind(entry), _named(entry).name, "put", body)
    since_s = entry.effective_from_s(now_s)
    full = {**body, "id": name, "effective_s": since_s, "active": since_s <= now_s}
    return Change("price", name, "put", full)


def _warn_if_changed(entry: Strict, view: ConfigurationView) -> None:
    if not isinstance(entry, PriceIn):
        current: Mapping[str, Strict] = getattr(view.config, f"{_kind(entry)}s")
        if current.get(_named(entry).name) != entry:
            _LOG.warning("%s was changed since it was declared in the settings", _shown(entry))


def _shown(entry: Strict) -> str:
    if isinstance(entry, PriceIn):
        return f"the price list of {entry.provider!r} from {entry.effective_at or 'now'} on"
    return f"{_kind(entry)} {_named(entry).name!r}"


def _named(entry: Strict) -> ProviderIn | RouteIn | SharedBudgetIn:
    assert isinstance(entry, ProviderIn | RouteIn | SharedBudgetIn)
    return entry


def _kind(entry: Strict) -> Entity:
    """Return the kind of an entry other than a price list."""
    if isinstance(entry, SharedBudgetIn):
        return "budget"
    return "provider" if isinstance(entry, ProviderIn) else "route"
