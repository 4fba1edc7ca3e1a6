import asyncio
import errno
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from obol.registry.control.api import Amount
from obol.registry.store.disk import partials as partials_module
from obol.registry.store.disk.opening import DiskStore, open_store
from obol.registry.store.disk.partials import boot_id
from obol.registry.store.ports import StoreError, transfer_id
from tests.unit.registry.store.steps import watch

DATA = b"0123456789"
DIGEST = Digest.of(DATA)
OTHER = Digest.of(b"other", "sha512")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    """An empty store."""
    opened = open_store(tmp_path / "store")
    yield opened
    await opened.close()


def place(store: DiskStore, digest: Digest = DIGEST) -> Path:
    """Where a download lies."""
    return store.root / "partial" / digest.replace(":", "-")


def checkpoint(store: DiskStore, digest: Digest = DIGEST) -> Path:
    """Where its checkpoint lies."""
    return place(store, digest).with_name(f"{place(store, digest).name}.json")


async def leave(store: DiskStore, frontier: int, *, durable: bool = False, digest: Digest = DIGEST) -> None:
    """Leave a download of all of DATA behind, with a checkpoint."""
    partial = await store.partials.open(transfer_id(digest))
    await partial.write(0, DATA)
    await partial.checkpoint(frontier, durable=durable)
    partial.close()


async def frontier(store: DiskStore, digest: Digest = DIGEST) -> int:
    """The frontier that the next attempt is told."""
    partial = await store.partials.open(transfer_id(digest))
    partial.close()
    return partial.left


async def test_files(store: DiskStore) -> None:
    """A download and its checkpoint are named after the digest, and for us alone."""
    await leave(store, 5)

    assert place(store).read_bytes() == DATA
    assert stat.S_IMODE(place(store).stat().st_mode) == 0o600
    assert stat.S_IMODE(checkpoint(store).stat().st_mode) == 0o600


async def test_restart(store: DiskStore) -> None:
    """A process that starts in the same boot resumes at the last checkpoint."""
    await leave(store, 7)
    await store.close()
    again = open_store(store.root)

    assert await again.partials.sweep() == 0
    assert await frontier(again) == 7
    await again.close()


@pytest.mark.parametrize("boot", ["another boot", ""])
async def test_another_boot(store: DiskStore, boot: str) -> None:
    """After a reboot, or where boots cannot be told apart, only what was synced counts."""
    store.partials.boot = boot or store.partials.boot
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    await partial.checkpoint(4, durable=True)
    await partial.checkpoint(9)
    partial.close()
    await leave(store, 9, digest=OTHER)
    store.partials.boot = "" if not boot else "this boot"

    assert await frontier(store) == 4
    assert await frontier(store, OTHER) == 0


