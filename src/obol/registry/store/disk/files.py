"""The files of complete content: `blobs/<algorithm>/<first two digits>/<digits>`, and how they come and go.

The order of a commit is law: write, fsync the file, rename it into place, fsync the directory, and only then the index
row. So a file under `blobs` is complete, also after a crash; a row may be missing, but is never premature. Everything
here blocks and raises OSError; `content` is the port over it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from obol.machine.files import Folder, write_all
from obol.oci.errors import OciError
from obol.oci.references import Digest, new_hash
from obol.registry.store import layout

ALGORITHMS = ("sha256", "sha512")
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class BlobFile:
    """A file that is there: bytes, and the wall time in seconds when it was written."""

    digest: Digest
    size: int
    stored_at: float


class BlobTree:
    """The directories of one store: where content lies, where it is written, where damage is put."""

    def __init__(self, home: Folder) -> None:
        with ExitStack() as folders:
            blobs = folders.enter_context(home.make_folder(layout.BLOBS))
            self.staging = folders.enter_context(home.make_folder(layout.PARTIALS))
            self._quarantine = folders.enter_context(home.make_folder(layout.QUARANTINE))
            self._algorithms = {name: folders.enter_context(blobs.make_folder(name)) for name in ALGORITHMS}
            blobs.sync()
            home.sync()
            self._folders = folders.pop_all()
        self._durable_shards: set[str] = set()

    def close(self) -> None:
        """Give the directories back; safe to repeat."""
        self._folders.close()

    def open(self, digest: Digest) -> tuple[int, BlobFile] | None:
        """Descriptor of the file, and what it is like, or None."""
        shard = self._shard(digest)
        if shard is None:
            return None
        with shard:
            descriptor = shard.open(digest.hex)
        if descriptor is None:
            return None
        found = os.fstat(descriptor)
        return descriptor, BlobFile(digest, found.st_size, found.st_mtime)

    def find(self, digest: Digest) -> BlobFile | None:
        """What the file is like, or None."""
        shard = self._shard(digest)
        if shard is None:
            return None
        with shard:
            found = shard.stat(digest.hex)
        return None if found is None else BlobFile(digest, found.st_size, found.st_mtime)

    def matches(self, digest: Digest) -> bool:
        """Read the whole file: does it have this digest?"""
        running, found = new_hash(digest.algorithm), False
        for piece in self._pieces(digest):
            running.update(piece)
            found = True
        return found and running.hexdigest() == digest.hex

    def read(self, digest: Digest) -> bytes | None:
        """All bytes of the file, as they are, or None."""
        return b"".join(pieces) if (pieces := list(self._pieces(digest))) else None

    def store(self, digest: Digest, data: bytes) -> BlobFile:
        """Write `data` as complete content."""
        name = f"tmp-{secrets.token_hex(16)}"
        descriptor = self.staging.create(name)
        try:
            write_all(descriptor, data)
            return self.receive(name, descriptor, digest)
        except BaseException:
            with suppress(OSError):
                self.staging.unlink(name)
            raise
        finally:
            os.close(descriptor)

    def receive(self, name: str, descriptor: int, digest: Digest) -> BlobFile:
        """Make the staged file `name`, open as `descriptor`, content."""
        os.fsync(descriptor)
        written = os.fstat(descriptor)
        algorithm, shard_name = self._algorithms[digest.algorithm], digest.hex[:2]
        with algorithm.make_folder(shard_name) as shard:
            self.staging.rename(name, shard, digest.hex)
            shard.sync()
        self._make_durable(algorithm, f"{digest.algorithm}/{shard_name}")
        return BlobFile(digest, written.st_size, written.st_mtime)

    def remove(self, digest: Digest) -> bool:
        """Remove the file; tells whether it was there."""
        shard = self._shard(digest)
        if shard is None:
            return False
        with shard:
            found = shard.stat(digest.hex) is not None
            shard.unlink(digest.hex)
        return found

    def isolate(self, digest: Digest) -> None:
        """Take the file out of service, keeping the last damaged one of this digest for a person to look into."""
        shard = self._shard(digest)
        if shard is None:
            return
        with shard, suppress(FileNotFoundError):
            shard.rename(digest.hex, self._quarantine, f"{digest.algorithm}-{digest.hex}")

    def walk(self) -> Iterator[BlobFile]:
        """Every file with the name of a digest in its right place; all else is passed over."""
        for algorithm, folder in self._algorithms.items():
            for shard_name in [entry.name for entry in folder.entries() if entry.is_dir(follow_symlinks=False)]:
                if (shard := folder.folder(shard_name)) is not None:
                    with shard:
                        yield from _files(algorithm, shard_name, shard)

    def _pieces(self, digest: Digest) -> Iterator[bytes]:
        """The file from its start; not even an empty piece where there is no file."""
        opened = self.open(digest)
        if opened is None:
            return
        descriptor, _ = opened
        position = 0
        try:
            yield b""
            while piece := os.pread(descriptor, _READ_AT_ONCE, position):
                yield piece
                position += len(piece)
        finally:
            os.close(descriptor)

    def _shard(self, digest: Digest) -> Folder | None:
        return self._algorithms[digest.algorithm].folder(digest.hex[:2])

    def _make_durable(self, algorithm: Folder, shard: str) -> None:
        # Once per shard and process: the directory may be there and yet, after a crash, not be on the disk.
        if shard not in self._durable_shards:
            algorithm.sync()
            self._durable_shards.add(shard)


def _files(algorithm: str, shard_name: str, shard: Folder) -> Iterator[BlobFile]:
    for entry in shard.entries():
        if entry.name[:2] != shard_name or not entry.is_file(follow_symlinks=False):
            continue
        try:
            digest = Digest.parse(f"{algorithm}:{entry.name}")
        except OciError:
            continue
        if (found := shard.stat(entry.name)) is not None:
            yield BlobFile(digest, found.st_size, found.st_mtime)
