"""Who is calling, and what they may do.

A key is shown once, when it is made: ``flk_ID.SECRET``. Only the SHA-256 of it is kept, in the log. While
there is no key at all, everybody on this machine may do everything, and nobody from elsewhere anything.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable
from functools import lru_cache
from time import monotonic
from typing import Final, NamedTuple

from fairlead.api.problems import Problem
from fairlead.api.state.configuration import Configuration, Key
from fairlead.optimizer.errors import InvalidInput

PREFIX: Final = "flk_"
_LONGEST: Final = 200
_NOBODY: Final = "0" * 64
_LOCAL_HOSTS: Final = {"localhost", "127.0.0.1", "::1"}


class Caller(NamedTuple):
    """Somebody who may do something. ``key`` is the id of the key, None while there are no keys."""

    key: str | None
    scopes: frozenset[str]
    routes: tuple[str, ...] | None
    sources: tuple[str, ...] | None
    requests_per_s: float | None
    feedback_per_minute: int | None

    def require(self, scope: str) -> None:
        """Raise a problem where the key lacks the scope. ``admin`` includes every other."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Problem("forbidden", f"The key lacks the scope {scope!r}.")

    def may_route(self, route: str) -> bool:
        """Whether the key may be used for a route."""
        return self.routes is None or route in self.routes

    def require_route(self, route: str) -> None:
        """Raise a problem where the key may not be used for the route."""
        if not self.may_route(route):
            raise Problem("forbidden", "The key may not be used for this route.")


ANYBODY: Final = Caller(None, frozenset({"admin"}), None, None, None, None)


def new_secret(key_id: str) -> tuple[str, str]:
    """A new key, and the SHA-256 that is kept of it."""
    token = f"{PREFIX}{key_id}.{secrets.token_urlsafe(32)}"
    return token, digest(token)


def new_id() -> str:
    """The id of a new key; it is no secret."""
    return secrets.token_hex(6)


def digest(token: str) -> str:
    """What is kept of a key. It has 256 random bits, so that one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


@lru_cache(maxsize=4_096)
def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, *, has_keys: bool) -> None:
    """Raise `InvalidInput` for an address that others can reach, while everybody may do everything."""
    if not has_keys and not is_loopback(host):
        raise InvalidInput(
            f"host is {host!r}, which other machines can reach, and there is no API key: create one with "
            "`fairlead create-key NAME --scope admin`, or listen on 127.0.0.1"
        )


class Authority:
    """Tells who calls, from the headers of a request and the keys of the configuration."""

    def __init__(self, configuration: Callable[[], Configuration], clock: Callable[[], float]) -> None:
        self._configuration, self._clock = configuration, clock
        self._callers: dict[str, tuple[Key, Caller]] = {}

    def caller(self, authorization: bytes | None, *, host: bytes | None, client: str | None) -> Caller:
        """The caller; a problem where there is no valid key and one is needed."""
        keys = self._configuration().keys
        if not keys:
            return self._without_keys(host, client)
        if authorization is None:
            raise Problem("unauthenticated", "Send the header Authorization: Bearer flk_...")
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token.startswith(PREFIX) or len(token) > _LONGEST:
            raise Problem("unauthenticated", "Send the header Authorization: Bearer flk_...")
        key = keys.get(token[len(PREFIX) :].partition(".")[0])
        given, now_s = digest(token), self._clock()
        # Compared even where there is no such key, so that the time taken says nothing.
        valid = hmac.compare_digest(given, key.sha256 if key else _NOBODY)
        if key and key.previous_sha256 and now_s < key.previous_until_s:
            valid = hmac.compare_digest(given, key.previous_sha256) or valid
        if key is None or not valid:
            raise Problem("unauthenticated", "The key is not known, or was rotated or removed.")
        if key.expires_at is not None and now_s >= key.expires_at.timestamp():
            raise Problem("unauthenticated", "The key has expired.")
        return self._known(key)

    def _known(self, key: Key) -> Caller:
        kept = self._callers.get(key.id)
        if kept is None or kept[0] is not key:
            caller = Caller(
                key.id,
                frozenset(key.scopes),
                key.routes,
                key.sources,
                key.requests_per_s,
                key.feedback_per_minute,
            )
            kept = self._callers[key.id] = (key, caller)
        return kept[1]

    @staticmethod
    def _without_keys(host: bytes | None, client: str | None) -> Caller:
        if client is not None and not is_loopback(client):
            raise Problem("forbidden", "Without API keys only this machine is served.")
        # A page on the web can make a browser send requests to this machine, under a name of its own.
        name = (host or b"").decode("latin-1").strip().lower()
        name = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
        if name.strip("[]") not in _LOCAL_HOSTS:
            raise Problem("forbidden", "Without API keys the header Host must name this machine.")
        return ANYBODY


class Allowance:
    """A bucket of tokens for each key: so much a second, twice as much at once."""

    def __init__(self, *, burst_s: float = 2.0, clock: Callable[[], float] = monotonic) -> None:
        self._burst_s, self._clock = burst_s, clock
        self._left: dict[str | None, tuple[float, float]] = {}

    def take(self, key: str | None, *, per_s: float, count: int = 1) -> float:
        """Take from the key's bucket; seconds to wait where there is not enough, else 0."""
        now = self._clock()
        most = max(per_s * self._burst_s, float(count), 1.0)
        left, since = self._left.get(key, (most, now))
        left = min(left + (now - since) * per_s, most)
        if left < count:
            self._left[key] = (left, now)
            return (count - left) / per_s
        self._left[key] = (left - count, now)
        return 0.0
