import os
from pathlib import Path

import pytest

from obol.caches.builtin.log import follow, keep_small, last_lines, open_log, rotate
from tests.fakes.clock import FakeClock


class Enough(Exception):
    """Ends a loop."""


def test_open_log(tmp_path: Path) -> None:
    """A log is its owner's only, is appended to, and is never reached through a planted link, nor a pipe."""
    path = tmp_path / "log"
    path.write_text("a\n")
    path.chmod(0o600)
    descriptor = open_log(path)
    os.write(descriptor, b"b\n")
    os.close(descriptor)
    (tmp_path / "link").symlink_to(path)

    assert path.read_text() == "a\nb\n"
    os.close(open_log(tmp_path / "fresh"))
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="symbolic link"):
        open_log(tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a named pipe"):
        open_log(tmp_path / "pipe")


def test_rotate(tmp_path: Path) -> None:
    """A log that has grown moves aside; three former ones are kept."""
    path = tmp_path / "log"
    for generation in range(6):
        path.write_text(str(generation) * 10)

        assert rotate(path, limit=9)

    assert {kept.name: kept.read_text()[0] for kept in tmp_path.iterdir()} == {"log.1": "5", "log.2": "4", "log.3": "3"}


def test_no_need_to_rotate(tmp_path: Path) -> None:
    """A small log stays, and one that is not there is no error."""
    path = tmp_path / "log"

    assert not rotate(path)
    path.write_text("small")
    assert not rotate(path)


def test_keep_small(tmp_path: Path) -> None:
    """A running process goes on in a fresh file once its log has grown, and nothing it prints is lost."""
    path = tmp_path / "log"
    printing = open_log(path)

    def work(number: int) -> None:
        os.write(printing, b"%d123456789\n" % number)
        if number == 3:
            raise Enough

    with pytest.raises(Enough):
        keep_small(path, FakeClock(on_pause=work), descriptors=(printing,), limit=15)

    assert (tmp_path / "log.1").read_text() == "1123456789\n2123456789\n"
    assert path.read_text() == "3123456789\n"
    os.close(printing)


def test_keep_small_has_bad_luck(tmp_path: Path) -> None:
    """A log that cannot be exchanged now is tried again later."""
    path = tmp_path / "log"
    path.write_text("x" * 20)
    (tmp_path / "log.1").mkdir()

    def work(number: int) -> None:
        if number == 3:
            raise Enough

    with pytest.raises(Enough):
        keep_small(path, FakeClock(on_pause=work), descriptors=(), limit=15)

    assert path.exists()


def test_last_lines(tmp_path: Path) -> None:
    """The last lines are given, of all or of what came after a moment."""
    path = tmp_path / "log"
    path.write_bytes(b"a\nb\n\xff\nd")

    assert last_lines(path, 2) == ["\ufffd", "d"]
    assert last_lines(path, 9, since=2) == ["b", "\ufffd", "d"]
    assert last_lines(path, 0) == []
    assert last_lines(tmp_path / "absent", 3) == []


def test_follow(tmp_path: Path) -> None:
    """What is appended is given as it comes, also from the file that takes the log's place."""
    path = tmp_path / "log"
    path.write_text("before\n")

    def work(number: int) -> None:
        match number:
            case 1:
                with path.open("a") as log:
                    log.write("one\n")
            case 2:
                with path.open("a") as log:
                    log.write("two\n")
                path.rename(tmp_path / "log.1")
            case 3:
                path.write_text("three\n")
            case _:
                raise Enough

    following = follow(path, FakeClock(on_pause=work))

    assert [next(following) for _ in range(3)] == ["one\n", "two\n", "three\n"]
    with pytest.raises(Enough):
        next(following)
