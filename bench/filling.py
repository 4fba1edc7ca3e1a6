"""Stores of many small blobs, written straight to the disk as each server would have left them.

Fetching them would take minutes, most of it in fsync. The index of the engine is written last, with every row marked as
verified, so that its start and its first hits cost what they cost after real use.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from bench.clients import Failed
from bench.content import HUB, Blob
from obol.oci.references import Digest, Repository
from obol.registry.store.disk import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from bench.peers import Name, Site

REPOSITORY = Repository("bench/many")


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
            "INSERT INTO rights (space, repository, digest, kind, media_type, size) VALUES (?, ?, ?, 'blob', '', ?)",
            ((HUB, blob.repository, blob.digest, blob.size) for blob in blobs),
        )


def _fill_registry(root: Path, count: int) -> None:
    for number in range(count):
        hexadecimal = blob_of(number).digest.hex
        data = root / "blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"
        link = root / "repositories" / REPOSITORY / "_layers/sha256" / hexadecimal / "link"
        for path, content in ((data, _body(number)), (link, f"sha256:{hexadecimal}".encode())):
            path.parent.mkdir(parents=True)
            path.write_bytes(content)


def _fill_drayage(root: Path, count: int) -> None:
    root.mkdir(parents=True)
    for number in range(count):
        (root / blob_of(number).digest.hex).write_bytes(_body(number))
