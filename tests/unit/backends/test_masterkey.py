import stat
from pathlib import Path

import pytest

from obol.backends.masterkey import FILE, master_key
from obol.errors import ObolError


def test_made_once(tmp_path: Path) -> None:
    """The key is made when it is first asked for, kept for its owner alone, and the same from then on."""
    config = tmp_path / "config"

    key = master_key(config)

    assert key.startswith("sk-")
    assert len(key) > 40
    assert stat.S_IMODE((config / FILE).stat().st_mode) == 0o600
    assert master_key(config) == key
    assert [path.name for path in config.iterdir()] == [FILE]


def test_each_stack_has_its_own(tmp_path: Path) -> None:
    """Two directories, two keys."""
    assert master_key(tmp_path / "a") != master_key(tmp_path / "b")


def test_own_key_is_kept_and_closed(tmp_path: Path) -> None:
    """A key that the person put there is used, and its file closed to others."""
    (tmp_path / FILE).write_text("sk-mine\n")
    (tmp_path / FILE).chmod(0o644)

    assert master_key(tmp_path) == "sk-mine"
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_empty_file_is_replaced(tmp_path: Path) -> None:
    """A file without a key is none."""
    (tmp_path / FILE).touch()

    assert master_key(tmp_path).startswith("sk-")


def test_somebody_was_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two commands at the same time both get the key of the one whose file was there first."""

    def lost(*_arguments: object, **_options: object) -> None:
        (tmp_path / FILE).write_text("sk-theirs\n")
        raise FileExistsError

    monkeypatch.setattr("os.link", lost)

    assert master_key(tmp_path) == "sk-theirs"
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_not_a_file(tmp_path: Path) -> None:
    """What is in the way of the file is told of."""
    (tmp_path / FILE).mkdir()

    with pytest.raises(ObolError, match=f"cannot be kept in {tmp_path / FILE}"):
        master_key(tmp_path)


def test_unusable_directory(tmp_path: Path) -> None:
    """A directory that cannot be made is told of."""
    (tmp_path / "config").touch()

    with pytest.raises(ObolError, match="cannot be kept"):
        master_key(tmp_path / "config")
