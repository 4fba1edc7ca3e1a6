import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from obol.machine.files import (
    Folder,
    give_away,
    make_private_directory,
    mounted_in,
    write_all,
)
from obol.machine.system import allow_many_open_files


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """The test's own directory, opened."""
    with Folder.at(tmp_path) as opened:
        yield opened


def mode(path: Path) -> int:
    """The permissions of a file or directory."""
    return stat.S_IMODE(path.lstat().st_mode)


def read(descriptor: int | None) -> bytes:
    """What the file has, then closed."""
    assert descriptor is not None
    try:
        return os.read(descriptor, 1000)
    finally:
        os.close(descriptor)


def test_order_of_replace(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before the rename, the folder after it; without `durable` nothing is."""
    steps: list[str] = []
    for name in ("fsync", "rename"):
        real = getattr(os, name)

        def record(*args: object, _real: object = real, _name: str = name, **kwargs: object) -> object:
            steps.append(_name)
            assert callable(_real)
            return _real(*args, **kwargs)

        monkeypatch.setattr(os, name, record)

    folder.replace("note", (b"a", b"b"))
    durable = steps.copy()
    folder.replace("note", (b"c",), durable=False)

    assert durable == ["fsync", "rename", "fsync"]
    assert steps[3:] == ["rename"]


def test_sync(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot sync directories is not an error; a failing disk is."""
    folder.sync()
    for number in (errno.EINVAL, errno.EIO):

        def fail(_: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        if number == errno.EINVAL:
            folder.sync()
        else:
            with pytest.raises(OSError, match=os.strerror(number)):
                folder.sync()


def test_make_private_directory(tmp_path: Path) -> None:
    """Missing directories are made for us alone; those that are there stay as they are."""
    tmp_path.chmod(0o755)

    make_private_directory(tmp_path / "a" / "b")
    make_private_directory(tmp_path / "a" / "b")

    assert mode(tmp_path) == 0o755
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)


def test_make_private_directory_over_a_file(tmp_path: Path) -> None:
    """A file in the way is an error."""
    (tmp_path / "a").touch()

    with pytest.raises(OSError, match="a"):
        make_private_directory(tmp_path / "a" / "b")


def test_give_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root made belongs to the person; what others own is left, and so is what a link leads to."""
    given: list[tuple[str, int, int, bool]] = []

    def chown(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        given.append((path.name, uid, gid, follow_symlinks))

    directory = tmp_path / "made"
    (directory / "below").mkdir(parents=True)
    (directory / "link").symlink_to(tmp_path)
    monkeypatch.setattr(os, "chown", chown)
    owned_by_root = os.getuid() == 0

    give_away(directory, 1000, 100)

    expected = [(name, 1000, 100, False) for name in ("made", "below", "link")] if owned_by_root else []
    assert sorted(given) == sorted(expected)


def test_create(folder: Folder, tmp_path: Path) -> None:
    """A new file is for us alone, and never one that was there, be it by a link."""
    descriptor = folder.create("new")
    write_all(descriptor, b"text")
    os.close(descriptor)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    assert (tmp_path / "new").read_bytes() == b"text"
    assert mode(tmp_path / "new") == 0o600
    for name in ("new", "link"):
        with pytest.raises(FileExistsError):
            folder.create(name)


def test_open(folder: Folder, tmp_path: Path) -> None:
    """Only a regular file is opened; a link, directory or pipe is as good as no file, and none makes us wait."""
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")

    assert read(folder.open("file")) == b"text"
    for name in ("link", "directory", "pipe", "nothing"):
        assert folder.open(name) is None
        assert folder.open(name, os.O_RDWR) is None
        assert folder.stat(name) is None
    found = folder.stat("file")
    assert found is not None
    assert found.st_size == 4


def test_open_says_what_is_wrong(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing disk is not the same as no file."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(OSError, match="broken"):
            folder.open("file")
        with pytest.raises(OSError, match="broken"):
            folder.folder("folder")


def test_folder(folder: Folder, tmp_path: Path) -> None:
    """A folder in it is opened; a link to one is not."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "inner")

    inner = folder.folder("inner")

    assert inner is not None
    inner.close()
    inner.close()
    assert folder.folder("link") is None
    assert folder.folder("nothing") is None


@pytest.mark.parametrize("before", ["nothing", "folder", "file", "link"])
def test_make_folder(folder: Folder, tmp_path: Path, before: str) -> None:
    """A folder is there afterwards, whatever had its name; a link to elsewhere is removed, not followed."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = tmp_path / "inner"
    match before:
        case "folder":
            path.mkdir()
        case "file":
            path.touch()
        case "link":
            path.symlink_to(elsewhere)

    with folder.make_folder("inner") as inner:
        os.close(inner.create("x"))

    assert not path.is_symlink()
    assert (path / "x").is_file()
    assert list(elsewhere.iterdir()) == []


def test_make_folder_in_a_race(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the name is something else again by the time we look, that is an error."""

    def make_nothing(*_: object, **__: object) -> None:
        raise FileExistsError

    monkeypatch.setattr(os, "mkdir", make_nothing)

    with pytest.raises(NotADirectoryError):
        folder.make_folder("inner")


def test_clear(folder: Folder, tmp_path: Path) -> None:
    """A name is freed; a directory is not removed but renamed."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()

    for name in ("file", "directory", "nothing"):
        folder.clear(name)

    (left,) = tmp_path.iterdir()
    assert left.name.startswith("directory.odd-")


def test_rename_and_entries(folder: Folder, tmp_path: Path) -> None:
    """A file moves between folders; two listings at once see everything."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").touch()

    with folder.make_folder("inner") as inner:
        folder.rename("a", inner, "c")
    pairs = [(one.name, {two.name for two in folder.entries()}) for one in folder.entries()]

    assert (tmp_path / "inner" / "c").read_bytes() == b"1"
    assert {name for name, _ in pairs} == {"b", "inner"}
    assert all(others == {"b", "inner"} for _, others in pairs)


