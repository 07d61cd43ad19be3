"""API keys: created, changed, rotated and removed, so that an administrator is always left."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from fairlead.api.problems import Problem
from fairlead.api.schemas.configuration import ChangeOut
from fairlead.api.schemas.keys import KeyIn, KeyMadeOut, KeyOut, RotateIn
from fairlead.api.service.auth import Principal, new_secret
from fairlead.api.service.changes import Declarations, patched
from fairlead.api.service.service import Service
from fairlead.api.state.configuration import Change, Key


class KeyService(Declarations[Key]):
    """The API keys of a service."""

    def __init__(self, service: Service) -> None:
        super().__init__(service, "key", missing="There is no key of this id.")

    async def create(self, body: KeyIn, principal: Principal, *, preview: bool) -> KeyMadeOut | ChangeOut:
        """Create a key; its secret is in the answer and nowhere else."""
        key_id = new_key_id()
        token, digest = new_secret(key_id)
        key = Key(**body.model_dump(), id=key_id, sha256=digest)
        change = await self.put(key_id, key, principal, preview=preview)
        return change if change.seq is None else KeyMadeOut(id=key_id, key=token, seq=change.seq)

    async def patch(
        self, key_id: str, patch: Mapping[str, Any], principal: Principal, *, preview: bool
    ) -> ChangeOut:
        """Change what a key may do; its secret stays."""
        async with self.service.changing:
            key = self.get(key_id)
            body = patched(key, patch, KeyIn, identity="id")
            return await self.put(key_id, key.model_copy(update=dict(body)), principal, preview=preview)

    async def rotate(self, key_id: str, body: RotateIn, principal: Principal) -> KeyMadeOut:
        """Give a key a new secret; the old one stays valid for a while."""
        token, digest = new_secret(key_id)
        until_s = self.service.clock() + body.overlap_s
        async with self.service.changing:
            key = self.get(key_id)
            update = {"sha256": digest, "previous_sha256": key.sha256, "previous_until_s": until_s}
            change = await self.put(key_id, key.model_copy(update=update), principal, preview=False)
        assert change.seq is not None
        return KeyMadeOut(id=key_id, key=token, seq=change.seq)

    async def put(self, name: str, body: BaseModel, principal: Principal, *, preview: bool) -> ChangeOut:
        """Create or replace a key; raises a problem for a limited administrator, or if none is left."""
        assert isinstance(body, Key)
        if "admin" in body.scopes and (body.routes is not None or body.sources is not None):
            raise Problem(
                "invalid",
                "A key of the scope admin can change any key, itself too, and so cannot be limited to routes "
                "or sources: leave out the limits, or the scope.",
            )
        self._check_admin_left({**self.all(), name: body})
        return await super().put(name, body, principal, preview=preview)

    def _check_removal(self, name: str) -> None:
        self._check_admin_left({key_id: key for key_id, key in self.all().items() if key_id != name})

    def _check_admin_left(self, keys: Mapping[str, Key]) -> None:
        """Raise a problem if no key could change anything any more."""
        now_s = self.service.clock()
        for key in keys.values():
            valid = key.expires_at is None or key.expires_at.timestamp() > now_s
            if valid and "admin" in key.scopes:
                return
        raise Problem("conflict", "No valid key of the scope admin would be left: create another one first.")


def key_answer(key: Key) -> KeyOut:
    """Return a key as it is answered, without its digests."""
    return KeyOut(**key.model_dump(include={*KeyIn.model_fields, "id"}))


def new_key_id() -> str:
    """Return the id of a new key; it is not secret."""
    return secrets.token_hex(6)


def key_change(name: str, scopes: tuple[Any, ...]) -> tuple[str, Change]:
    """Return a new key and the change that creates it, for the command line."""
    key_id = new_key_id()
    token, digest = new_secret(key_id)
    note = f"made on the command line on {datetime.now(UTC).date()}"
    key = Key(name=name, scopes=scopes, id=key_id, sha256=digest, note=note)
    return token, Change("key", key_id, "put", key.model_dump(mode="json"))
