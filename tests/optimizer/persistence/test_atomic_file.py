"""A file is written whole or not at all; `test_array_file` has the order of the steps and their failures."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fairlead.optimizer.errors import InvalidInput
from fairlead.optimizer.persistence.atomic_file import atomic_path, write_atomically


@pytest.mark.parametrize("content", ["größer\r\n", b"\x00\xff"])
def test_the_content_replaces_what_was_there(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="half way"), atomic_path(path) as partial:
        partial.write_text("ne")
        raise ValueError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_another_program_may_write_the_content(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt") as partial:
        assert partial.parent == tmp_path
        os.system(f"printf new > '{partial}'")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"


def test_the_file_has_the_permissions_of_any_other_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    write_atomically(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_is_replaced_itself(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("target")
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", "new")
    assert not (tmp_path / "link").is_symlink()
    assert ((tmp_path / "link").read_text(), (tmp_path / "target").read_text()) == ("new", "target")


def test_a_pipe_or_a_folder_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InvalidInput, match="name a file instead"):
            write_atomically(path, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
