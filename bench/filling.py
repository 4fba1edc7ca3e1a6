"""Stores of many small blobs, written straight to the disk as each server would have left them.

Fetching them would take minutes, most of it in fsync. The index of the engine is written last, with every row marked as
verified, so that its start and its first hits cost what they cost after real use. registry has only those blobs in a
repository that are asked for; making and removing two more folders for each of the others would take a minute.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bench.clients import Failed
from bench.content import HUB, Blob
from obol.oci.references import Digest, Repository
from obol.registry.store.disk.opening import open_store

if TYPE_CHECKING:
    from bench.peers import Name, Site

REPOSITORY = Repository("bench/many")


ASKED = 100
"""How many of the blobs are asked for, at most."""


def asked(count: int) -> range:
    """Numbers of the blobs that are asked for in a store of `count`, spread over all of it."""
    return range(0, count, max(1, count // ASKED))


def blob_of(number: int) -> Blob:
    """One of the blobs."""
    body = _body(number)
    return Blob(REPOSITORY, Digest.of(body), len(body))


def fill(name: Name, site: Site, count: int) -> None:
    """Write the store of one server in its folder. Raises Failed for one whose layout is not known here."""
    match name:
        case "obol":
            _fill_ours(site.folder / "store", count)
        case "registry":
            _fill_registry(site.folder / HUB / "docker/registry/v2", count)
        case "drayage":
            _fill_drayage(site.folder / "cache/blobs/sha256", count)
        case _:
            raise Failed(f"{name} has no store that could be filled")


def _body(number: int) -> bytes:
    return b"bench %d" % number


def _fill_ours(root: Path, count: int) -> None:
    asyncio.run(open_store(root).close())  # makes the folders and an empty index
    blobs = [blob_of(number) for number in range(count)]
    written = []
    for number, blob in enumerate(blobs):
        path = root / "blobs" / blob.digest.algorithm / blob.digest.hex[:2] / blob.digest.hex
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(_body(number))
        # A file that was written at another time than its row says would be verified when it is first asked for.
        written.append((blob.digest, blob.size, path.stat().st_mtime))
    with closing(sqlite3.connect(root / "index.sqlite")) as index, index:
        index.executemany(
            "INSERT INTO blobs (digest, size, stored_at, verified) VALUES (?, ?, ?, 1)",
            written,
        )
        index.executemany(
            "INSERT INTO grants (scope, repository, digest, kind, media_type, size) VALUES (?, ?, ?, 'blob', '', ?)",
            ((HUB, blob.repository, blob.digest, blob.size) for blob in blobs),
        )
        index.executemany(
            "INSERT INTO provenance (scope, digest, media_type) VALUES (?, ?, '')",
            ((HUB, blob.digest) for blob in blobs),
        )


def _fill_registry(root: Path, count: int) -> None:
    for number in range(count):
        hexadecimal = blob_of(number).digest.hex
        _put(root / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data", _body(number))
    for number in asked(count):
        digest = blob_of(number).digest
        link = root / "repositories" / REPOSITORY / "_layers" / digest.algorithm / digest.hex / "link"
        _put(link, str(digest).encode())


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def _fill_drayage(root: Path, count: int) -> None:
    root.mkdir(parents=True)
    for number in range(count):
        (root / blob_of(number).digest.hex).write_bytes(_body(number))
