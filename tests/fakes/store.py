"""The ports of the store without a directory, for tests of what stands on them.

Content and downloads are unlinked temporary files, because readers want descriptors; metadata is in dictionaries. The
contract suites hold these to the same behaviour as the adapters on disk.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from weakref import finalize

from msgspec.structs import replace

from obol.oci.manifests import Manifest
from obol.oci.references import Digest, Tag
from obol.registry.control.api import Amount
from obol.registry.store.layout import is_ours
from obol.registry.store.ports import (
    ContentKind,
    FileRun,
    Grant,
    HeldTag,
    KnownManifest,
    Partial,
    Provenance,
    RepositoryKey,
    Run,
    StoreError,
    digest_of_partial,
    is_partial_id,
)

K = TypeVar("K")
V = TypeVar("V")


class _File:
    """An unlinked file; closed with the last who holds the object."""

    def __init__(self) -> None:
        self.descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
        self.close = finalize(self, os.close, self.descriptor)

    def size(self) -> int:
        return os.fstat(self.descriptor).st_size


class MemoryReadable:
    """An open copy of content."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self.size = size
        self.close = finalize(self, os.close, descriptor)

    def run(self, start: int, stop: int) -> FileRun:
        if not self.close.alive:
            raise ValueError("the file is closed")
        return FileRun(self._descriptor, start, stop)

    async def read(self) -> bytes:
        data = os.pread(self._descriptor, self.size, 0)
        if len(data) != self.size:
            raise StoreError("the cache's copy is damaged")
        return data


class MemoryContent:
    """Complete and verified content, by digest."""

    def __init__(self) -> None:
        self._held: dict[Digest, _File] = {}

    async def size(self, digest: Digest) -> int | None:
        file = self._held.get(digest)
        return None if file is None else file.size()

    async def read(self, digest: Digest) -> bytes | None:
        file = self._held.get(digest)
        if file is None:
            return None
        data = os.pread(file.descriptor, file.size(), 0)
        if Digest.of(data, digest.algorithm) == digest:
            return data
        await self.quarantine(digest)
        return None

    async def open(self, digest: Digest) -> MemoryReadable | None:
        file = self._held.get(digest)
        return None if file is None else MemoryReadable(os.dup(file.descriptor), file.size())

    async def put(self, digest: Digest, data: bytes) -> None:
        file = _File()
        os.pwrite(file.descriptor, data, 0)
        self._held[digest] = file

    async def adopt(self, partial: Partial, digest: Digest, size: int) -> None:
        if not isinstance(partial, MemoryPartial):
            raise TypeError("only a partial of the same store can be adopted")
        self._held[digest] = partial.surrender(size)

    async def remove(self, digest: Digest) -> bool:
        return self._held.pop(digest, None) is not None

    async def verify(self, digest: Digest) -> bool:
        return await self.read(digest) is not None

    async def quarantine(self, digest: Digest) -> None:
        self._held.pop(digest, None)

    async def usage(self) -> Amount:
        return Amount(len(self._held), sum(file.size() for file in self._held.values()))


@dataclass
class _Left:
    file: _File
    frontier: int = 0


class MemoryPartial:
    """A download under way."""

    def __init__(self, name: str, left: _Left, partials: MemoryPartials) -> None:
        self._name = name
        self.left = left.frontier
        self._left = left
        self._partials = partials
        self._descriptor = os.dup(left.file.descriptor)
        self.close = finalize(self, os.close, self._descriptor)

    def run(self, start: int, stop: int) -> FileRun:
        if not self.close.alive:
            raise ValueError("the file is closed")
        return FileRun(self._descriptor, start, stop)

    def read(self, start: int, count: int) -> bytes:
        return os.pread(self._descriptor, count, start)

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        if not self.close.alive:
            raise StoreError("the file is closed")
        self._partials.take(len(data))
        os.pwrite(self._descriptor, data, offset)

    async def checkpoint(self, frontier: int, *, durable: bool = False) -> None:
        """Remember that the first `frontier` bytes are there; nothing here outlives the process, `durable` or not."""
        del durable
        if not self.close.alive:
            raise StoreError("the file is closed")
        self._left.frontier = frontier

    async def discard(self) -> None:
        self._partials.forget(self._name, self._left)

    def surrender(self, size: int) -> _File:
        there = self._left.file.size()
        if there < size or not self._partials.forget(self._name, self._left):
            raise StoreError(f"a download of {size} bytes cannot be stored: {there} bytes are left")
        os.ftruncate(self._left.file.descriptor, size)
        return self._left.file


class MemoryPartials:
    """Downloads under way or left behind.

    `fail_after`: after so many bytes, of all downloads together, a write fails as on a full disk; None is never.
    """

    def __init__(self, content: MemoryContent) -> None:
        self._content = content
        self._left: dict[str, _Left] = {}
        self.fail_after: int | None = None
        self._written = 0

    async def open(self, name: str) -> MemoryPartial:
        if not is_partial_id(name):
            raise ValueError(f"no id of a partial: {name!r}")
        left = self._left.get(name)
        if left is None or not left.frontier:
            left = self._left[name] = _Left(_File())
        left.frontier = min(left.frontier, left.file.size())
        os.ftruncate(left.file.descriptor, left.frontier)
        return MemoryPartial(name, left, self)

    async def left(self, name: str) -> int:
        left = self._left.get(name)
        return min(left.frontier, left.file.size()) if left else 0

    async def sweep(self) -> int:
        useless = [name for name, left in self._left.items() if not left.frontier or await self._is_held(name)]
        for name in useless:
            del self._left[name]
        return len(useless)

    async def _is_held(self, name: str) -> bool:
        digest = digest_of_partial(name)
        return digest is not None and await self._content.size(digest) is not None

    async def usage(self) -> Amount:
        return Amount(len(self._left), sum(left.file.size() for left in self._left.values()))

    def take(self, count: int) -> None:
        """Account for bytes to be written. Raises StoreError when `fail_after` is passed."""
        self._written += count
        if self.fail_after is not None and self._written > self.fail_after:
            raise StoreError(f"write a download: {os.strerror(errno.ENOSPC)}", full=True)

    def forget(self, name: str, left: _Left) -> bool:
        """Remove a download, unless its name stands for another one by now; tell whether it was there."""
        if self._left.get(name) is not left:
            return False
        del self._left[name]
        return True


