"""Snapshots that are of no use: the state is rebuilt without them."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from api.engine import snapshots
from api.engine.snapshots import save
from api.store import open_store
from tests.api.service.running import running
from tests.api.service.test_engine import fold_of, new_fold, play


def test_snapshots_of_a_log_that_was_put_back_from_a_copy_are_left_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with running(tmp_path, url) as service:
        play(service, 3)
    shutil.copy(tmp_path / "log.db", tmp_path / "copy.db")
    with running(tmp_path, url) as service:
        play(service, 20, seed=1)
    (latest, *_) = snapshots.found(tmp_path / "state")
    shutil.move(tmp_path / "copy.db", tmp_path / "log.db")
    with running(tmp_path, url, state_dir=tmp_path / "other") as service:
        play(service, 30, seed=2)
        assert service.service.engine.fold.seq > int(latest.name)
    store = open_store(url, read_only=True)
    assert snapshots.start(tmp_path / "state", store, new_fold).seq < int(latest.name)
    store.close()
    # What is saved from then on stays, though its place in the log is an earlier one.
    fold = fold_of(url)
    fold.seq = 1
    assert save(fold, tmp_path / "state", log="").exists()


def test_a_folder_of_snapshots_that_cannot_be_read_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state" / "\N{SUPERSCRIPT TWO}").mkdir(parents=True)
    with running(tmp_path) as service:
        play(service, 3)
    original = Path.iterdir

    def forbidden(self: Path) -> Any:
        if self.name == "state":
            raise PermissionError(13, "Permission denied", str(self))
        return original(self)

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with running(tmp_path) as service:
        assert service.get("/v1/routes/quickstart/state")["decisions"] == 3
