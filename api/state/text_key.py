"""The key with which terms of texts are hashed: a file outside the log, made at the first start."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from fairlead.api.settings import Settings
from fairlead.api.state.served_route import ServedRoute
from fairlead.api.store import sqlite_path
from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.features.terms import MIN_KEY_BYTES, TermCounter

KEY_BYTES: Final = 32
_LOG = logging.getLogger("fairlead.text")


def key_path(settings: Settings) -> Path | None:
    """Return the file of the key; None if there is no place that every process of the log has.

    Beside a SQLite log it is FILE.key; the processes of a PostgreSQL log may be on several machines.
    """
    if settings.text_key_file is not None:
        return settings.text_key_file
    if settings.database_url.startswith("sqlite:"):
        path = sqlite_path(settings.database_url)
        return Path(f"{path}.key")
    return None


def term_counter(settings: Settings) -> TermCounter | None:
    """Return the counter of the deployment, with a new key if it has none yet; None: texts are not read.

    Raises `InvalidInput` for a file that holds no key.
    """
    if not settings.text_features:
        return None
    path = key_path(settings)
    if path is None:
        _LOG.warning("text_key_file is not set, so that no features of texts are learned")
        return None
    try:
        return TermCounter(_read(path) or _create(path))
    except OSError as error:
        _LOG.warning(
            "%s cannot be written (%s), so that no features of texts are learned", path, error.strerror
        )
        return None


def text_problem(served: ServedRoute, counter: TermCounter | None) -> str | None:
    """Say why this process does not read the texts of a route that learns features of them; None: it does."""
    encoder = served.router.text.encoder
    if not served.learns_text:
        return None
    if counter is None:
        return "text features are off: text_features is false, or there is no text_key_file"
    if encoder is not None and encoder.key_id != counter.key_id:
        return "earlier texts were hashed with another key: restore it, or wait for the next fit"
    return None


def check_key(settings: Settings) -> None:
    """Raise `InvalidInput` if the file of the key holds none; changes nothing."""
    path = key_path(settings)
    if settings.text_features and path is not None:
        with suppress(OSError):
            _read(path)


def _read(path: Path) -> bytes | None:
    """Return the key of a file; None if there is no file."""
    try:
        text = path.read_bytes().strip()
    except FileNotFoundError:
        return None
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise InvalidInput(
            f"{path}: holds no key of {MIN_KEY_BYTES} bytes or more in hexadecimal digits: restore it from a "
            "copy, or remove it and features of texts are learned anew"
        )
    return key[:KEY_BYTES]


def _create(path: Path) -> bytes:
    """Write a new key that only the owner of the process may read; that of a quicker process stands."""
    key, part = secrets.token_bytes(KEY_BYTES), path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link is made whole or not at all, and never over an existing file.
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
    return _read(path) or key
