"""Ids, digests and random numbers of requests."""

from __future__ import annotations

import hashlib
import secrets
from hashlib import blake2b
from random import SystemRandom

from pydantic import BaseModel

draw_uniform = SystemRandom().random
"""A random number in [0, 1), as hard to predict as a secret, so that nobody can predict a choice."""


def new_id(prefix: str) -> str:
    """Return a new id: the prefix and 96 random bits in hexadecimal."""
    return prefix + secrets.token_hex(12)


def idempotent_id(prefix: str, key_id: str | None, idempotency_key: str) -> str:
    """Return the id that one API key always gets for the same Idempotency-Key, and no other key gets."""
    return f"{prefix}_{hashlib.sha256(f'{key_id}:{idempotency_key}'.encode()).hexdigest()[:32]}"


def digest_of(body: BaseModel) -> str:
    """Digest of a body without its id: equal if two requests under one id ask for the same."""
    return blake2b(body.model_dump_json(exclude={"id"}).encode(), digest_size=16).hexdigest()
