"""Snapshots of the fold: a cache, checksummed, thrown away and rebuilt from the log when anything is wrong.

A snapshot is a folder named after the place in the log that it stands for: one file for the fold and one
for each router. It counts once its folder has its final name.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from fairlead.api.state.fold import Fold
from fairlead.api.state.runtime import without_collection
from fairlead.api.store import retention
from fairlead.api.store.base import Query, Row, Store
from fairlead.optimizer.persistence.array_file import read_arrays, write_arrays

KEPT: Final = 2
_DAMAGE: Final = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, zipfile.BadZipFile,
    AssertionError,
)  # fmt: skip
_KIND, _FORMAT = "fairlead-fold", 1
_LOG = logging.getLogger("fairlead.snapshots")


def save(fold: Fold, folder: Path, *, log: str) -> Path:
    """Write the fold of a ``log`` below ``folder``; what was there stays until the new one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{fold.seq:020d}"
    if final.exists():
        return final
    part = folder / f".{fold.seq:020d}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        names = sorted(fold.routes)
        for i, name in enumerate(names):
            fold.routes[name].router.save(part / f"route{i}.npz", offset=fold.seq)
        state = json.dumps(
            {"names": names, "log": log, "waits": fold.waits, **fold.state()}, allow_nan=False
        ).encode("ascii")
        content = {"state": np.frombuffer(state, dtype=np.uint8)}
        write_arrays(part / "fold.npz", content, kind=_KIND, version=_FORMAT)
        os.replace(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    # Those beyond may be of another log, and would take the place of what was just saved.
    for old in [one for one in found(folder) if one.name <= final.name][KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def found(folder: Path) -> list[Path]:
    """The snapshots below a folder, the latest first; none where it cannot be read, since it is a cache."""
    try:
        names = [one for one in folder.iterdir() if one.name.isascii() and one.name.isdigit()]
        return sorted((one for one in names if one.is_dir()), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        _LOG.warning("%s cannot be read (%s)", folder, error.strerror)
        return []


def load(path: Path, new_fold: Callable[[], Fold], *, log: str) -> Fold:
    """The fold of a log that was saved; raises where one bit of it is not as it was written."""
    content = read_arrays(path / "fold.npz", kind=_KIND, version=_FORMAT)
    state = json.loads(content["state"].tobytes())
    fold = new_fold()
    if state["log"] != log or state["waits"] != list(fold.waits):
        raise ValueError("saved of another log, or with other waiting times")
    fold.restore(state)
    for i, name in enumerate(state["names"]):
        offset = fold.routes[name].router.load(path / f"route{i}.npz")
        if offset != fold.seq:
            raise ValueError(f"route {name} was saved at {offset}, and the rest at {fold.seq}")
    return fold


def start(folder: Path, store: Store, new_fold: Callable[[], Fold]) -> Fold:
    """Where to begin to fold: the latest snapshot that is whole and of this log, else the base, else nothing.

    Snapshots from before the base are of no use, since the events after them may be gone.
    """
    base, last = retention.base_seq(store), store.last_seq()
    for path in found(folder):
        if not base <= int(path.name) <= last:
            _LOG.warning("%s is of another log, or older than the base: left out", path)
            continue
        try:
            return load(path, new_fold, log=identity(store, int(path.name)))
        except _DAMAGE as error:
            _LOG.warning("%s cannot be used (%s): the state is rebuilt", path, type(error).__name__)
    if base:
        # Damaged, it is not left out: without it what it stands for could not be had again.
        with TemporaryDirectory() as temporary:
            for name, content in retention.base_files(store, base).items():
                (Path(temporary) / Path(name).name).write_bytes(content)
            return load(Path(temporary), new_fold, log=identity(store, 0))
    return new_fold()


def rebuild(
    fold: Fold,
    store: Store,
    *,
    until: int,
    progress: Callable[[int], None] = lambda seq: None,
    seen: Callable[[Row], None] = lambda row: None,
) -> Fold:
    """Fold the log up to a place, page by page."""
    with without_collection():
        while fold.seq < until:
            rows = store.rows(Query(after=fold.seq, until=until))
            if not rows:
                break
            for row in rows:
                fold.apply(row)
                seen(row)
            progress(fold.seq)
    return fold


def identity(store: Store, seq: int) -> str:
    """What tells this log up to a place from another: its first event, and the one at that place.

    A log that was put back from a copy begins like the one that it was copied from, and goes on otherwise.
    With 0 the first event alone: the one at the place of a base is removed.
    """
    # A change of the configuration, since those are never removed.
    rows = store.rows(Query(limit=1, kind="config"))
    if seq:
        rows += store.rows(Query(after=seq - 1, until=seq))
    return " ".join(f"{row.uid}@{row.at_s!r}" for row in rows)
