"""Snapshots of the fold: a cache, checksummed, discarded and rebuilt from the log if anything is wrong.

A snapshot is a folder named after its place in the log, with one file for the fold and one for each router.
It counts once its folder has its final name.
"""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from fairlead.api.settings import Settings
from fairlead.api.state import old_bases
from fairlead.api.state.fold import FILE_FORMAT, FILE_KIND, Fold, SavedFold
from fairlead.api.state.runtime import pause_garbage_collection
from fairlead.api.store import Query, Row, Store, open_store, retention
from fairlead.optimizer.persistence.array_file import read_arrays, write_arrays
from fairlead.optimizer.types.arrays import packed, unpacked

KEPT: Final = 2
_DAMAGE: Final = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, EOFError, zipfile.BadZipFile,
    AssertionError,
)  # fmt: skip
_LOG = logging.getLogger("fairlead.snapshots")


def take(settings: Settings) -> Path:
    """Fold the log, without stopping the processes that serve, and save a snapshot in ``state_dir``."""
    with closing(open_store(settings.database_url, read_only=True)) as store:
        fold = latest_fold(settings.state_dir, store, partial(new_fold, settings))
        rebuild(fold, store, until=store.last_seq())
        log = log_fingerprint(store, fold.seq)
    return save(fold, settings.state_dir, log=log)


def take_base(settings: Settings, folder: Path, until: int) -> list[list[str | float]]:
    """Save the state as of ``until`` in an empty folder; returns the roll-ups since the last base."""
    rollup = retention.Rollup()
    with closing(open_store(settings.database_url, read_only=True)) as store:
        # From the base before it: the snapshots in ``state_dir`` may stand for a later seq already.
        fold = latest_fold(folder, store, partial(new_fold, settings))
        rebuild(fold, store, until=min(until, store.last_seq()), seen=rollup.add)
        log = log_fingerprint(store, 0)
    save(fold, folder, log=log)
    return rollup.table()


def new_fold(settings: Settings, *, learn: bool = True) -> Fold:
    """Return an empty fold with the limits of the settings."""
    return Fold(parked_wait_s=settings.parked_wait_s, parked_limit=settings.parked_limit, learn=learn)


def save(fold: Fold, folder: Path, *, log: str) -> Path:
    """Save a fold of a ``log`` below ``folder``; older snapshots stay until the new one is whole."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    final = folder / f"{fold.seq:020d}"
    if final.exists():
        return final
    part = folder / f".{fold.seq:020d}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    try:
        for i, name in enumerate(sorted(fold.routes)):
            fold.routes[name].router.save(part / f"route{i}.npz", offset=fold.seq)
        content = {"log": np.array(log), "fold": packed(fold.state())}
        write_arrays(part / "fold.npz", content, kind=FILE_KIND, version=FILE_FORMAT)
        for path in part.iterdir():
            path.chmod(0o600)
        os.replace(part, final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    # Later ones may be of another log, and would crowd out what was just saved.
    for old in [path for path in paths(folder) if path.name <= final.name][KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def paths(folder: Path) -> list[Path]:
    """Return the snapshots below a folder, the latest first; none if it cannot be read."""
    try:
        names = [path for path in folder.iterdir() if path.name.isascii() and path.name.isdigit()]
        return sorted((path for path in names if path.is_dir()), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        _LOG.warning("%s cannot be read (%s)", folder, error.strerror)
        return []


def load(path: Path, new_fold: Callable[[], Fold], *, log: str) -> Fold:
    """Load a fold of ``log``; raises if a single bit of it is not as it was saved."""
    with pause_garbage_collection():
        return _load(path, new_fold, log=log)


def _load(path: Path, new_fold: Callable[[], Fold], *, log: str) -> Fold:
    content = read_arrays(path / "fold.npz", kind=FILE_KIND, version=FILE_FORMAT)
    state, expected = unpacked(content["fold"], SavedFold), new_fold().pending
    if str(content["log"]) != log:
        raise ValueError("saved from another log")
    if (state.parked_wait_s, state.parked_limit) != (expected.wait_s, expected.limit):
        raise ValueError("saved with other limits for waiting events")
    fold = Fold.from_state(state)
    for i, name in enumerate(sorted(fold.routes)):
        offset = fold.routes[name].router.load(path / f"route{i}.npz")
        if offset != fold.seq:
            raise ValueError(f"route {name} was saved at {offset}, and the rest at {fold.seq}")
    return fold


def latest_fold(folder: Path, store: Store, new_fold: Callable[[], Fold]) -> Fold:
    """Load the latest intact snapshot of this log, else the base, else a new fold.

    Snapshots from before the base are of no use, since the events after them may have been removed.
    """
    base, last = retention.base_seq(store), store.last_seq()
    for path in paths(folder):
        if not base <= int(path.name) <= last:
            _LOG.warning("%s is from another log, or older than the base: it is not used", path)
            continue
        try:
            return load(path, new_fold, log=log_fingerprint(store, int(path.name)))
        except _DAMAGE as error:
            _LOG.warning("%s cannot be used (%s): the state is rebuilt", path, type(error).__name__)
    if base:
        # A damaged base is an error: without it, the events that it stands for are lost.
        with TemporaryDirectory() as temporary:
            for name, content in retention.base_files(store, base).items():
                (Path(temporary) / Path(name).name).write_bytes(content)
            old_bases.upgrade(Path(temporary))
            return load(Path(temporary), new_fold, log=log_fingerprint(store, 0))
    return new_fold()


def rebuild(
    fold: Fold,
    store: Store,
    *,
    until: int,
    progress: Callable[[int], None] = lambda seq: None,
    seen: Callable[[Row], None] = lambda row: None,
) -> Fold:
    """Fold the log up to ``until``, page by page."""
    with pause_garbage_collection():
        while fold.seq < until:
            rows = store.rows(Query(after=fold.seq, until=until))
            if not rows:
                break
            for row in rows:
                fold.apply(row)
                seen(row)
            progress(fold.seq)
    return fold


def log_fingerprint(store: Store, seq: int) -> str:
    """Fingerprint of the log up to ``seq``: the uids of its first event and of the event at ``seq``.

    A log that was restored from a copy starts like the original and continues differently. For 0 it is the
    first event alone, since the event at the place of a base is removed.
    """
    # The first change of the configuration, since those are never removed.
    rows = store.rows(Query(limit=1, kind="config"))
    if seq:
        rows += store.rows(Query(after=seq - 1, until=seq))
    return " ".join(f"{row.uid}@{row.at_s!r}" for row in rows)
