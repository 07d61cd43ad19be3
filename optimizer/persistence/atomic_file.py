"""Atomic writing of files: after a crash there is either the old file or the new one, whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fairlead.optimizer.errors import InvalidInput


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a path in the same folder to write to; when the block ends, that file replaces ``path``.

    If the block raises, nothing is left of what it wrote, and the old file stays. The content is on the
    disk before it gets its name. A symbolic link is replaced itself, not the file that it points to; a
    folder, a pipe or a device raises `InvalidInput`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path} is a folder, a pipe or a device: name a file instead")
    # In the same folder, because a rename is atomic only within one file system.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield partial
        _sync(partial, os.O_RDWR)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename is synced anyway
        _sync(path.parent, os.O_RDONLY)


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write text (as UTF-8, line breaks as they are) or bytes to ``path``, replacing what was there."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
