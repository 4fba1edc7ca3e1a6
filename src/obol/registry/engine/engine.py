"""The engine: what answers requests, and the work that goes on beside them.

The server asks one of its parts: `manifests`, `blobs` or `listings`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from obol.machine.tasks import spawn
from obol.registry.engine.accounts import Account, Accounts
from obol.registry.engine.blobs import Blobs
from obol.registry.engine.grants import Grants
from obol.registry.engine.listings import Listings
from obol.registry.engine.manifests import Manifests
from obol.registry.engine.progress import ProgressTaker
from obol.registry.engine.scopes import Scope, Scopes
from obol.registry.store.ports import RepositoryKey, Store, StoreError
from obol.registry.transfers.transfer import TransferEnvironment

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from obol.machine.clock import Clock
    from obol.oci.references import Digest
    from obol.registry.control.api import ProgressRequest, ProgressStatus
    from obol.registry.settings import EngineSettings

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
        environment = TransferEnvironment(store.partials, store.content, settings.fill, settings.limits, clock, threads)
        self.accounts = Accounts()
        self.grants = Grants(store.metadata)
        self.manifests = Manifests(store.content, self.grants, clock, settings, self.accounts)
        offline, unattended = settings.offline, settings.unattended
        self.blobs = Blobs(environment, self.grants, self.accounts, offline=offline, unattended=unattended)
        self.listings = Listings(settings.limits.manifest, offline=offline, unattended=unattended)
        self._progress = ProgressTaker(self.scopes, store, self.blobs, clock)
        self._uses: dict[tuple[RepositoryKey, Digest], None] = {}
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the work that goes on beside requests. Needs a running loop."""
        self._writing = spawn(self._write_uses(), name="uses")
        self.blobs.start()

    @property
    def transfers(self) -> int:
        """How many blobs are being fetched."""
        return len(self.blobs.transfers)

    def open_account(self, owner: int) -> Account | None:
        """Begin to count what each client is given; `owner` is the process that asks. None where too many do."""
        return self.accounts.open(owner, [transfer.digest for transfer in self.blobs.transfers])

    def used(self, repo: RepositoryKey, digest: Digest) -> None:
        """Remember that a manifest was served, for eviction and lists."""
        self._uses[repo, digest] = None

    async def progress(self, wanted: ProgressRequest) -> ProgressStatus:
        """How far images are on their way. Nothing is counted for it beforehand. Raises ValueError, StoreError."""
        return await self._progress.of(wanted)

    async def _write_uses(self) -> None:
        while True:
            await self.clock.sleep(USES_EVERY)
            await self.flush_uses()

    async def flush_uses(self) -> None:
        """Write down what was served up to now; a store that fails keeps none of it."""
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
        await self.blobs.close()
        await self.manifests.close()
        await self.listings.close()
        await self.flush_uses()
