import fcntl
from pathlib import Path

import pytest

from obol.errors import StoreInUse
from obol.oci.references import Digest
from obol.registry.store.disk.opening import open_store
from obol.registry.store.layout import COLD_UPS, LISTENERS, LOG, SOCKET, SUBSTITUTES, is_ours, remove_store


async def make(store: Path) -> None:
    """A store with a blob, as the engine leaves it."""
    opened = open_store(store)
    await opened.content.put(Digest.of(b"x"), b"x")
    await opened.close()
    for name in (SOCKET, LOG, f"{LOG}.1", SUBSTITUTES, LISTENERS, COLD_UPS, f".obol-{'0a' * 16}", f"tmp-{'0a' * 16}"):
        (store / name).write_text("")


async def test_a_store_is_removed_whole(tmp_path: Path) -> None:
    """Nothing of what the engine wrote is left, and doing it again is no error."""
    store = tmp_path / "store"
    await make(store)

    assert remove_store(store) == ()
    assert not store.exists()
    assert remove_store(store) == ()


async def test_foreign_files_stay_and_are_named(tmp_path: Path) -> None:
    """What somebody else put beside the store is left."""
    store = tmp_path / "store"
    await make(store)
    (store / "notes.txt").write_text("mine")

    assert remove_store(store) == (store / "notes.txt",)
    assert [path.name for path in store.iterdir()] == ["notes.txt"]


async def test_a_store_in_use_is_left(tmp_path: Path) -> None:
    """While an engine holds the lock nothing is removed."""
    store = tmp_path / "store"
    await make(store)
    with (store / "lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        with pytest.raises(StoreInUse):
            remove_store(store)

    assert (store / "blobs").is_dir()


def test_a_directory_that_is_no_store_is_left(tmp_path: Path) -> None:
    """Without the engine's lock file nothing is touched."""
    (tmp_path / "blobs").mkdir()

    assert remove_store(tmp_path) == ()
    assert (tmp_path / "blobs").is_dir()


@pytest.mark.parametrize("name", ["notes.txt", "tmp-notes", ".obol", "blobs.txt", "lock.json", ".obol-0a"])
def test_other_names_are_not_ours(name: str) -> None:
    """A name that no part of obol gives to a file is not the store's, however near it is."""
    assert not is_ours(name)
