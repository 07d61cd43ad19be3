"""Authentication, and what a key allows and how often.

A key is shown once, when it is created: ``flk_ID.SECRET``. The log stores only its SHA-256. While there is no
key at all, every client on this machine is an administrator, and clients elsewhere are refused.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from time import monotonic
from typing import Final, NamedTuple

from fairlead.api.problems import Problem
from fairlead.api.state.configuration import Configuration, Key
from fairlead.api.state.tenants import scoped, tenant_of
from fairlead.optimizer.errors import InvalidInput

PREFIX: Final = "flk_"
_LONGEST: Final = 200
_NO_DIGEST: Final = "0" * 64
_LOCAL_HOSTS: Final = {"localhost", "127.0.0.1", "::1"}
_FORWARDED: Final = b"x-forwarded"
_OF_PROXIES: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-forwarded-for",
        b"x-envoy-external-address",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
        b"proxy-connection",
    }
)
"""Headers that only proxies send."""


class Principal(NamedTuple):
    """The holder of a key, and what the key allows. ``key`` is its id, None while there are no keys."""

    key: str | None
    scopes: frozenset[str]
    routes: tuple[str, ...] | None
    sources: tuple[str, ...] | None
    requests_per_s: float | None
    feedback_per_minute: int | None
    outcomes_per_minute: int | None
    tenant: str = ""
    """Whose ids of decisions and sessions the key uses; empty: those of keys without limits."""

    def own(self, client_id: str) -> str:
        """Return an id that the holder sent, as log and state have it."""
        return scoped(self.tenant, client_id) if self.tenant else client_id

    def require(self, scope: str) -> None:
        """Raise a problem if the key lacks the scope. ``admin`` includes every other."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Problem("forbidden", f"The key lacks the scope {scope!r}.")

    def may_use(self, route: str) -> bool:
        """Whether the key may be used for a route."""
        return self.routes is None or route in self.routes

    def require_route(self, route: str) -> None:
        """Raise a problem if the key may not be used for the route."""
        if not self.may_use(route):
            raise Problem("forbidden", "The key may not be used for this route.")


ANYBODY: Final = Principal(None, frozenset({"admin"}), None, None, None, None, None)


def new_secret(key_id: str) -> tuple[str, str]:
    """Return a new key, and the SHA-256 that is stored of it."""
    token = f"{PREFIX}{key_id}.{secrets.token_urlsafe(32)}"
    return token, digest(token)


def digest(token: str) -> str:
    """Return the stored form of a key. It has 256 random bits, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


@lru_cache(maxsize=4_096)
def is_loopback(host: str) -> bool:
    """Whether an address can be reached only from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, *, has_keys: bool) -> None:
    """Raise `InvalidInput` for an address that other machines can reach while there is no API key."""
    if not has_keys and not is_loopback(host):
        raise InvalidInput(
            f"host is {host!r}, which other machines can reach, and there is no API key: create one with "
            "`fairlead create-key NAME --scope admin`, or listen on 127.0.0.1"
        )


class Authenticator:
    """Finds the principal of a request from its headers and the keys of the configuration."""

    def __init__(self, configuration: Callable[[], Configuration], clock: Callable[[], float]) -> None:
        self._configuration, self._clock = configuration, clock
        self._principals: dict[str, tuple[Key, Principal]] = {}

    def principal(
        self, headers: Mapping[bytes, bytes], *, client: str | None, http_version: str = "1.1"
    ) -> Principal:
        """Return the principal; raises a problem if a key is needed and there is no valid one."""
        keys = self._configuration().keys
        if not keys:
            return _without_keys(headers, client, http_version)
        authorization = headers.get(b"authorization")
        if authorization is None:
            raise Problem("unauthenticated", "Send the header Authorization: Bearer flk_...")
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.startswith(PREFIX) or len(token) > _LONGEST:
            raise Problem("unauthenticated", "Send the header Authorization: Bearer flk_...")
        key = keys.get(token[len(PREFIX) :].partition(".")[0])
        sent, now_s = digest(token), self._clock()
        # Compared even if there is no such key, so that the time it takes reveals nothing.
        valid = hmac.compare_digest(sent, key.sha256 if key else _NO_DIGEST)
        if key and key.previous_sha256 and now_s < key.previous_until_s:
            valid = hmac.compare_digest(sent, key.previous_sha256) or valid
        if key is None or not valid:
            raise Problem("unauthenticated", "The key is unknown, or was rotated or removed.")
        if key.expires_at is not None and now_s >= key.expires_at.timestamp():
            raise Problem("unauthenticated", "The key has expired.")
        cached = self._principals.get(key.id)
        if cached is None or cached[0] is not key:
            cached = self._principals[key.id] = (key, _principal_of(key))
        return cached[1]


def _principal_of(key: Key) -> Principal:
    return Principal(
        key=key.id,
        scopes=frozenset(key.scopes),
        routes=key.routes,
        sources=key.sources,
        requests_per_s=key.requests_per_s,
        feedback_per_minute=key.feedback_per_minute,
        outcomes_per_minute=key.outcomes_per_minute,
        tenant=tenant_of(key),
    )


def _without_keys(headers: Mapping[bytes, bytes], client: str | None, http_version: str) -> Principal:
    if client is not None and not is_loopback(client):
        raise Problem("forbidden", "Without API keys only this machine is served.")
    # nginx speaks HTTP/1.0 to what it is in front of and names itself nowhere, unless it is told to.
    if http_version == "1.0" or any(name in _OF_PROXIES or name.startswith(_FORWARDED) for name in headers):
        raise Problem(
            "forbidden",
            "The request came through a proxy, and there is no API key: create one with "
            "`fairlead create-key NAME --scope admin`.",
        )
    host = headers.get(b"host")
    # A web page can make a browser send requests to this machine under a host name of its own.
    name = (host or b"").decode("latin-1").strip().lower()
    name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
    if name.strip("[]") not in _LOCAL_HOSTS:
        raise Problem("forbidden", "Without API keys the header Host must name this machine.")
    return ANYBODY


class TokenBucket:
    """A bucket of tokens for each key. It fills at a rate, and holds what comes in ``burst_s`` seconds.

    >>> now = 0.0
    >>> bucket = TokenBucket(burst_s=2.0, clock=lambda: now)
    >>> [bucket.take("key", per_s=1.0) for _ in range(3)]
    [0.0, 0.0, 1.0]
    >>> now = 1.0
    >>> bucket.take("key", per_s=1.0)
    0.0
    """

    def __init__(self, *, burst_s: float = 2.0, clock: Callable[[], float] = monotonic) -> None:
        self._burst_s, self._clock = burst_s, clock
        self._levels: dict[str | None, tuple[float, float]] = {}

    def take(self, key: str | None, *, per_s: float, count: int = 1) -> float:
        """Take ``count`` tokens; the seconds to wait if there are too few, else 0."""
        now = self._clock()
        capacity = max(per_s * self._burst_s, float(count), 1.0)
        level, since = self._levels.get(key, (capacity, now))
        level = min(level + (now - since) * per_s, capacity)
        if level < count:
            self._levels[key] = (level, now)
            return (count - level) / per_s
        self._levels[key] = (level - count, now)
        return 0.0