async def test_order_of_a_durable_checkpoint(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data is synced first, then the checkpoint, which then takes its name, which is synced."""
    steps: list[tuple[str, object]] = []
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    sync = partials_module._sync_data

    def sync_data(descriptor: int) -> None:
        steps.append(("sync data", os.fstat(descriptor).st_ino))
        sync(descriptor)

    def note(name: str, subject: object) -> None:
        steps.append((name, os.fstat(subject).st_ino if name == "fsync" and isinstance(subject, int) else None))

    monkeypatch.setattr(partials_module, "_sync_data", sync_data)
    watch(monkeypatch, note)
    await partial.checkpoint(10, durable=True)
    durable = steps.copy()
    await partial.checkpoint(10)
    monkeypatch.undo()

    assert durable == [
        ("sync data", place(store).stat().st_ino),
        ("create", None),
        ("write", None),
        ("fsync", durable[3][1]),
        ("rename", None),
        ("fsync", place(store).parent.stat().st_ino),
    ]
    assert steps[len(durable) :] == [("write", None)]
    partial.close()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"frontier": -5, "boot": "", "durable": -5}', '{"frontier": "9"}', "\0" * 256, "9" * 999]
)
async def test_damaged_checkpoint(store: DiskStore, text: str) -> None:
    """A checkpoint that makes no sense is no checkpoint."""
    await leave(store, 9)
    checkpoint(store).write_text(text)

    assert await frontier(store) == 0


async def test_links_are_not_followed(store: DiskStore, tmp_path: Path) -> None:
    """Nothing is written through a link, symbolic or hard, that was planted in place of a download or checkpoint."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    await leave(store, 9)
    for plant in (precious.with_name("x").symlink_to, place(store).symlink_to, place(store).hardlink_to):
        place(store).unlink(missing_ok=True)
        plant(precious)
        assert await frontier(store) == 0
        await leave(store, 9)
    checkpoint(store).unlink()
    checkpoint(store).symlink_to(precious)
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.checkpoint(1)
    partial.close()

    assert partial.left == 0
    assert precious.read_bytes() == b"precious"
    assert not checkpoint(store).is_symlink()


async def test_directory_in_place_of_a_download(store: DiskStore) -> None:
    """A directory with the name of a download or its checkpoint makes way."""
    place(store).mkdir()
    checkpoint(store).mkdir()
    (place(store) / "x").touch()

    await leave(store, 3)

    assert await frontier(store) == 3


async def test_sweep_of_rubbish(store: DiskStore, tmp_path: Path) -> None:
    """Files that are not ours or not resumable go; directories stay; nothing odd stops the sweep."""
    await leave(store, 5)
    folder = store.root / "partial"
    for name in ("tmp-0123", "README", "ünïcode\n", "sha256-zz", "sha256-zz.json", DIGEST.replace(":", "-").upper()):
        (folder / name).write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    os.utime(folder / "README", (0, 0))
    (folder / "directory").mkdir()
    (folder / "directory.json").touch()
    (folder / "directory" / "inside").touch()
    checkpoint(store, OTHER).write_text("{}")

    await store.partials.sweep()

    left = {path.name for path in folder.iterdir()}
    assert left - {"directory.json"} == {place(store).name, checkpoint(store).name, "directory"}
    assert await frontier(store) == 5


async def test_sweep_spares_what_is_in_use(store: DiskStore) -> None:
    """A download that is under way is not swept, though it has no checkpoint yet or its content has come already."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA)
    empty = await store.partials.sweep()
    await partial.checkpoint(10)
    await store.content.put(DIGEST, DATA)

    assert (empty, await store.partials.sweep()) == (0, 0)
    assert place(store).exists()
    partial.close()
    assert await store.partials.sweep() == 1
    assert await store.partials.usage() == Amount(0, 0)


async def test_usage_of_a_sparse_file(store: DiskStore) -> None:
    """Holes take no room."""
    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(1 << 30, b"x")

    assert (await store.partials.usage()).size < 1 << 20
    partial.close()


@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
async def test_failing_disk(store: DiskStore, monkeypatch: pytest.MonkeyPatch, number: int, *, full: bool) -> None:
    """A write that fails says whether the disk is full."""
    partial = await store.partials.open(transfer_id(DIGEST))

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StoreError) as caught:
            await partial.write(0, DATA)

    assert caught.value.full is full
    await partial.write(0, DATA)
    partial.close()


async def test_short_writes(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes three bytes at a time gets them all."""
    real = os.pwrite
    partial = await store.partials.open(transfer_id(DIGEST))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
        await partial.write(2, DATA)

    assert place(store).read_bytes() == b"\0\0" + DATA
    partial.close()


async def test_close_while_writing(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor is not given back, to become another file, while a thread writes to it."""
    real, begun, go = os.pwrite, threading.Event(), threading.Event()

    def slow(descriptor: int, data: memoryview, offset: int) -> int:
        begun.set()
        go.wait(1)
        return real(descriptor, data, offset)

    partial = await store.partials.open(transfer_id(DIGEST))
    await partial.write(0, DATA[:1])
    descriptor = partial.run(0, 1).descriptor
    monkeypatch.setattr(os, "pwrite", slow)
    writing = spawn(partial.write(0, DATA), name="write")
    await asyncio.to_thread(begun.wait, 1)
    writing.cancel()
    partial.close()
    os.fstat(descriptor)
    go.set()
    await store.close()

    assert place(store).read_bytes() == DATA
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


async def test_open_that_fails(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that could not be opened is not in use."""
    await leave(store, 10)

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StoreError, match="too many"):
            await store.partials.open(transfer_id(DIGEST))

    assert not store.partials._in_use


async def test_new_file_is_made_meanwhile(store: DiskStore) -> None:
    """A new download has its file before anything is written; until then nobody can read it."""
    partial = await store.partials.open(transfer_id(DIGEST))
    partial.prepare()

    assert place(store).read_bytes() == b""
    partial.close()
    with pytest.raises(ValueError, match="closed"):
        partial.run(0, 1)


async def test_new_file_that_cannot_be_made(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write tells, and a later one may succeed."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(store.partials, "create", fail)
        partial = await store.partials.open(transfer_id(DIGEST))
        partial.prepare()
        with pytest.raises(StoreError, match="no space") as told:
            await partial.write(0, DATA)
        assert told.value.full
    await partial.write(0, DATA)

    assert place(store).read_bytes() == DATA
    partial.close()


@pytest.mark.parametrize("how", ["closed", "discarded"])
async def test_over_before_it_is_made(how: str, store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that is over makes no file any more."""
    monkeypatch.setattr(store.partials.pool, "ahead", lambda _: None)
    partial = await store.partials.open(transfer_id(DIGEST))
    if how == "discarded":
        await partial.discard()
    else:
        partial.close()

    partial.prepare()

    assert not place(store).exists()
    with pytest.raises(StoreError, match=r"closed|removed"):
        await partial.write(0, DATA)
    partial.close()


def test_boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The boot has a name where the system tells one, and an empty one elsewhere."""
    (tmp_path / "id").write_text("abc\n")
    monkeypatch.setattr(partials_module, "BOOT_ID", tmp_path / "id")
    told = boot_id()
    monkeypatch.setattr(partials_module, "BOOT_ID", tmp_path / "nothing")

    assert (told, boot_id()) == ("abc", "")
