import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from obol.oci.references import Digest
from obol.registry.control.api import Amount
from obol.registry.store.disk.files import BlobTree
from obol.registry.store.disk.opening import DiskStore, open_store
from obol.registry.store.ports import StoreError, transfer_id
from tests.fakes.store import MemoryContent, MemoryPartials, bytes_of
from tests.unit.registry.store.steps import watch

DATA = b"a layer of some bytes"
DIGEST = Digest.of(DATA)


async def put(store: DiskStore) -> None:
    """Store DATA in one go."""
    await store.content.put(DIGEST, DATA)


async def fill(store: DiskStore) -> None:
    """Store DATA as a download that comes to its end."""
    partial = await store.partials.open(transfer_id(DIGEST))
    try:
        await partial.write(0, DATA + b"!")
        await partial.checkpoint(len(DATA), durable=True)
        await store.content.adopt(partial, DIGEST, len(DATA))
    finally:
        partial.close()


Commit = pytest.mark.parametrize("commit", [put, fill])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[DiskStore]:
    """An empty store."""
    opened = open_store(tmp_path / "store")
    yield opened
    await opened.close()


def place(store: DiskStore, digest: Digest = DIGEST) -> Path:
    """Where a file of content lies."""
    return store.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex


def descriptors_of(path: Path) -> int:
    """How often this process has a file open."""
    found = 0
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):
            found += os.path.samestat(os.fstat(int(entry.name)), path.stat())
    return found


async def refused_for_want_of_room(commit: Awaitable[None]) -> bool | None:
    """Whether a commit failed because the disk is full; None if it did not fail."""
    try:
        await commit
    except StoreError as problem:
        return problem.full
    return None


async def held(store: DiskStore) -> bytes | None:
    """What the store gives for DIGEST, checked to agree with the size that it tells."""
    size = await store.content.size(DIGEST)
    readable = await store.content.open(DIGEST)
    if readable is None:
        assert size is None
        return None
    data = bytes_of(readable.run(0, 1000))
    readable.close()
    assert size == readable.size == len(data)
    return data


async def held_by_a_fresh_open(root: Path) -> bytes | None:
    """What a process that starts now would give, after its sweep, which must leave no rubbish."""
    store = open_store(root)
    try:
        await store.partials.sweep()
        assert not [path for path in (root / "partial").iterdir() if path.name.startswith("tmp-")]
        return await held(store)
    finally:
        await store.close()


@pytest.mark.parametrize(("commit", "written_by"), [(put, "write"), (fill, "ftruncate")])
async def test_order(
    store: DiskStore,
    monkeypatch: pytest.MonkeyPatch,
    commit: Callable[[DiskStore], Awaitable[None]],
    written_by: str,
) -> None:
    """A commit writes, syncs the file, renames, syncs the new directory and the one above it, then adds the row."""
    steps: list[tuple[str, object]] = []

    def note(name: str, subject: object) -> None:
        steps.append((name, os.fstat(subject).st_ino if name == "fsync" and isinstance(subject, int) else None))

    watch(monkeypatch, note)
    await commit(store)
    monkeypatch.undo()

    file = place(store)
    names = [name for name, _ in steps]
    begin = names.index(written_by)
    assert [step for step in steps[begin:] if step[0] != "mkdir"] == [
        (written_by, None),
        ("fsync", file.stat().st_ino),
        ("rename", None),
        ("fsync", file.parent.stat().st_ino),
        ("fsync", file.parent.parent.stat().st_ino),
        ("row", None),
    ]


@Commit
async def test_killed_at_any_step(
    store: DiskStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: Callable[[DiskStore], Awaitable[None]]
) -> None:
    """Whatever step a process dies before, the next one has nothing or the whole content."""
    copies: list[tuple[str, Path]] = []

    def copy(name: str, _: object) -> None:
        target = tmp_path / f"copy-{len(copies)}"
        shutil.copytree(store.root, target)
        copies.append((name, target))

    watch(monkeypatch, copy)
    await commit(store)
    monkeypatch.undo()

    found = [(name, await held_by_a_fresh_open(path)) for name, path in copies]
    renamed = max(number for number, (name, _) in enumerate(found) if name == "rename")
    assert {data for _, data in found[: renamed + 1]} == {None}
    assert {data for _, data in found[renamed + 1 :]} == {DATA}
    assert len(found) >= 6


