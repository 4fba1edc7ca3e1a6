from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from obol.errors import ObolError
from obol.stack.data import claim, is_ours, remove

if TYPE_CHECKING:
    from pathlib import Path


def test_a_directory_of_ours(tmp_path: Path) -> None:
    """One that was made for a stack is that stack's, and nobody else's."""
    claim(tmp_path / "data", tmp_path / "config")
    claim(tmp_path / "data", tmp_path / "other")

    assert is_ours(tmp_path / "data", tmp_path / "config")
    assert not is_ours(tmp_path / "data", tmp_path / "other")


def test_a_directory_of_the_persons(tmp_path: Path) -> None:
    """One with something in it stays theirs."""
    (tmp_path / "thesis").write_text("")

    claim(tmp_path, tmp_path / "config")

    assert not is_ours(tmp_path, tmp_path / "config")


def test_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with all that is in it; where it cannot, the way out is told."""
    claim(tmp_path / "data", tmp_path)
    remove(tmp_path / "data")
    remove(tmp_path / "data")
    assert not (tmp_path / "data").exists()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(ObolError) as caught:
        remove(tmp_path)
    assert "sudo rm" in caught.value.hint


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A directory that cannot be made is told of."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ObolError):
        claim(tmp_path / "file/data", tmp_path)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """A directory whose name no format of a cluster can hold is refused, with the variable that names another one."""
    odd = tmp_path / os.fsdecode(b"h\xf6me")

    for data, config, variable in ((odd, tmp_path, "OBOL_DATA_DIR"), (tmp_path, odd, "OBOL_CONFIG_DIR")):
        with pytest.raises(ObolError, match=r"h\\xf6me cannot be used") as caught:
            claim(data, config)
        assert variable in caught.value.hint