def test_unlink(folder: Folder, tmp_path: Path) -> None:
    """A file that is not there is no error; a directory is."""
    (tmp_path / "directory").mkdir()

    folder.unlink("nothing")

    with pytest.raises((IsADirectoryError, PermissionError)):
        folder.unlink("directory")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, resource.RLIM_INFINITY), (5000, resource.RLIM_INFINITY)),
        ((6000, 9000), None),
    ],
    ids=["what is granted", "no more than wanted", "enough already"],
)
def test_allow_many_open_files(
    monkeypatch: pytest.MonkeyPatch, before: tuple[int, int], after: tuple[int, int] | None
) -> None:
    """The limit of open files is raised as far as the system grants and we want, and never lowered."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: before)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))

    allow_many_open_files(5000)

    assert told == ([] if after is None else [after])


TABLE = r"""proc /proc proc rw,nosuid 0 0
tmpfs /d/k3s/a tmpfs rw 0 0
tmpfs /d/k3s/a/b\040c tmpfs rw 0 0
overlay /run/k3s/rootfs overlay rw,lowerdir=/d/k3s/agent/1:/d/k3s/agent/2,upperdir=/d/k3s/agent/3 0 0
overlay /run/other overlay rw,lowerdir=/d/k3s2/agent/1 0 0
tmpfs /d/k3s-not tmpfs rw 0 0
tmpfs /d/k3s/a tmpfs rw 0 0
"""


def test_holding(tmp_path: Path) -> None:
    """What is mounted below the directory or made of it, inner ones first, each once; nothing of its neighbours."""
    (tmp_path / "mounts").write_text(TABLE)

    assert mounted_in("/d/k3s", tmp_path / "mounts") == ("/run/k3s/rootfs", "/d/k3s/a/b c", "/d/k3s/a")


def test_nothing_known(tmp_path: Path) -> None:
    """Where there is no such list, nothing is known; on this machine there may be one."""
    assert mounted_in("/d/k3s", tmp_path / "mounts") == ()
    assert mounted_in(str(tmp_path)) == ()
