"""Snapshots that are of no use: the state is rebuilt without them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.api.service import upkeep
from fairlead.api.state import snapshots
from fairlead.api.state.fold import Fold
from fairlead.api.state.snapshots import save
from fairlead.api.store import open_store
from tests.api.running import running
from tests.api.state.folds import fold_of, play, same
from tests.trials.states import new_fold


def test_a_damaged_snapshot_is_left_out_and_rebuilt(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with running(tmp_path, url) as service:
        play(service, 20)
    (path,) = snapshots.paths(tmp_path / "state")
    store = open_store(url, read_only=True)
    last = store.last_seq()
    whole = {file: file.read_bytes() for file in path.iterdir()}
    assert len(whole) == 2
    rng = np.random.default_rng(0)

    def loaded() -> Fold:
        return snapshots.latest_fold(tmp_path / "state", store, new_fold)

    assert loaded().seq == last
    for i in range(60):
        file = sorted(whole)[i % 2]
        content = bytearray(whole[file])
        if i < 40:
            content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        else:
            del content[rng.integers(len(content)) :]
        file.write_bytes(bytes(content))
        assert loaded().seq == 0, f"damage {i} was not noticed"
        file.write_bytes(whole[file])
    with pytest.raises(ValueError, match="another log"):
        snapshots.load(path, new_fold, log="another")
    store.close()
    (path / "fold.npz").write_bytes(b"")
    with running(tmp_path, url) as service:
        assert service.get("/v1/routes/quickstart/state")["decisions"] == 20
        assert same(service.service.engine.fold, fold_of(url), tmp_path)


def test_a_snapshot_can_be_taken_while_it_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, snapshot_every_s=0.2) as service:
        play(service, 10)
        service.until(lambda: bool(snapshots.paths(tmp_path / "state")))
        assert service.decide()["fallback_used"] is None


def test_who_rebuilt_much_saves_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as service:
        play(service, 10)
    shutil.rmtree(tmp_path / "state")
    monkeypatch.setattr(upkeep, "SLOW_REBUILD", 10)
    with running(tmp_path) as service:
        service.until(lambda: bool(snapshots.paths(tmp_path / "state")))
        seq = service.service.engine.fold.seq
    # The next start takes that snapshot, and has nothing to save.
    with running(tmp_path) as service:
        assert service.service.engine.rebuilt < 10 <= seq


def test_snapshots_of_a_log_that_was_put_back_from_a_copy_are_left_out(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    with running(tmp_path, url) as service:
        play(service, 3)
    shutil.copy(tmp_path / "log.db", tmp_path / "copy.db")
    with running(tmp_path, url) as service:
        play(service, 20, seed=1)
    (latest, *_) = snapshots.paths(tmp_path / "state")
    shutil.move(tmp_path / "copy.db", tmp_path / "log.db")
    with running(tmp_path, url, state_dir=tmp_path / "other") as service:
        play(service, 30, seed=2)
        assert service.service.engine.fold.seq > int(latest.name)
    store = open_store(url, read_only=True)
    assert snapshots.latest_fold(tmp_path / "state", store, new_fold).seq < int(latest.name)
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
