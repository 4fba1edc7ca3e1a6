import fcntl
import os
from pathlib import Path

import pytest

from obol.machine.locks import NAME, LockHeld, holder, locked
from tests.limits import scaled


def test_one_at_a_time(tmp_path: Path) -> None:
    """Who comes second is told who holds it, and has it when that one is done."""
    assert holder(tmp_path) is None
    with locked(tmp_path):
        assert holder(tmp_path) == os.getpid()
        with pytest.raises(LockHeld, match=f"process {os.getpid()} holds it"), locked(tmp_path):
            pass

    assert holder(tmp_path) is None
    with locked(tmp_path):
        pass


def test_a_removed_file_lets_nobody_in(tmp_path: Path) -> None:
    """The directory is locked, too, so a file that was removed or put anew changes nothing."""
    with locked(tmp_path):
        (tmp_path / NAME).unlink()
        assert holder(tmp_path) == 0
        with pytest.raises(LockHeld, match="another process"), locked(tmp_path):
            pass

        (tmp_path / NAME).write_text("what\n", encoding="ascii")
        assert holder(tmp_path) == 0
        with pytest.raises(LockHeld, match="another process"), locked(tmp_path):
            pass


@pytest.mark.timeout(scaled(10))
def test_a_pipe_in_the_place_of_the_file(tmp_path: Path) -> None:
    """Nobody waits at a named pipe to learn who holds the lock."""
    os.mkfifo(tmp_path / NAME)

    assert holder(tmp_path) is None


def test_what_earlier_versions_hold_counts(tmp_path: Path) -> None:
    """A process that locks the file alone keeps us out."""
    descriptor = os.open(tmp_path / NAME, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(LockHeld), locked(tmp_path):
        pass
    assert holder(tmp_path) == 0

    os.close(descriptor)
    assert holder(tmp_path) is None


def test_no_file_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    """To remove a directory, its lock is taken only where there is one; where there is no directory nobody holds it."""
    with pytest.raises(FileNotFoundError), locked(tmp_path, make=False):
        pass

    assert not list(tmp_path.iterdir())
    assert holder(tmp_path / "none") is None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A lock file that leads elsewhere is an error, and what it leads to stays as it is."""
    precious = tmp_path / "precious"
    precious.write_text("x", encoding="ascii")
    (tmp_path / NAME).symlink_to(precious)

    with pytest.raises(OSError, match="symbolic link"), locked(tmp_path):
        pass

    assert precious.read_text(encoding="ascii") == "x"
