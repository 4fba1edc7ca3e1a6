from pathlib import Path

import pytest

from obol.machine.scratch import PREFIX, Scratch


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """Directories of a stack, which are beside its other files."""
    return Scratch(tmp_path / "pulls")


def test_gone_with_what_used_it(scratch: Scratch) -> None:
    """A directory is for us alone, and goes with all that is in it, also where what used it failed."""

    def failing() -> None:
        with scratch.directory() as path:
            assert path is not None
            assert (path.parent, path.stat().st_mode & 0o777) == (scratch.home, 0o700)
            (path / "storage123").mkdir()
            (path / "storage123" / "layer").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing()

    assert list(scratch.home.iterdir()) == []


def test_in_the_place_that_the_person_named(tmp_path: Path) -> None:
    """TMPDIR is where there is room: directories are there then, and still go."""
    room = tmp_path / "room"
    room.mkdir()
    scratch = Scratch(tmp_path / "pulls", str(room))

    with scratch.directory() as path:
        assert path is not None
        assert path.parent == room

    assert list(room.iterdir()) == []
    with Scratch(tmp_path / "pulls", str(tmp_path / "absent")).directory() as path:
        assert path is not None
        assert path.parent == tmp_path / "pulls"


def test_left_behind(tmp_path: Path) -> None:
    """What was left by a command that was killed is swept, wherever it is."""
    room = tmp_path / "room"
    room.mkdir()
    killed = [scratch.directory() for scratch in (Scratch(tmp_path / "pulls", str(room)), Scratch(tmp_path / "pulls"))]
    for one in killed:
        left = one.__enter__()
        assert left is not None
        (left / "layer").write_bytes(b"x")
    (room / "another").mkdir()

    Scratch(tmp_path / "pulls").sweep()

    assert [path.name for path in room.iterdir()] == ["another"]
    assert list((tmp_path / "pulls").iterdir()) == []


@pytest.mark.parametrize("text", ["", "relative/obol-pull-x", "/", "{room}", "\0", b"\xff"])
def test_a_note_that_names_something_else(tmp_path: Path, scratch: Scratch, text: str | bytes) -> None:
    """A note can only name what has its name: nothing else is removed for it."""
    room = tmp_path / "room"
    (room / "file").mkdir(parents=True)
    scratch.home.mkdir()
    body = text if isinstance(text, bytes) else text.format(room=room).encode()
    (scratch.home / f"{PREFIX}x.place").write_bytes(body)

    scratch.sweep()

    assert (room / "file").is_dir()
    assert list(scratch.home.iterdir()) == []


def test_a_link_in_its_place(tmp_path: Path, scratch: Scratch) -> None:
    """What somebody put in the place of a directory is theirs."""
    (tmp_path / "room" / "file").mkdir(parents=True)
    scratch.home.mkdir()
    (scratch.home / f"{PREFIX}x").symlink_to(tmp_path / "room")
    (scratch.home / f"{PREFIX}x.place").write_text(str(scratch.home / f"{PREFIX}x"))

    scratch.sweep()

    assert (tmp_path / "room" / "file").is_dir()


def test_nowhere(tmp_path: Path) -> None:
    """Where no directory can be made there is none, and nothing to sweep."""
    (tmp_path / "file").touch()
    scratch = Scratch(tmp_path / "file" / "pulls")

    with scratch.directory() as path:
        assert path is None
    scratch.sweep()
