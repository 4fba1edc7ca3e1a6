"""The engine: one request in, one answer out.

Everything that a client may ask passes here once, and is counted here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from obol.machine.tasks import spawn
from obol.oci.errors import OciError
from obol.oci.requests import BlobRequest, ManifestRequest, ReferrersRequest, TagsRequest
from obol.registry.engine.accounts import Account, Accounts
from obol.registry.engine.answers import Document, DocumentHead, Page, Source, StoredBlob
from obol.registry.engine.blobs import Blobs
from obol.registry.engine.grants import Grants
from obol.registry.engine.inventory import take_inventory
from obol.registry.engine.listings import Listings
from obol.registry.engine.manifests import Manifests
from obol.registry.engine.progress import ProgressTaker
from obol.registry.engine.scopes import Scope, Scopes
from obol.registry.store.ports import RepositoryKey, Store, StoreError
from obol.registry.transfers.download import Surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from obol.machine.clock import Clock
    from obol.oci.references import Digest
    from obol.registry.control.api import Inventory, ProgressRequest, ProgressStatus, StoreState
    from obol.registry.engine.counters import Counters
    from obol.registry.engine.storehealth import DiskSpace
    from obol.registry.settings import EngineSettings
    from obol.registry.transfers.follower import Follower

USES_EVERY = 30.0
"""Seconds between two writes of what was used: a hit costs no write of its own."""


class Engine:
    """A pull-through registry without HTTP."""

    def __init__(
        self,
        settings: EngineSettings,
        scopes: tuple[Scope, ...],
        store: Store,
        clock: Clock,
        threads: Executor,
    ) -> None:
        self.settings = settings
        self.scopes = Scopes(scopes)
        self.store = store
        self.clock = clock
        around = Surroundings(store.partials, store.content, settings.fill, settings.limits, clock, threads)
        self.accounts = Accounts()
        self.grants = Grants(store.metadata)
        self._manifests = Manifests(store.content, self.grants, clock, settings, self.accounts)
        offline, unattended = settings.offline, settings.unattended
        self._blobs = Blobs(around, self.grants, self.accounts, offline=offline, unattended=unattended)
        self._listings = Listings(settings.limits.manifest, offline=offline, unattended=unattended)
        self._progress = ProgressTaker(self.scopes, store, self._blobs, clock)
        self._uses: dict[tuple[RepositoryKey, Digest], None] = {}
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the work that goes on beside requests. Needs a running loop."""
        self._writing = spawn(self._write_uses(), name="uses")
        self._blobs.start()

    @property
    def transfers(self) -> int:
        """How many blobs are being fetched."""
        return len(self._blobs)

    def store_state(self, disk: DiskSpace | None) -> tuple[StoreState, str]:
        """Whether the store keeps what comes, and why not."""
        return self._blobs.store_health.state(disk)

    def open_account(self, owner: int) -> Account | None:
        """Begin to count what each client is given; `owner` is the process that asks. None where too many do."""
        return self.accounts.open(owner, [transfer.digest for transfer in self._blobs.transfers])

    async def manifest(
        self, scope: Scope, request: ManifestRequest, accept: Sequence[str], *, head: bool
    ) -> Document | DocumentHead:
        """A manifest; `accept`: values of the Accept header as they came. Raises OciError."""
        counters = scope.counters
        try:
            answer = await self._manifests.get(scope, request.repository, request.reference, accept, head=head)
        except OciError:
            counters.error += 1
            raise
        match answer:
            case Document():
                self.count(counters, answer)
                self.used(answer.repo, answer.digest)
            case DocumentHead():
                counters.miss += 1
            case never:
                assert_never(never)
        return answer

    async def blob(self, scope: Scope, request: BlobRequest, *, part: bool) -> StoredBlob | Follower:
        """A blob to read; see `Blobs.get`. Raises OciError."""
        try:
            answer = await self._blobs.get(scope, request.repository, request.digest, part=part)
        except OciError:
            scope.counters.error += 1
            raise
        if isinstance(answer, StoredBlob) or answer.joined:
            scope.counters.hit += 1
        else:
            scope.counters.miss += 1
        return answer

    async def blob_size(self, scope: Scope, request: BlobRequest) -> int:
        """Size of a blob, without fetching it. Raises OciError."""
        return await self._blobs.head(scope, request.repository, request.digest)

    async def page(self, scope: Scope, request: TagsRequest | ReferrersRequest) -> Page:
        """One page of a list. Raises OciError."""
        if isinstance(request, TagsRequest):
            return await self._listings.tags(scope, request)
        return await self._listings.referrers(scope, request)

    def count(self, counters: Counters, document: Document) -> None:
        """Account for a manifest that is served, also when `server` gives it from its own memory."""
        match document.source:
            case Source.HIT | Source.REVALIDATED:
                counters.hit += 1
                counters.bytes_from_cache += document.length
            case Source.STALE:
                counters.stale += 1
                counters.bytes_from_cache += document.length
            case Source.MISS:
                counters.miss += 1
            case never:
                assert_never(never)

    def used(self, repo: RepositoryKey, digest: Digest) -> None:
        """Remember that a manifest was served, for eviction and lists."""
        self._uses[repo, digest] = None

    async def inventory(self) -> Inventory:
        """The images that are held, with what was served up to now. Raises StoreError."""
        await self._flush_uses()
        return await take_inventory(self.store)

    async def progress(self, wanted: ProgressRequest) -> ProgressStatus:
        """How far images are on their way. Nothing is counted for it beforehand. Raises ValueError, StoreError."""
        return await self._progress.of(wanted)

    async def _write_uses(self) -> None:
        while True:
            await self.clock.sleep(USES_EVERY)
            await self._flush_uses()

    async def _flush_uses(self) -> None:
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await self.store.metadata.used(uses, self.clock.wall())
        except StoreError:
            return

    async def close(self) -> None:
        """Stop everything that runs; what has arrived of a blob is kept."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._blobs.close()
        await self._manifests.close()
        await self._listings.close()
        await self._flush_uses()
