"""Who may read what: a grant of the repository, and content that its own upstream gave or confirmed.

A manifest lets its repository read what it names. But a manifest may name anything. So content that only another
registry gave is not served on the word of a manifest: the upstream is asked first. When an upstream says that a
repository is not for us any more, all of its grants end, those of digests too.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from obol.machine import logs
from obol.machine.bounded import Bounded
from obol.registry.store.ports import ContentKind, Grant, Metadata, Provenance, RepositoryKey, StoreError

if TYPE_CHECKING:
    from obol.oci.manifests import Manifest
    from obol.oci.references import Digest

REMEMBERED = 10_000


class AnswerCache(Protocol):
    """Answers that are given again without asking here."""

    def forget(self, gone: RepositoryKey | Digest) -> None:
        """Give none of a repository, or with some content, again."""
        ...


class Grants:
    """The grants of the store, with provenances kept at hand. Ready answers end with a grant."""

    def __init__(self, metadata: Metadata) -> None:
        self.metadata = metadata
        self._provenance: Bounded[tuple[str, Digest], str] = Bounded(REMEMBERED)
        self.readable: Bounded[tuple[RepositoryKey, Digest], bool] = Bounded(REMEMBERED)
        """Blobs that were read in a repository: of these nothing is looked up again as long as grants stay."""
        self.ready: WeakSet[AnswerCache] = WeakSet()

    async def find(self, repo: RepositoryKey, digest: Digest, kind: ContentKind) -> Grant | None:
        """The grant of a digest in a repository, or None. Raises StoreError."""
        return await self.metadata.grant(repo, digest, kind)

    async def provenance(self, repo: RepositoryKey, digest: Digest) -> str | None:
        """As what the upstream of a repository gave content (see `Metadata.provenance`), or None. Raises StoreError."""
        key = repo.scope, digest
        known = self._provenance.get(key)
        if known is None:
            known = await self.metadata.provenance(*key)
            if known is not None:
                self._provenance[key] = known
        return known

    async def add(
        self, repo: RepositoryKey, grants: Sequence[Grant], received: Provenance, manifest: Manifest | None = None
    ) -> None:
        """Record grants, and that the upstream gave or confirmed content (a `manifest`). Raises StoreError."""
        await self.metadata.add_grants(repo, grants, received, manifest)
        self._provenance.pop((repo.scope, received.digest))

    async def revoke(self, repo: RepositoryKey) -> None:
        """The upstream says that the repository is not for us any more."""
        with suppress(StoreError):  # the next check says so again
            if await self.metadata.revoke(repo):
                about = {"registry": repo.scope, "repository": str(repo.name)}
                logs.get().warning("access revoked by the upstream", **about)
        self.forget(repo)

    def forget(self, gone: RepositoryKey | Digest) -> None:
        """Believe nothing any more of a repository, or of some content: it is looked up again, or asked for again."""
        self.readable = Bounded(REMEMBERED)
        for answers in self.ready:
            answers.forget(gone)