@Commit
async def test_failure_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commit: Callable[[DiskStore], Awaitable[None]]
) -> None:
    """Whatever step fails, the store goes on: it has nothing or the whole content, and can store it then."""
    failed: list[str] = []
    for number in range(30):
        left = [number]

        def fail(name: str, _: object, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                failed.append(name)
                raise StoreError("no") if name == "row" else OSError(errno.ENOSPC, "full")

        store = open_store(tmp_path / f"store-{number}")
        with monkeypatch.context() as patch:
            watch(patch, fail)
            full = await refused_for_want_of_room(commit(store))
        assert full in {None, bool(failed) and failed[-1] != "row"}
        assert await held(store) in {None, DATA}
        await commit(store)
        assert await held(store) == DATA
        await store.close()
        assert await held_by_a_fresh_open(store.root) == DATA
        if len(failed) == number:
            break
    assert failed[-1] == "row"
    assert "rename" in failed


@pytest.mark.parametrize(
    ("asked", "restart"), [("open", False), ("read", False), ("open", True), ("size", True), ("read", True)]
)
async def test_row_without_file(store: DiskStore, asked: str, *, restart: bool) -> None:
    """Content whose file is gone is not held, and no longer counted, by the next process neither."""
    await put(store)
    place(store).unlink()
    if restart:
        await store.close()
        store = open_store(store.root)

    assert await getattr(store.content, asked)(DIGEST) is None
    assert await store.content.size(DIGEST) is None
    assert await store.content.usage() == Amount(0, 0)
    await store.close()


@pytest.mark.parametrize("restart", [False, True])
async def test_wrong_size(store: DiskStore, *, restart: bool) -> None:
    """A file of another size than it had goes to quarantine, and what is stored then is served."""
    await put(store)
    if restart:
        await store.close()
        store = open_store(store.root)
    os.truncate(place(store), 3)

    assert await store.content.open(DIGEST) is None
    assert await store.content.size(DIGEST) is None
    assert [path.stat().st_size for path in (store.root / "quarantine").iterdir()] == [3]
    await put(store)
    assert await held(store) == DATA
    await store.close()


def plant(store: DiskStore, data: bytes = DATA) -> None:
    """Put a file there that no row speaks of."""
    place(store).parent.mkdir()
    place(store).write_bytes(data)


async def test_file_without_row(store: DiskStore) -> None:
    """A file that no row speaks of is read, and taken in if it has the hash of its name."""
    plant(store)

    assert await held(store) == DATA
    assert await store.content.usage() == Amount(1, len(DATA))


async def test_damaged_file_without_row(store: DiskStore) -> None:
    """A file that no row speaks of and whose bytes are others goes to quarantine."""
    plant(store, DATA.upper())

    assert await held(store) is None
    assert not place(store).exists()
    assert [path.name for path in (store.root / "quarantine").iterdir()] == [DIGEST.replace(":", "-")]


async def test_read_settles(store: DiskStore) -> None:
    """A read file without row is taken in, and one whose bytes changed goes to quarantine, whatever was known of it."""
    plant(store)
    found = await store.content.read(DIGEST)
    counted = await store.content.usage()
    place(store).write_bytes(DATA.upper())

    assert (found, counted) == (DATA, Amount(1, len(DATA)))
    assert await store.content.read(DIGEST) is None
    assert await held(store) is None
    assert [path.read_bytes() for path in (store.root / "quarantine").iterdir()] == [DATA.upper()]


async def test_verified_once(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask for a file without row at once, it is read once."""
    plant(store)
    reads: list[Digest] = []
    real = BlobTree.matches

    def matches(tree: BlobTree, digest: Digest) -> bool:
        reads.append(digest)
        return real(tree, digest)

    monkeypatch.setattr(BlobTree, "matches", matches)

    assert await asyncio.gather(*(store.content.size(DIGEST) for _ in range(5))) == [len(DATA)] * 5
    assert reads == [DIGEST]


async def test_memory_is_bounded(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many sizes are remembered; the others are looked up again."""
    monkeypatch.setattr(store.content._files, "_capacity", 2)
    digests = [Digest.of(b"%d" % number) for number in range(4)]
    for number, digest in enumerate(digests):
        await store.content.put(digest, b"%d" % number)

    assert [await store.content.size(digest) for digest in digests] == [1, 1, 1, 1]
    assert len(store.content._files) == 2


async def test_misfits_leak_nothing(store: DiskStore) -> None:
    """A file that is opened and turns out to be another one is closed again."""
    await put(store)
    for turn in range(20):
        os.utime(place(store), (turn, turn))
        readable = await store.content.open(DIGEST)
        assert readable is not None
        readable.close()

    assert descriptors_of(place(store)) == 0


async def test_directory_removed(store: DiskStore) -> None:
    """When the store's directory is gone, nothing is held and nothing can be stored, and it is not made anew."""
    await put(store)
    shutil.rmtree(store.root)

    assert await store.content.open(DIGEST) is None
    with pytest.raises(StoreError):
        await put(store)
    with pytest.raises(StoreError):
        await fill(store)
    assert not store.root.exists()


async def test_foreign_partial(store: DiskStore) -> None:
    """A partial of another store cannot be adopted."""
    partial = await MemoryPartials(MemoryContent()).open(transfer_id(DIGEST))

    with pytest.raises(TypeError):
        await store.content.adopt(partial, DIGEST, 0)


async def test_content_that_was_written_to_is_hashed_before_it_counts(store: DiskStore) -> None:
    """A flipped bit that leaves the size is noticed by the time of writing; the file goes to quarantine."""
    await put(store)
    place(store).write_bytes(b"A" + DATA[1:])

    assert await store.content.open(DIGEST) is None
    assert await store.content.size(DIGEST) is None
    assert list((store.root / "quarantine").iterdir())


async def test_content_that_was_only_touched_is_served(store: DiskStore) -> None:
    """A file with another time and the right bytes is hashed once, and counts again, also in the next process."""
    await put(store)
    os.utime(place(store), (1.0, 1.0))

    readable = await store.content.open(DIGEST)

    assert readable is not None
    readable.close()
    assert await store.content.size(DIGEST) == len(DATA)


async def test_small_file_needs_no_disk(store: DiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system has in memory is read without the disk; a disk that fails, or a file cut short, is told."""
    await store.content.put(DIGEST, DATA)
    readable = await store.content.open(DIGEST)
    assert readable is not None

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "bad sector")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert await readable.read() == DATA
        patch.setattr(os, "preadv", fail, raising=False)
        with pytest.raises(StoreError, match="failing"):
            await readable.read()
    os.truncate(next((store.root / "blobs").rglob(DIGEST.hex)), 1)
    with pytest.raises(StoreError, match="damaged"):
        await readable.read()
    readable.close()