class MemoryMetadata:
    """Tags and grants; `uses` is when each manifest was last served, in wall seconds."""

    def __init__(self) -> None:
        self._tags: dict[tuple[RepositoryKey, Tag, str], HeldTag] = {}
        self._grants: dict[tuple[RepositoryKey, Digest, ContentKind], Grant] = {}
        self._provenance: dict[tuple[str, Digest], str] = {}
        self._edges: dict[Digest, Manifest] = {}
        self.uses: dict[tuple[RepositoryKey, Digest], float] = {}

    async def tag(self, repo: RepositoryKey, tag: Tag, variant: str) -> HeldTag | None:
        return self._tags.get((repo, tag, variant))

    async def set_tag(self, repo: RepositoryKey, held: HeldTag) -> None:
        self._tags[repo, held.tag, held.variant] = held

    async def grant(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> Grant | None:
        return self._grants.get((repo, digest, kind))

    async def add_grants(
        self,
        repo: RepositoryKey,
        grants: Sequence[Grant],
        received: Provenance | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        for grant in grants:
            granted = (repo, grant.digest, grant.kind)
            before = self._grants.get(granted)
            known = before.size if before is not None and grant.size is None else grant.size
            self._grants[granted] = replace(grant, size=known)
        if received is not None:
            key = (repo.scope, received.digest)
            self._provenance[key] = received.media_type or self._provenance.get(key, "")
            if manifest is not None:
                self._edges.setdefault(received.digest, manifest)

    async def delete_tag(self, repo: RepositoryKey, tag: Tag) -> bool:
        return _drop(self._tags, lambda key, _: key[:2] == (repo, tag))

    async def delete_grant(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> bool:
        found = self._grants.pop((repo, digest, kind), None)
        if kind is ContentKind.MANIFEST:
            self.uses.pop((repo, digest), None)
            tagged = _drop(self._tags, lambda key, held: (key[0], held.digest) == (repo, digest))
            return found is not None or tagged
        return found is not None

    async def edges(self, digest: Digest) -> Manifest | None:
        return self._edges.get(digest)

    async def add_edges(self, digest: Digest, manifest: Manifest) -> None:
        self._edges.setdefault(digest, manifest)

    async def without_edges(self) -> Sequence[tuple[Digest, str]]:
        manifests = (grant for grant in self._grants.values() if grant.kind is ContentKind.MANIFEST)
        return sorted(
            {grant.digest: grant.media_type for grant in manifests if grant.digest not in self._edges}.items()
        )

    async def provenance(self, scope: str, digest: Digest) -> str | None:
        return self._provenance.get((scope, digest))

    async def revoke(self, repo: RepositoryKey) -> bool:
        tagged = _drop(self._tags, lambda key, _: key[0] == repo)
        return _drop(self._grants, lambda key, _: key[0] == repo) or tagged

    async def used(self, uses: Iterable[tuple[RepositoryKey, Digest]], at: float) -> None:
        for use in uses:
            self.uses[use] = max(at, self.uses.get(use, at))

    async def known(self) -> Sequence[KnownManifest]:
        tags = sorted(self._tags.items(), key=lambda item: (item[0][0].scope, item[0][0].name, *item[0][1:]))
        tagged = {(repo, held.digest) for (repo, _, _), held in tags}
        uses = sorted(self.uses.items(), key=lambda item: (item[0][0].scope, item[0][0].name, item[0][1]))
        return [
            *(KnownManifest(p, held.digest, held, self.uses.get((p, held.digest))) for (p, _, _), held in tags),
            *(KnownManifest(*use, None, at) for use, at in uses if use not in tagged),
        ]


def _drop(rows: dict[K, V], gone: Callable[[K, V], bool]) -> bool:
    keys = [key for key, value in rows.items() if gone(key, value)]
    for key in keys:
        del rows[key]
    return bool(keys)


@dataclass
class MemoryStore:
    """One store in memory."""

    content: MemoryContent = field(default_factory=MemoryContent)
    metadata: MemoryMetadata = field(default_factory=MemoryMetadata)
    partials: MemoryPartials = field(init=False)

    def __post_init__(self) -> None:
        self.partials = MemoryPartials(self.content)


def bytes_of(run: Run) -> bytes:
    """What a run holds."""
    return run if isinstance(run, bytes) else os.pread(run.descriptor, run.stop - run.start, run.start)


def hold_names(store: Path) -> None:
    """Fail if there is something in a store's directory that its layout does not name: a purge would leave it."""
    strangers = [path.name for path in store.glob("*") if not is_ours(path.name)]
    assert not strangers, f"registry/store/layout.py does not name {', '.join(strangers)}"
