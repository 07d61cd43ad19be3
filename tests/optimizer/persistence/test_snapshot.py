import os

import numpy as np
import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.array_file import write_arrays
from fairlead.optimizer.persistence.snapshot import SnapshotError, read_snapshot, write_snapshot

META = {"route": "supporté", "order": 2**62, "share": 0.1 + 0.2, "task": None}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "a/precision": rng.normal(size=(3, 4, 4)),
        "special": np.array([np.nan, np.inf, -0.0, 5e-324]),
        "orders": np.arange(5, dtype=np.int64),
        "names": np.array(["openai/x", "é"]),
        "mask": np.array([True, False]),
        "scalar": np.array(2.5),
        "none": np.empty((0, 7)),
        "columns": np.asfortranarray(rng.normal(size=(3, 2))),
        # As the file's own labels are called.
        "kind": np.array([1]),
        "format": np.array([2]),
        "meta": np.array([3]),
    }


def test_what_is_written_is_what_is_read(tmp_path):
    path = tmp_path / "s.npz"
    write_snapshot(path, arrays(), meta=META)
    restored, meta = read_snapshot(path)
    assert meta == META
    assert restored.keys() == arrays().keys()
    for name, array in arrays().items():
        assert (restored[name].dtype, restored[name].shape) == (array.dtype, array.shape)
        assert restored[name].tobytes() == array.tobytes(), name
    write_snapshot(path, {}, meta={})
    assert read_snapshot(path) == ({}, {})


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_snapshot(tmp_path / name, arrays(), meta=META)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_numpy_opens_it_without_pickles(tmp_path):
    path = tmp_path / "s.npz"
    write_snapshot(path, arrays(), meta=META)
    with np.load(path, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def test_damage_at_any_byte_is_noticed(tmp_path):
    path = tmp_path / "s.npz"
    write_snapshot(path, {"x": np.arange(4.0)}, meta={"order": 3})
    whole = path.read_bytes()
    for i in range(len(whole)):
        for flipped in (0x01, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[i] ^= flipped
            path.write_bytes(damaged)
            with pytest.raises(SnapshotError, match="rebuilt from the log"):
                read_snapshot(path)


def test_a_snapshot_cut_or_lengthened_is_noticed(tmp_path):
    path = tmp_path / "s.npz"
    write_snapshot(path, {"x": np.arange(4.0)}, meta={})
    whole = path.read_bytes()
    for content in (*(whole[:end] for end in range(len(whole))), whole + b"\0", b"\0" + whole, whole * 2):
        path.write_bytes(content)
        with pytest.raises(SnapshotError):
            read_snapshot(path)


@pytest.mark.parametrize(("kind", "version"), [("vocabulary", 1), ("snapshot", 2), ("snapshot", 1)])
def test_another_kind_or_format_or_content_is_refused(tmp_path, kind, version):
    path = tmp_path / "s.npz"
    write_arrays(path, {"x": np.arange(3)}, kind=kind, version=version)
    with pytest.raises(SnapshotError, match="delete it"):
        read_snapshot(path)


def test_no_snapshot_yet_is_not_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_snapshot(tmp_path / "absent.npz")


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), [1], b"x"])
def test_a_fact_that_would_not_come_back_is_refused(tmp_path, value):
    with pytest.raises(InvalidInput, match="meta 'fact'"):
        write_snapshot(tmp_path / "s.npz", {}, meta={"fact": value})
    assert list(tmp_path.iterdir()) == []


def test_an_array_of_objects_is_refused_and_the_old_snapshot_stays(tmp_path):
    path = tmp_path / "s.npz"
    write_snapshot(path, {"x": np.arange(3)}, meta={})
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="Python objects"):
        write_snapshot(path, {"x": np.array([object()])}, meta={})
    assert path.read_bytes() == before


def test_a_crash_while_writing_leaves_the_old_snapshot(tmp_path, monkeypatch):
    path = tmp_path / "s.npz"
    write_snapshot(path, {"x": np.arange(3)}, meta={"order": 1})

    def crash(*_):
        raise OSError("no space left")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, crash)
            with pytest.raises(OSError, match="no space left"):
                write_snapshot(path, {"x": np.zeros(9)}, meta={"order": 2})
        assert read_snapshot(path)[1] == {"order": 1}
        assert list(tmp_path.iterdir()) == [path]
