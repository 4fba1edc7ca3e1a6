"""A store, looked at from outside while no engine has it: do its files and its index say the truth?"""

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

INDEX = ("index.sqlite", "index.sqlite-wal")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a full verification found.

    `files` are the digests that are there and right; `wrong` files have another digest than their name says; `rows` are
    the digests that the index has; `lying` rows say what no file bears out.
    """

    files: frozenset[str]
    wrong: tuple[str, ...]
    rows: frozenset[str]
    lying: tuple[str, ...]
    damaged_index: bool


def content_files(store: Path) -> dict[str, Path]:
    """Every file that counts as content, by its digest."""
    found = (store / "blobs").glob("*/*/*")
    return {f"{path.parent.parent.name}:{path.name}": path for path in found}


def verify(store: Path) -> Verified:
    """Hash every file of content and compare the index, opened in a copy, with what is there."""
    files = content_files(store)
    sizes = {digest: path.stat().st_size for digest, path in files.items()}
    wrong = tuple(digest for digest, path in files.items() if not _right(digest, path))
    try:
        rows = _rows(store)
    except sqlite3.DatabaseError:
        return Verified(frozenset(files) - set(wrong), wrong, frozenset(), (), damaged_index=True)
    lying = tuple(digest for digest, size in rows.items() if sizes.get(digest) != size)
    return Verified(frozenset(files) - set(wrong), wrong, frozenset(rows), lying, damaged_index=False)


def _right(digest: str, path: Path) -> bool:
    algorithm, _, expected = digest.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == expected


def _rows(store: Path) -> dict[str, int]:
    """Digest and size of each row. A copy is read, because opening a database finishes what a kill left undone."""
    copy = store.parent / "index-copy"
    copy.mkdir(exist_ok=True)
    try:
        for name in INDEX:
            if (store / name).exists():
                shutil.copyfile(store / name, copy / name)
        if not (copy / INDEX[0]).exists():
            return {}
        with closing(sqlite3.connect(copy / INDEX[0])) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            if not connection.execute("SELECT name FROM sqlite_master WHERE name = 'blobs'").fetchone():
                return {}
            return dict(connection.execute("SELECT digest, size FROM blobs"))
    finally:
        shutil.rmtree(copy)
