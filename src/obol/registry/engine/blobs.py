"""Blobs: from the store, from a transfer that runs, or by a new one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.machine import logs
from obol.machine.bounded import Bounded
from obol.machine.flights import Flights
from obol.machine.tasks import spawn
from obol.oci.errors import BLOB_UNKNOWN, UPSTREAM_BROKEN, OciError
from obol.registry.control.api import Source
from obol.registry.engine.answers import BlobHead, StoredBlob
from obol.registry.engine.refusals import refusal, refused
from obol.registry.engine.storehealth import StoreHealth
from obol.registry.policy.freshness import Refuse, decide_digest
from obol.registry.store.ports import ContentKind, Grant, RepositoryKey, StoreError
from obol.registry.transfers.download import Abandoned, Download, Surroundings
from obol.registry.transfers.follower import Follower
from obol.registry.transfers.transfer import Transfer, TransferFailed
from obol.registry.transfers.watch import Watch
from obol.registry.upstream.ports import Absent, Denied, Misbehaved, RangesRefused, Unavailable, UpstreamError

if TYPE_CHECKING:
    from obol.oci.references import Digest, Repository
    from obol.registry.engine.accounts import Accounts
    from obol.registry.engine.grants import Grants
    from obol.registry.engine.scopes import Scope

REMEMBERED_FAILURES = 1000
FAILURE_SECONDS = 30.0
"""How long a part of a blob is refused after its transfer failed, so that the client takes the rest from upstream."""


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float
    plain: bool


class Blobs:
    """Serves blobs; owns the transfers, at most one for each digest and registry: one's bytes do not trouble others."""

    def __init__(
        self, around: Surroundings, grants: Grants, accounts: Accounts, *, offline: bool, unattended: int
    ) -> None:
        self._around = around
        self._grants = grants
        self._accounts = accounts
        self.store_health = StoreHealth()
        self._offline = offline
        self._seldom = logs.Seldom(around.clock)
        self._transfers: dict[tuple[str, Digest], Transfer] = {}
        self._tasks: dict[asyncio.Task[None], Transfer] = {}
        self._downloads: set[Download] = set()
        self._watch = Watch(around.limits.standstill)
        self._sparing = logs.Sparing(around.clock)
        self._confirming: Flights[tuple[RepositoryKey, Digest], int | None] = Flights(unattended)
        self._failures: Bounded[tuple[str, Digest], _Failure] = Bounded(REMEMBERED_FAILURES)
        self._busy_since: dict[str, float] = {}
        self._busy_count: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._transfers)

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The transfers that run."""
        return tuple(self._transfers.values())

    def start(self) -> None:
        """Begin to watch over the transfers. Needs a running loop."""
        self._watch.start(self._downloads)

    async def get(self, scope: Scope, repository: Repository, digest: Digest, *, part: bool) -> StoredBlob | Follower:
        """A blob to read. `part`: the client asked for something else than the beginning. Raises OciError."""
        repo = scope.key(repository)
        try:
            grant = await self._grants.find(repo, digest, ContentKind.BLOB)
            if grant is None:
                await self._refuse_manifest(repo, digest)
            # A transfer that is being committed is followed, not waited for: its fsync may take seconds.
            stored = (
                None if (scope.registry, digest) in self._transfers else await self._stored(scope, repo, digest, grant)
            )
            if stored is not None:
                return stored
            return await self._follow(scope, repo, digest, grant, part=part)
        except (StoreError, UpstreamError) as problem:
            raise refusal(problem, BLOB_UNKNOWN) from problem

    async def head(self, scope: Scope, repository: Repository, digest: Digest) -> BlobHead:
        """What a GET would give, without fetching it. Raises OciError."""
        repo = scope.key(repository)
        try:
            grant = await self._grants.find(repo, digest, ContentKind.BLOB)
            if grant is None:
                await self._refuse_manifest(repo, digest)
            size = await self._around.content.size(digest)
            if size is not None and grant is not None and await self._grants.provenance(repo, digest) is not None:
                return BlobHead(size, Source.HIT)
            told = await self._confirm(scope, repo, digest)
        except (StoreError, UpstreamError) as problem:
            raise refusal(problem, BLOB_UNKNOWN) from problem
        for known in (size, None if grant is None else grant.size, told):
            if known is not None:
                return BlobHead(known, Source.MISS if size is None else Source.HIT)
        raise OciError(UPSTREAM_BROKEN, "the upstream does not say how long the blob is")

    async def _refuse_manifest(self, repo: RepositoryKey, digest: Digest) -> None:
        """A manifest is never served as a blob: clients would take its bytes for a layer."""
        if await self._grants.find(repo, digest, ContentKind.MANIFEST) is not None:
            raise OciError(BLOB_UNKNOWN, "the digest is that of a manifest")

    async def _stored(
        self, scope: Scope, repo: RepositoryKey, digest: Digest, grant: Grant | None
    ) -> StoredBlob | None:
        known = grant is not None and await self._grants.provenance(repo, digest) is not None
        if not known:
            if await self._around.content.size(digest) is None:
                return None
            await self._confirm(scope, repo, digest)
        content = await self._around.content.open(digest)
        return None if content is None else StoredBlob(repo, digest, content)

    async def _confirm(self, scope: Scope, repo: RepositoryKey, digest: Digest) -> int | None:
        """Ask the upstream whether this repository has the blob. Raises OciError where it may not be asked."""
        self._may_ask(scope)
        try:
            limit = self._around.limits.blob_headers
            return await self._confirming.join((repo, digest), lambda: self._ask(scope, repo, digest), within=limit)
        except TimeoutError:
            raise Unavailable("the upstream did not answer in time") from None

    async def _ask(self, scope: Scope, repo: RepositoryKey, digest: Digest) -> int | None:
        size = await scope.upstream.head_blob(repo.name, digest)
        with suppress(StoreError):  # it may be read all the same, and the next client asks anew
            await self._grants.add(repo, [_grant(digest)], digest)
        return size

    def _may_ask(self, scope: Scope, patience: float = 0.0) -> None:
        decision = decide_digest(scope.upstream.gate(), offline=self._offline, patience=patience)
        if isinstance(decision, Refuse):
            raise refused(decision, BLOB_UNKNOWN)

    async def _follow(
        self, scope: Scope, repo: RepositoryKey, digest: Digest, grant: Grant | None, *, part: bool
    ) -> StoredBlob | Follower:
        while (transfer := self._transfers.get((scope.registry, digest))) is not None and transfer.failure is None:
            followed = await self._join(scope, repo, transfer, grant)
            if followed is not None:
                return followed
            grant = grant or _grant(digest)
            stored = await self._stored(scope, repo, digest, grant)
            if stored is not None:
                return stored
        return self._start(scope, repo, digest, grant, part=part)

    async def _join(
        self, scope: Scope, repo: RepositoryKey, transfer: Transfer, grant: Grant | None
    ) -> Follower | None:
        """Follow a transfer that somebody else started, or None if it is over.

        Another repository's transfer is joined only after our own grant of the blob is known, and when the upstream has
        begun to answer it: before that it may fail for reasons that are theirs.
        """
        followed = Follower(transfer, self._around, scope, joined=True)
        if transfer.repo == repo:
            return followed
        if grant is None:
            await self._confirm(scope, repo, transfer.digest)
        with suppress(TransferFailed), followed:
            await followed.begun()
        return (
            followed
            if self._transfers.get((scope.registry, transfer.digest)) is transfer and transfer.failure is None
            else None
        )

    def _start(self, scope: Scope, repo: RepositoryKey, digest: Digest, grant: Grant | None, *, part: bool) -> Follower:
        now = self._around.clock.monotonic()
        failure = self._failures.get((scope.registry, digest))
        if failure is not None and part and now < failure.until:
            raise OciError(UPSTREAM_BROKEN, "the transfer of this blob failed a moment ago")
        if (scope.registry, digest) in self._transfers:
            # It stood still and does not end; two must not write one file.
            raise OciError(UPSTREAM_BROKEN, "the last transfer of this blob is still being ended")
        self._may_ask(scope, patience=self._around.limits.blob_headers / 2)
        size = None if grant is None else grant.size
        source = scope.upstream.blob(repo.name, digest, size)
        transfer = Transfer(repo, digest, size, source, self._around.clock)
        transfer.plain = failure is not None and failure.plain
        self._transfers[scope.registry, digest] = transfer
        self._accounts.fetches(digest)
        task = spawn(self._run(scope, transfer), name="transfer")
        self._tasks[task] = transfer
        task.add_done_callback(self._tasks.pop)
        return Follower(transfer, self._around, scope, joined=False)

    async def _run(self, scope: Scope, transfer: Transfer) -> None:
        self._enter(scope)
        started = self._around.clock.monotonic()
        granting = spawn(self._grant(transfer), name="grant")
        download = Download(transfer, self._around, scope.upstream.slots, scope.counters)
        self._downloads.add(download)
        try:
            await download.run()
        finally:
            self._downloads.discard(download)
            if self._transfers.get((scope.registry, transfer.digest)) is transfer:
                del self._transfers[scope.registry, transfer.digest]
            self._leave(scope, download.received)
            self._remember((scope.registry, transfer.digest), transfer)
            self._weigh(transfer)
            self._tell(scope, transfer, self._around.clock.monotonic() - started)
            await granting

    async def _grant(self, transfer: Transfer) -> None:
        """The upstream's answer for this repository grants the blob in it."""
        try:
            await transfer.begun()
            await self._grants.add(transfer.repo, [_grant(transfer.digest)], transfer.digest)
        except (TransferFailed, StoreError):
            return

    def _remember(self, key: tuple[str, Digest], transfer: Transfer) -> None:
        if transfer.verified or transfer.failure is None or isinstance(transfer.failure, Absent | Denied | Abandoned):
            self._failures.pop(key)
            return
        wrong = isinstance(transfer.failure, Misbehaved | RangesRefused)
        until = self._around.clock.monotonic() + FAILURE_SECONDS
        self._failures[key] = _Failure(until, plain=wrong)

    def _weigh(self, transfer: Transfer) -> None:
        """Tell whether the store had room for a transfer that has ended."""
        if isinstance(transfer.failure, StoreError):
            self.store_health.failed(transfer.failure, transfer.size)
        elif transfer.verified:
            self.store_health.kept(transfer.frontier)

    def _enter(self, scope: Scope) -> None:
        count = self._busy_count.get(scope.registry, 0)
        if count == 0:
            self._busy_since[scope.registry] = self._around.clock.monotonic()
        self._busy_count[scope.registry] = count + 1

    def _leave(self, scope: Scope, received: int) -> None:
        self._busy_count[scope.registry] -= 1
        scope.counters.fill_bytes += received
        if self._busy_count[scope.registry] == 0:
            scope.counters.fill_seconds += self._around.clock.monotonic() - self._busy_since[scope.registry]

    def _tell(self, scope: Scope, transfer: Transfer, seconds: float) -> None:
        if transfer.verified:
            about = {"registry": scope.registry, "repository": str(transfer.repo.name), "digest": str(transfer.digest)}
            self._sparing.info("blob fetched", **about, bytes=transfer.size, seconds=round(seconds, 3))
        else:
            # Anybody may ask for what there is not, as often as they like, and no byte of that is to be in the log.
            self._seldom.warning(
                "blob not fetched", registry=scope.registry, why=str(transfer.failure), bytes=transfer.frontier
            )

    async def close(self) -> None:
        """Stop every transfer; what has arrived is kept for the next start, and what is verified becomes content."""
        await self._watch.close()
        await self._confirming.close()
        tasks = dict(self._tasks)
        for task, transfer in tasks.items():
            if not transfer.verified:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _grant(digest: Digest) -> Grant:
    """The grant of a blob that the upstream confirmed. What it said of the size is not kept: nothing has proved it."""
    return Grant(digest, ContentKind.BLOB, "", None)
