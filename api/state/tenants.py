"""Tenants: whose a client's ids of decisions and sessions are.

Two teams that both number their orders from 1 must not meet. In the log and in the state, an id of a client
is therefore preceded by the tenant of its key; a key without limits has none, and its ids stand as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from fairlead.api.schemas.keys import KeyIn

SEPARATOR: Final = "|"
"""Between tenant and id; neither contains it."""
_LONGEST: Final = 64


def tenant_of(key: KeyIn) -> str:
    """Return the tenant of a key: the declared one, else the routes that it is limited to; empty for none.

    >>> tenant_of(KeyIn(name="chat", scopes=("decide",), routes=("support", "sales")))
    'sales+support'
    """
    if key.tenant is not None or key.routes is None:
        return key.tenant or ""
    names = "+".join(sorted(set(key.routes)))
    return names if len(names) <= _LONGEST else hashlib.sha256(names.encode()).hexdigest()[:32]


def scoped(tenant: str, client_id: str) -> str:
    """Return a client's id as log and state have it.

    >>> scoped("support", "order-17"), scoped("", "order-17")
    ('support|order-17', 'order-17')
    """
    return f"{tenant}{SEPARATOR}{client_id}" if tenant else client_id


def public(scoped_id: str) -> str:
    """Return an id as its client sent it.

    >>> public("support|order-17"), public("order-17")
    ('order-17', 'order-17')
    """
    return scoped_id.rpartition(SEPARATOR)[2]


def elsewhere(
    scoped_id: str, keys: Mapping[str, KeyIn], *, routes: Sequence[str] | None, declared: Sequence[str]
) -> Iterator[str]:
    """Yield what else a sender may mean by an id of its own: those of other tenants, and those of none.

    ``routes`` are those that the sender may use, None for all that are ``declared``. Whether what has such
    an id is on one of these routes is for the caller to check.
    """
    client_id = public(scoped_id)
    tenants = {"", *map(tenant_of, keys.values()), *(declared if routes is None else routes)}
    for name in sorted(scoped(tenant, client_id) for tenant in tenants):
        if name != scoped_id:
            yield name
