from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from obol.errors import ObolError
from obol.stack.state import Home, Identity
from obol.stack.turns import LOCK, at_work

if TYPE_CHECKING:
    from pathlib import Path


def test_one_at_a_time(tmp_path: Path) -> None:
    """Nobody else gets in while somebody is at work, and everybody does afterwards."""
    with at_work(tmp_path / "config"):
        with pytest.raises(ObolError, match="another"), at_work(tmp_path / "config"):
            raise AssertionError
        with at_work(tmp_path / "other"):
            pass

    with at_work(tmp_path / "config"):
        pass


def test_nothing_is_left_where_there_is_no_stack(tmp_path: Path) -> None:
    """The directory was made for the lock alone; a stack, or a file of the person's, keeps it."""
    with at_work(tmp_path / "config"):
        pass
    assert not (tmp_path / "config").exists()

    with at_work(tmp_path / "config"):
        Home(tmp_path / "config").establish(Identity("brave-otter", "podman"))
    assert (tmp_path / "config" / LOCK).exists()

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/obol.toml").write_text("")
    with at_work(tmp_path / "mine"):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["obol.toml"]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A directory that cannot be made is told of with a way out."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ObolError) as caught, at_work(tmp_path / "file/config"):
        raise AssertionError

    assert "sudo" in caught.value.hint


def test_a_lock_that_is_no_file(tmp_path: Path) -> None:
    """A named pipe in the place of the lock is told of, and nobody waits at it."""
    os.mkfifo(tmp_path / LOCK)

    with pytest.raises(ObolError, match="a named pipe"), at_work(tmp_path):
        raise AssertionError
