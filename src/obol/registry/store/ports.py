"""The ports of the store: content, partials, and metadata: tags and grants.

Content is kept once by digest. *Access* is per scope and repository: a scope is the mirror of one upstream
(`docker.io`) or, later, what was pushed to us. A manifest or blob may be read in a repository only if there is a
`Grant` for it: because a manifest of that repository names it, or because the upstream confirmed it there.

All methods are awaited from one event loop; what may block is done in threads by the adapters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from obol.oci.errors import OciError
from obol.oci.references import Digest

if TYPE_CHECKING:
    from obol.oci.manifests import Manifest
    from obol.oci.references import Repository, Tag
    from obol.registry.control.api import Amount

_TRANSFER = re.compile(r"(?P<algorithm>[a-z0-9]+)-(?P<hex>[0-9a-f]+)(?:-[0-9a-f]{16})?")
_UPLOAD = re.compile(r"upload-[0-9a-f]{32}")


class StoreError(Exception):
    """The disk or the index failed us; `__cause__` says how. `full` tells a full disk or an exhausted quota."""

    def __init__(self, what: str, *, full: bool = False) -> None:
        super().__init__(what)
        self.full = full


@dataclass(frozen=True, slots=True)
class FileRun:
    """Bytes `start` to `stop` of a file that the store holds open, for the kernel to send as they are.

    Only the store and the outlet of the server look at the descriptor.
    """

    descriptor: int
    start: int
    stop: int


Run = FileRun | bytes
"""Bytes of a blob that can be sent now: where they are, or the bytes themselves."""


class Readable(Protocol):
    """Open, complete, verified content."""

    size: int

    def run(self, start: int, stop: int) -> Run:
        """Bytes `start` to `stop`; valid until `close`. Raises ValueError after it."""
        ...

    async def read(self) -> bytes:
        """All bytes of something small. Raises StoreError, also where the file is shorter than it should be."""
        ...

    def close(self) -> None:
        """Give it back; safe to repeat."""
        ...


def transfer_id(digest: Digest, scope: str = "") -> str:
    """The id of the partial of a transfer. A scope is told apart by a hash, because its name is no file name.

    Transfers of one digest in two scopes have two partials: one registry's bytes must not spoil another's.
    """
    mark = f"-{hashlib.sha256(scope.encode()).hexdigest()[:16]}" if scope else ""
    return f"{digest.algorithm}-{digest.hex}{mark}"


def digest_of_partial(name: str) -> Digest | None:
    """The digest in the id of a transfer's partial; None for that of an upload, and for what is no id."""
    found = _TRANSFER.fullmatch(name)
    if found is None:
        return None
    try:
        return Digest.parse(f"{found['algorithm']}:{found['hex']}")
    except OciError:
        return None


def is_partial_id(name: str) -> bool:
    """Whether a file of this name is a partial."""
    return _UPLOAD.fullmatch(name) is not None or digest_of_partial(name) is not None


