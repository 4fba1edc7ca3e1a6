import asyncio
import errno
import fcntl
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from obol.errors import StoreInUse, StoreUnusable
from obol.oci.references import Digest
from obol.registry.store.disk.opening import open_store
from obol.registry.store.ports import StoreError
from tests.unit.descriptors import descriptors

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
os.ftruncate(descriptor, 0)
os.pwrite(descriptor, b"%d" % os.getpid(), 0)
print("held", flush=True)
sys.stdin.read()
"""


def entries(root: Path) -> dict[str, bytes]:
    """The files in a directory."""
    return {path.name: path.read_bytes() for path in root.iterdir() if path.is_file()}


async def test_made(tmp_path: Path) -> None:
    """A store is made with the directories above it, all for us alone, and can be opened again."""
    root = tmp_path / "a" / "b" / "store"

    for _ in range(2):
        store = open_store(root)
        await store.close()

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", *(tmp_path / "a").rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert {path.name for path in root.iterdir()} == {
        *("lock", "version", "index.sqlite", "names.jsonl"),
        *("blobs", "partial", "quarantine"),
    }


async def test_relative_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is what it was when the store was opened."""
    monkeypatch.chdir(tmp_path)
    store = open_store(tmp_path.relative_to(tmp_path) / "store")
    monkeypatch.chdir("/")

    await store.content.put(Digest.of(b"x"), b"x")

    assert store.root == tmp_path / "store"
    await store.close()


async def test_in_use(tmp_path: Path) -> None:
    """A second opener is told which process holds the store, until it is closed; removing the lock opens no door."""
    store = open_store(tmp_path)

    with pytest.raises(StoreInUse, match=f"process {os.getpid()} ") as caught:
        open_store(tmp_path)

    assert caught.value.hint
    (tmp_path / "lock").unlink()
    with pytest.raises(StoreInUse):
        open_store(tmp_path)
    await store.close()
    await store.close()
    await open_store(tmp_path).close()


async def test_in_use_by_somebody(tmp_path: Path) -> None:
    """A holder that has not said who it is yet is just another process."""
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(StoreInUse, match="another process"):
        open_store(tmp_path)

    os.close(descriptor)
    await open_store(tmp_path).close()


def test_dead_holder(tmp_path: Path) -> None:
    """A process that was killed holds nothing, though the file still names it."""
    (tmp_path / "lock").touch()
    command = [sys.executable, "-S", "-E", "-c", HOLD, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(StoreInUse, match=f"process {holder.pid} "):
            open_store(tmp_path)
        holder.kill()

    store = open_store(tmp_path)
    asyncio.run(store.close())


def test_lock_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks cannot hold a store."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)

    with pytest.raises(StoreUnusable, match="No locks available"):
        open_store(tmp_path)


@pytest.mark.parametrize("in_the_way", ["store", "store/lock", "store/index.sqlite"])
async def test_unusable(tmp_path: Path, in_the_way: str) -> None:
    """What is in the way of the store is an error with a hint, and nothing stays locked."""
    path = tmp_path / in_the_way
    path.parent.mkdir(exist_ok=True)
    path.touch() if in_the_way == "store" else path.mkdir()

    with pytest.raises(StoreUnusable, match="cannot be used") as caught:
        open_store(tmp_path / "store")

    assert caught.value.hint
    path.unlink() if in_the_way == "store" else path.rmdir()
    await open_store(tmp_path / "store").close()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A directory that may not be written to is an error with a hint."""
    real = os.open

    def refuse(path: str, flags: int, *args: int, dir_fd: int | None = None) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(number, os.strerror(number), path)
        return real(path, flags, *args, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(StoreUnusable, match=os.strerror(number)) as caught:
        open_store(tmp_path)

    assert "write" in caught.value.hint


@pytest.mark.parametrize("version", ["2", "", "one"])
async def test_other_layout(tmp_path: Path, version: str) -> None:
    """A layout that we do not know is refused and left as it is."""
    await open_store(tmp_path).close()
    (tmp_path / "version").write_text(version)

    with pytest.raises(StoreUnusable, match="layout"):
        open_store(tmp_path)

    assert entries(tmp_path)["version"] == version.encode()


async def test_locked_index(tmp_path: Path) -> None:
    """An index that a foreign process keeps locked cannot be opened; it is not taken for a damaged one."""
    with closing(sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)) as foreign:
        foreign.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnusable, match="locked"):
            open_store(tmp_path, busy_timeout=0.05)

    await open_store(tmp_path).close()
    assert not [name for name in entries(tmp_path) if "damaged" in name]


async def test_links(tmp_path: Path) -> None:
    """The root may be reached through a link; a lock that is one is not followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "real")
    await open_store(tmp_path / "store").close()
    (tmp_path / "real" / "lock").unlink()
    (tmp_path / "real" / "lock").symlink_to(tmp_path / "precious")

    with pytest.raises(StoreUnusable, match="symbolic"):
        open_store(tmp_path / "store")

    assert "precious" not in entries(tmp_path)


async def test_closed(tmp_path: Path) -> None:
    """A closed store refuses everything and leaks no descriptor."""
    before = descriptors()
    store = open_store(tmp_path)
    await store.content.put(Digest.of(b"x"), b"x")
    await store.close()

    for asked in (store.content.usage(), store.partials.usage(), store.metadata.known()):
        with pytest.raises(StoreError, match="closed"):
            await asked
    assert descriptors() == before


async def test_copied_while_open(tmp_path: Path) -> None:
    """What a kill leaves behind, a write-ahead log and a lock file with it, is opened as if nothing had been."""
    store = open_store(tmp_path / "store")
    await store.content.put(Digest.of(b"x"), b"x")
    shutil.copytree(store.root, tmp_path / "copy")
    await store.close()

    copy = open_store(tmp_path / "copy")

    assert [path.name for path in (tmp_path / "copy").glob("*-wal")] == ["index.sqlite-wal"]
    assert await copy.content.size(Digest.of(b"x")) == 1
    await copy.close()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o775, 0o702])
async def test_a_directory_that_others_may_write_to(tmp_path: Path, mode: int) -> None:
    """What others can put into a store would be served: it is refused, with the command that mends it."""
    root = tmp_path / "my store"
    await open_store(root).close()
    root.chmod(mode)

    with pytest.raises(StoreUnusable, match="written to by others") as caught:
        open_store(root)

    assert f"chmod go-w '{root}'" in (caught.value.hint or "")
    root.chmod(mode & ~0o022)
    await open_store(root).close()
    root.chmod(mode)
    await open_store(root, any_owner=True).close()


async def test_an_empty_directory_of_ours_is_made_private(tmp_path: Path) -> None:
    """A directory that was made for the store, by the rules of the person's shell, is taken as it is meant."""
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o777)

    await open_store(root).close()

    assert root.stat().st_mode & 0o777 == 0o700


async def test_somebody_elses_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory of another user is refused: its owner can put into it what they like."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(StoreUnusable, match="belongs to another user") as caught:
        open_store(tmp_path)

    assert "chown" in (caught.value.hint or "")
    await open_store(tmp_path, any_owner=True).close()
