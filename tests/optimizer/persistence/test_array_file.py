from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fairlead.optimizer.features import FeatureFileError, TextProjection
from fairlead.optimizer.persistence.array_file import read_arrays, write_arrays
from fairlead.optimizer.types import Context
from tests.optimizer.features.requests import prompts


@pytest.fixture(scope="module")
def fitted() -> TextProjection:
    return TextProjection.fit(prompts(), width=4, max_terms=60)


@pytest.fixture
def saved(fitted: TextProjection, tmp_path: Path) -> Path:
    path = tmp_path / "projection.npz"
    fitted.save(path)
    return path


def test_round_trip_is_exact(fitted: TextProjection, saved: Path) -> None:
    loaded = TextProjection.load(saved)
    requests = [Context(text=text) for text in prompts()]
    assert loaded.version == fitted.version
    assert loaded.transform(requests).tobytes() == fitted.transform(requests).tobytes()
    for name, array in fitted.state().items():
        restored = loaded.state()[name]
        assert (restored.dtype, restored.shape, restored.tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )


def test_same_projection_gives_the_same_file(saved: Path, tmp_path: Path) -> None:
    TextProjection.load(saved).save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == saved.read_bytes()


def test_numpy_opens_it_without_pickles(fitted: TextProjection, saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as archive:
        assert set(archive.files) == set(fitted.state()) | {"kind", "format"}
        np.testing.assert_array_equal(archive["components"], fitted.state()["components"])


def test_any_changed_bit_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for position in [*range(0, len(content), 17), *range(len(content) - 100, len(content))]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        saved.write_bytes(damaged)
        with pytest.raises(FeatureFileError, match=r"projection\.npz is damaged, cut short or not a"):
            TextProjection.load(saved)


def test_any_lost_or_added_end_is_noticed(saved: Path) -> None:
    content = saved.read_bytes()
    for kept in [*range(0, len(content), 41), *range(len(content) - 100, len(content))]:
        saved.write_bytes(content[:kept])
        with pytest.raises(FeatureFileError, match=r"damaged, cut short"):
            TextProjection.load(saved)
    saved.write_bytes(content + b"\x00")
    with pytest.raises(FeatureFileError, match=r"damaged, cut short"):
        TextProjection.load(saved)


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    path.write_text("prompt,model\n" * 100)
    with pytest.raises(FeatureFileError, match=r"not a fairlead text projection file"):
        TextProjection.load(path)
    np.savez(path, idf=np.ones(3))
    with pytest.raises(FeatureFileError, match=r"restore it from a copy or fit and save again"):
        TextProjection.load(path)


def test_other_kind_or_format(fitted: TextProjection, tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    write_arrays(path, fitted.state(), kind="something else", version=1)
    with pytest.raises(FeatureFileError, match=r"is a something else file in format 1, but"):
        TextProjection.load(path)
    write_arrays(path, fitted.state(), kind="fairlead text projection", version=2)
    with pytest.raises(FeatureFileError, match=r"in format 2, but .* format 1 is needed: point to another"):
        TextProjection.load(path)


def test_intact_file_of_the_wrong_arrays(fitted: TextProjection, tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    state = fitted.state()
    write_arrays(path, {**state, "idf": state["idf"][1:]}, kind="fairlead text projection", version=1)
    with pytest.raises(FeatureFileError, match=r"odd\.npz cannot be used: array 'idf'"):
        TextProjection.load(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TextProjection.load(tmp_path / "none.npz")


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_failed_write_leaves_the_old_file(saved: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no space left")

    before = saved.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(OSError, match=r"no space left"):
            write_arrays(saved, {"new": np.ones(5)}, kind="test", version=1)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_synced_before_it_is_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, replace = os.fsync, os.replace

    def note_sync(file: int) -> None:
        steps.append("fsync")
        sync(file)

    def note_replace(*paths: Path) -> None:
        steps.append("replace")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3)}, kind="test", version=1)
    assert steps == ["fsync", "replace", "fsync"]
    assert read_arrays(tmp_path / "a.npz", kind="test", version=1)["x"].tolist() == [0, 1, 2]


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject arrays"):
        write_arrays(tmp_path / "a.npz", {"x": np.array([{}])}, kind="test", version=1)
    assert not list(tmp_path.iterdir())