class Partial(Protocol):
    """A blob that is not complete: one file, written at offsets, never visible as content."""

    left: int
    """Bytes from the start that an earlier attempt left, 0 for a new one. They are *not* verified."""

    def run(self, start: int, stop: int) -> Run:
        """Bytes that have been written; valid until `close`. Raises ValueError before the first write and after it."""
        ...

    def read(self, start: int, count: int) -> bytes:
        """At most `count` bytes from `start` on; blocks, so call it in a thread. Raises OSError."""
        ...

    async def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data` at `offset`. Raises StoreError, with `full` where that is why."""
        ...

    async def checkpoint(self, frontier: int, *, durable: bool = False) -> None:
        """Remember that the first `frontier` bytes are there; `durable` also survives a loss of power."""
        ...

    async def discard(self) -> None:
        """Remove the file now. Followers may read on until `close`."""
        ...

    def close(self) -> None:
        """Close the file, keeping it and its checkpoint for a later attempt; safe to repeat."""
        ...


class Content(Protocol):
    """Complete and verified content, by digest."""

    async def size(self, digest: Digest) -> int | None:
        """Bytes of the object, or None if we do not hold it."""
        ...

    async def read(self, digest: Digest) -> bytes | None:
        """All of a small object (a manifest), or None. Its digest is checked; what is damaged is quarantined."""
        ...

    async def open(self, digest: Digest) -> Readable | None:
        """Open it, or None. A file whose size is not what the index says is quarantined and counts as absent."""
        ...

    async def put(self, digest: Digest, data: bytes) -> None:
        """Keep `data`, whose digest the caller has verified. Durable on return. Raises StoreError."""
        ...

    async def adopt(self, partial: Partial, digest: Digest, size: int) -> None:
        """Turn a partial, which the caller has verified, into content. Raises StoreError, also where it is shorter.

        That is: fsync, rename, fsync of the directory, index row. The partial stays readable until its `close`.
        """
        ...

    async def remove(self, digest: Digest) -> bool:
        """Remove it; tells whether it was held. Who has it open reads on. Raises StoreError."""
        ...

    async def verify(self, digest: Digest) -> bool:
        """Read all of it again: is it held, and whole? What has not its digest is quarantined. Raises StoreError."""
        ...

    async def quarantine(self, digest: Digest) -> None:
        """Take it out of service, and keep the file for a person to look into. Raises StoreError."""
        ...

    async def usage(self) -> Amount:
        """What is held now."""
        ...


class Partials(Protocol):
    """Partials, in use or left behind. Their id is that of a transfer (`transfer_id`), or `upload-` and 32 hex digits.

    The digest of an upload is known only at its end.
    """

    async def open(self, name: str) -> Partial:
        """Resume what an earlier attempt left, or begin. Raises StoreError, and ValueError for what is no id."""
        ...

    async def left(self, name: str) -> int:
        """Bytes that the next attempt would resume with; of one that is in use, as of its last checkpoint.

        Raises StoreError.
        """
        ...

    async def sweep(self) -> int:
        """At the start: remove what cannot be resumed (foreign files, no checkpoint, another boot); tells how many."""
        ...

    async def usage(self) -> Amount:
        """Files left or in use, and the bytes they take."""
        ...


class ContentKind(StrEnum):
    """What a digest is in a repository: a manifest is never served as a blob, nor a blob as a manifest."""

    MANIFEST = "manifest"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class RepositoryKey:
    """A repository in a scope (the normalised name of an upstream)."""

    scope: str
    name: Repository


class Grant(msgspec.Struct, frozen=True, gc=False):
    """That a digest may be read in a repository.

    `size` in bytes is what a descriptor or the upstream said, or None; `media_type` is empty for blobs. The collector
    does not look at grants: a manifest may bring tens of thousands, and they are in no cycle.
    """

    digest: Digest
    kind: ContentKind
    media_type: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Content that an upstream gave or confirmed, and as what."""

    digest: Digest
    media_type: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """Nothing of a repository may be read any more."""


@dataclass(frozen=True, slots=True)
class TagDeleted:
    """A tag of a repository means nothing any more, in no variant."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class GrantDeleted:
    """A digest may not be read in a repository any more; tags that meant it as a manifest mean nothing."""

    digest: Digest
    kind: ContentKind


@dataclass(frozen=True, slots=True)
class HeldTag:
    """What a tag meant when it was last asked of the upstream.

    `variant` is "" or, where an upstream answers by Accept, the class of it (`oci.mediatypes.accept_class`).
    `checked_at` is wall time in seconds, for people: freshness is counted by the engine on the monotonic clock.
    """

    tag: Tag
    variant: str
    digest: Digest
    media_type: str
    checked_at: float


@dataclass(frozen=True, slots=True)
class KnownManifest:
    """A manifest that a client asked for: by the tag `held`, or only by its digest.

    `used_at` is when it was last served, in wall seconds; None where that was never written down.
    """

    repo: RepositoryKey
    digest: Digest
    held: HeldTag | None
    used_at: float | None


class Metadata(Protocol):
    """Tags, grants, uses, and what manifests refer to. What is deleted does not come back when an index is repaired."""

    async def tag(self, repo: RepositoryKey, tag: Tag, variant: str) -> HeldTag | None:
        """What the tag last meant, or None."""
        ...

    async def set_tag(self, repo: RepositoryKey, held: HeldTag) -> None:
        """Let a tag mean a digest from now on. Raises StoreError."""
        ...

    async def delete_tag(self, repo: RepositoryKey, tag: Tag) -> bool:
        """Forget all that a tag means; tells whether it meant anything. Raises StoreError."""
        ...

    async def grant(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> Grant | None:
        """The grant of a digest in a repository, or None."""
        ...

    async def add_grants(
        self,
        repo: RepositoryKey,
        grants: Sequence[Grant],
        received: Provenance | None = None,
        manifest: Manifest | None = None,
    ) -> None:
        """Record grants, in one transaction; a known size is never replaced by an unknown one. Raises StoreError.

        `received`: content that the upstream of the scope gave, or said that it has, with its media type where it gave
        a manifest. `manifest`: what it is, whose edges are recorded too.
        """
        ...

    async def delete_grant(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> bool:
        """Forget a grant and, of a manifest, the tags that mean it; tells whether there was one. Raises StoreError."""
        ...

    async def edges(self, digest: Digest) -> Manifest | None:
        """What a manifest refers to; None where that was not recorded."""
        ...

    async def add_edges(self, digest: Digest, manifest: Manifest) -> None:
        """Record what a manifest refers to. Raises StoreError."""
        ...

    async def without_edges(self) -> Sequence[tuple[Digest, str]]:
        """Manifests that may be held and whose edges were not recorded, each with a type that it was said to be of."""
        ...

    async def provenance(self, scope: str, digest: Digest) -> str | None:
        """As what an upstream gave content: the media type of a manifest, "" for a blob; None: it did not, or not yet.

        A grant alone does not say so: a manifest may name what its registry never had.
        """
        ...

    async def revoke(self, repo: RepositoryKey) -> bool:
        """Forget every tag and grant of a repository; tell whether there were any. Raises StoreError."""
        ...

    async def used(self, uses: Iterable[tuple[RepositoryKey, Digest]], at: float) -> None:
        """Record, in one transaction, that these manifests were served at wall time `at` (for eviction and lists)."""
        ...

    async def known(self) -> Sequence[KnownManifest]:
        """Every tag, ordered by scope, repository, name and variant; then what was used and has none, by digest."""
        ...


class Store(Protocol):
    """What one store is made of."""

    @property
    def content(self) -> Content:
        """Complete content."""
        ...

    @property
    def partials(self) -> Partials:
        """Downloads under way."""
        ...

    @property
    def metadata(self) -> Metadata:
        """Tags, grants and uses."""
        ...
