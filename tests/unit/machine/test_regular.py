import errno
import os
import stat
from pathlib import Path

import pytest

from obol.errors import ObolError
from obol.machine import regular
from obol.machine.commands import User
from obol.machine.regular import (
    NotRegular,
    explained,
    find,
    find_ours,
    known_owners,
    open_regular,
    read,
    read_text,
    replace,
    write_atomically,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def mode(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_write_atomically(tmp_path: Path) -> None:
    """The file has the bytes and mode that were asked for, and nothing else is left."""
    path = tmp_path / "note"
    path.write_bytes(b"old and longer")

    write_atomically(path, b"new")
    write_atomically(tmp_path / "public", b"", mode=0o644)

    assert path.read_bytes() == b"new"
    assert (mode(path), mode(tmp_path / "public")) == (0o600, 0o644)
    assert {entry.name for entry in tmp_path.iterdir()} == {"note", "public"}


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_write_atomically_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whichever step fails, the old file stays and no other is left."""
    path = tmp_path / "note"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="full"):
            write_atomically(path, b"new")

    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["note"]


def test_write_atomically_over_a_link(tmp_path: Path) -> None:
    """A symbolic link stays one: the file behind it is replaced, or made."""
    for name in ("target", "absent"):
        (tmp_path / f"to-{name}").symlink_to(tmp_path / name)
    (tmp_path / "target").write_bytes(b"old")

    for name in ("target", "absent"):
        write_atomically(tmp_path / f"to-{name}", b"new")
        assert (tmp_path / name).read_bytes() == b"new"
        assert (tmp_path / f"to-{name}").is_symlink()


def test_find(tmp_path: Path) -> None:
    """A path leads through links, also of directories, to the file or to where one would be."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").touch()
    (tmp_path / "directory").symlink_to("real")
    (tmp_path / "first").symlink_to("directory/second")
    (tmp_path / "real/second").symlink_to("file")

    target = find(tmp_path / "x/../first")
    assert target.path == tmp_path / "real/file"
    assert target.linked == (os.getuid(), os.getuid())
    assert target.found is not None
    nothing = find(tmp_path / "directory/none/at/all")
    assert (nothing.path, nothing.found, nothing.linked) == (tmp_path / "real/none/at/all", None, ())


def test_circles(tmp_path: Path) -> None:
    """Links that lead round in a circle are told as such, in the last place of a path and before it."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    for path in (tmp_path / "a", tmp_path / "a/file"):
        for act in (find, find_ours, read, open_regular):
            with pytest.raises(NotRegular, match="round in a circle"):
                act(path)


def test_pipe_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named pipe is refused, even where it took the place of a file after the first look."""
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(NotRegular, match="it is a named pipe, not a file"):
        read(tmp_path / "pipe")
    with pytest.raises(NotRegular, match="it is a named pipe, not a file"):
        write_atomically(tmp_path / "pipe", b"")
    monkeypatch.setattr(regular, "find", lambda path: regular.FileTarget(path, None))
    with pytest.raises(NotRegular, match="it is a named pipe"):
        read(tmp_path / "pipe")


def test_read(tmp_path: Path) -> None:
    """A file is read whole, up to a size."""
    (tmp_path / "file").write_bytes(b"text")

    assert read(tmp_path / "file", 4) == b"text"
    assert read_text(tmp_path / "file") == "text"
    with pytest.raises(NotRegular, match="more than"):
        read(tmp_path / "file", 3)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


def test_links_of_others(tmp_path: Path) -> None:
    """Whoever made a link chose what would be written, and whoever owns a file may not want it written."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")

    with pytest.raises(NotRegular, match="belongs to another user"):
        find_ours(tmp_path / "file", owners=())
    with pytest.raises(NotRegular, match="is a link of another user"):
        find_ours(tmp_path / "link", owners=())
    assert find_ours(tmp_path / "link").path == tmp_path / "file"


def test_known_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    """As root under sudo, the person's files are known; a variable alone gives nobody anything."""
    monkeypatch.setenv("SUDO_UID", "4711")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert known_owners() == {0, 1000}
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert known_owners() == {0, 4711}


def test_replace_keeps(tmp_path: Path) -> None:
    """A file keeps its mode and its attributes."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    try:
        os.setxattr(path, "user.note", b"theirs")
    except OSError:
        pytest.skip("this file system has no attributes of users")

    replace(find_ours(path), b"new")

    assert (path.read_bytes(), mode(path)) == (b"new", 0o640)
    assert os.getxattr(path, "user.note") == b"theirs"


@needs_root
def test_replace_keeps_the_owner(tmp_path: Path) -> None:
    """A file that is there keeps its owner; a new one gets the one that is named."""
    for name in ("there", "fresh"):
        if name == "there":
            (tmp_path / name).touch()
            os.chown(tmp_path / name, 1, 2)
        replace(find(tmp_path / name), b"new", owner=User(4711, 4712))

    assert (tmp_path / "there").stat().st_uid == 1
    assert (tmp_path / "fresh").stat().st_gid == 4712


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "read-only"),
        (errno.EBUSY, "mounted by itself"),
        (errno.EACCES, "sudo"),
        (errno.ENOSPC, ""),
    ],
)
def test_explained(number: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each refusal of the system names the path, the reason and the way out."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(ObolError, match=os.strerror(number)) as caught, explained(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))

    assert hint in caught.value.hint
    assert bool(hint) == bool(caught.value.hint)
    assert str(tmp_path / "x") in caught.value.what


def test_immutable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is marked as immutable is told from one that takes root."""
    (tmp_path / "x").touch()
    monkeypatch.setattr("fcntl.ioctl", lambda *_: bytes([0x10, 0, 0, 0]))

    with pytest.raises(ObolError) as caught, explained(tmp_path):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(tmp_path / "x"))

    assert "chattr -i" in caught.value.hint


def test_a_name_within_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was called by its name in an open directory is told as the path that somebody named."""
    monkeypatch.setattr("fcntl.ioctl", lambda *_: bytes([0x10, 0, 0, 0]))

    with pytest.raises(ObolError, match=f"{tmp_path}/x cannot be changed") as caught, explained(tmp_path / "x"):
        raise PermissionError(errno.EPERM, "Operation not permitted", ".x.obol-new")

    assert "chattr -i" in caught.value.hint
