"""The configuration in force, as a fold of the changes in the log and of nothing else.

It knows no router, so that a key, a pause or a price applies as soon as a process has seen its change,
however far behind the learning of any route is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from fairlead.api.schemas.declarations import RouteIn
from fairlead.api.state.configuration import Change, Configuration
from fairlead.api.state.served_route import UnreadableFile, feature_width
from fairlead.api.store import Query, Row, Store
from fairlead.optimizer.errors import InvalidInput, NoEligibleProvider
from fairlead.optimizer.selection.eligibility import check_contradictions
from fairlead.optimizer.types import Route

MAX_REFUSED: Final = 1_000
"""Most refused changes whose reason is remembered: the latest ones."""


class DeclaredRoute(NamedTuple):
    """A route as it is declared at one place in the log."""

    body: RouteIn
    core: Route
    """The same in the optimizer's own type, with its providers and their prices."""
    first: Route
    """The configuration that it was created with."""
    width: int
    """Number of its features."""
    created: int
    """Place in the log of the change that created it."""
    changed: int
    """Place in the log of the last change that affected it."""


class ConfigurationView:
    """Everything declared at one place in the log, and what the changes up to there left behind."""

    def __init__(self) -> None:
        self.config = Configuration()
        self.seq = 0
        """Place in the log of the last change."""
        self.routes: dict[str, DeclaredRoute] = {}
        self.refused: dict[int, str] = {}
        """Why a change of the configuration was impossible by the time it was logged, by its seq."""
        self.applied: set[str] = set()
        """Entries of settings files that were applied, by their uid."""
        self.unreadable: dict[str, str] = {}
        """Why a file that a declared route needs cannot be read here, by the name of the route."""

    def copy(self) -> ConfigurationView:
        """Return a view that can be changed without changing this one."""
        view = ConfigurationView()
        view.config, view.seq, view.routes = self.config, self.seq, dict(self.routes)
        view.refused, view.applied = dict(self.refused), set(self.applied)
        view.unreadable = dict(self.unreadable)
        return view

    def apply(self, row: Row) -> list[str]:
        """Fold the next change of the log; returns the names of the routes affected.

        A change that is impossible or cannot be read is `refused`, and raises `InvalidInput`; nothing else
        has changed then.
        """
        self.seq = row.seq
        if row.uid.startswith("file:"):
            self.applied.add(row.uid)
        try:
            change = Change.from_line(row.line)
            if change.entity == "route":
                self.unreadable.pop(change.id, None)
            self.config, affected = self.preview(change)
        except UnreadableFile as error:
            self.unreadable[change.id] = str(error)
            self._refuse(row.seq, str(error))
            raise
        except (InvalidInput, NoEligibleProvider) as error:
            self._refuse(row.seq, str(error))
            raise
        except Exception as error:
            # Such as one that a later release has written; those that come after it hold all the same.
            reason = f"this release cannot apply the change ({type(error).__name__})"
            self._refuse(row.seq, reason)
            raise InvalidInput(reason) from error
        for name, declared in affected.items():
            if declared is None:
                del self.routes[name]
            else:
                created = declared.created or row.seq
                self.routes[name] = declared._replace(created=created, changed=row.seq)
        return list(affected)

    def _refuse(self, seq: int, reason: str) -> None:
        self.refused[seq] = reason
        if len(self.refused) > MAX_REFUSED:
            del self.refused[min(self.refused)]

    def follow(self, rows: Iterable[Row]) -> None:
        """Fold those of some changes that are later than its place; what is impossible is `refused`."""
        for row in rows:
            if row.seq > self.seq:
                with contextlib.suppress(InvalidInput, NoEligibleProvider):
                    self.apply(row)

    def require_files(self) -> None:
        """Raise `InvalidInput` if a file that a declared route needs cannot be read.

        To go on would be to lose the route, with what it has learned, until the file is back.
        """
        for name, reason in self.unreadable.items():
            raise InvalidInput(f"route {name!r}: {reason}")

    def preview(self, change: Change) -> tuple[Configuration, dict[str, DeclaredRoute | None]]:
        """Return the configuration after a change, and the routes affected, None for one that is removed.

        Raises `InvalidInput` if the change is impossible.
        """
        after = self.config.after(change)
        affected: dict[str, DeclaredRoute | None] = {}
        if change.entity == "key":
            return after, affected
        for name in {**self.config.routes, **after.routes}:
            if name not in after.routes:
                affected[name] = None
                continue
            before, body, core = self.routes.get(name), after.routes[name], after.core_route(name)
            if before is None or (core, body) != (before.core, before.body):
                affected[name] = _declared(before, body, core)
        return after, affected


def read_configuration(store: Store, view: ConfigurationView | None = None) -> ConfigurationView:
    """Fold all changes of a log after the place of a ``view``, by default of an empty one."""
    view = ConfigurationView() if view is None else view
    while rows := store.rows(Query(after=view.seq, kind="config")):
        view.follow(rows)
    return view


def _declared(before: DeclaredRoute | None, body: RouteIn, core: Route) -> DeclaredRoute:
    """Return a route after a change; `InvalidInput` if it is impossible. Its places are not known yet."""
    check_contradictions(core.constraints, core.providers)
    if before is None:
        return DeclaredRoute(body, core, core, feature_width(body.features), 0, 0)
    first = before.first
    if (core.metrics, core.sources) != (first.metrics, first.sources):
        raise InvalidInput(
            f"route {core.name!r} has learned by its metrics and sources, so they stay: create another route"
        )
    return before._replace(body=body, core=core)
