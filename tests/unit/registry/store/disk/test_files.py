import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from obol.machine.files import Folder
from obol.oci.references import Digest
from obol.registry.store.disk.files import BlobTree

DATA = b"a layer"
DIGEST = Digest.of(DATA)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[BlobTree]:
    """An empty tree in the test's directory."""
    with Folder.at(tmp_path) as home:
        made = BlobTree(home)
    yield made
    made.close()


def place(root: Path, digest: Digest = DIGEST) -> Path:
    """Where a file of content lies."""
    return root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_layout(tree: BlobTree, tmp_path: Path, algorithm: str) -> None:
    """A file lies where its digest says, and it and its directories are for us alone."""
    digest = Digest.of(DATA, algorithm)

    stored = tree.store(digest, DATA)

    assert place(tmp_path, digest).read_bytes() == DATA
    assert stored == tree.find(digest)
    assert stored.stored_at == place(tmp_path, digest).stat().st_mtime
    modes = {path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "blobs").rglob("*")}
    assert modes == {True: 0o700, False: 0o600}
    assert list((tmp_path / "partial").iterdir()) == []


def test_link_in_place_of_content(tree: BlobTree, tmp_path: Path) -> None:
    """A link with the name of content is not followed, neither for reading nor for writing."""
    precious = tmp_path / "precious"
    precious.write_bytes(DATA)
    place(tmp_path).parent.mkdir()
    place(tmp_path).symlink_to(precious)

    assert tree.open(DIGEST) is None
    assert tree.find(DIGEST) is None
    assert not tree.matches(DIGEST)
    assert list(tree.walk()) == []
    tree.store(DIGEST, DATA)
    assert not place(tmp_path).is_symlink()
    assert not precious.is_symlink()


def test_link_in_place_of_a_directory(tree: BlobTree, tmp_path: Path) -> None:
    """A link in place of a directory of blobs is not followed, and makes way for one."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / DIGEST.hex).write_bytes(DATA)
    place(tmp_path).parent.symlink_to(elsewhere)

    assert tree.open(DIGEST) is None
    assert tree.find(DIGEST) is None
    assert list(tree.walk()) == []
    tree.isolate(DIGEST)
    tree.store(DIGEST, DATA)
    assert [path.name for path in elsewhere.iterdir()] == [DIGEST.hex]
    assert not place(tmp_path).parent.is_symlink()
    assert place(tmp_path).read_bytes() == DATA


def test_link_in_place_of_the_tree(tmp_path: Path) -> None:
    """A link in place of a directory of the layout makes way for a directory."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "partial").symlink_to(tmp_path / "elsewhere")

    with Folder.at(tmp_path) as home:
        BlobTree(home).close()

    assert not (tmp_path / "partial").is_symlink()


def test_walk(tree: BlobTree, tmp_path: Path) -> None:
    """Every well-named file is found, and only those."""
    stored = [tree.store(Digest.of(b"%d" % number), b"%d" % number) for number in range(5)]
    wrong_shard = tmp_path / "blobs" / "sha256" / ("00" if DIGEST.hex[:2] != "00" else "01")
    wrong_shard.mkdir(exist_ok=True)
    (wrong_shard / DIGEST.hex).write_bytes(DATA)
    (wrong_shard / f"{wrong_shard.name}odd").write_bytes(DATA)
    (tmp_path / "blobs" / "sha256" / "stray").write_bytes(DATA)
    place(tmp_path).mkdir(parents=True, exist_ok=True)

    assert sorted(tree.walk(), key=lambda file: file.digest) == sorted(stored, key=lambda file: file.digest)


def test_matches(tree: BlobTree, tmp_path: Path) -> None:
    """A file matches if all of its bytes have the hash of its name."""
    digest = Digest.of(bytes(3_000_000), "sha512")
    tree.store(digest, bytes(3_000_000))
    good = tree.matches(digest)
    with place(tmp_path, digest).open("r+b") as file:
        file.seek(2_999_999)
        file.write(b"x")

    assert good
    assert not tree.matches(digest)
    assert not tree.matches(DIGEST)


def test_isolate(tree: BlobTree, tmp_path: Path) -> None:
    """Damaged content is kept aside, the last of each digest; none there is no error."""
    for data in (b"damaged", b"damaged again"):
        tree.store(DIGEST, data)
        tree.isolate(DIGEST)
        tree.isolate(DIGEST)
    tree.isolate(Digest.of(b"never there"))

    (kept,) = (tmp_path / "quarantine").iterdir()
    assert kept.read_bytes() == b"damaged again"
    assert tree.open(DIGEST) is None


def test_open_tells_the_real_size(tree: BlobTree, tmp_path: Path) -> None:
    """The size is that of the opened file."""
    tree.store(DIGEST, DATA)
    os.truncate(place(tmp_path), 3)

    opened = tree.open(DIGEST)

    assert opened is not None
    descriptor, file = opened
    os.close(descriptor)
    assert file.size == 3
