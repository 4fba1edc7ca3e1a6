"""Blobs: from the store, from a transfer that runs, or by a new one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
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
from obol.registry.store.ports import ContentKind, Grant, Provenance, RepositoryKey, StoreError
from obol.registry.transfers.download import Download
from obol.registry.transfers.follower import Follower
from obol.registry.transfers.transfer import Abandoned, BlobOrigin, Transfer, TransferEnvironment, TransferFailed, Watch
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
class _Lookup:
    """A blob that a client asks for, with the grant that its repository has for it."""

    scope: Scope
    repo: RepositoryKey
    digest: Digest
    grant: Grant | None
    key: tuple[str, Digest]
    """Of its transfer."""
    readable: Bounded[tuple[RepositoryKey, Digest], bool]
    """That of the moment before anything was looked up: another one has taken its place where grants ended since."""


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float
    plain: bool


class Blobs:
    """Serves blobs; owns the transfers, at most one for each digest and registry: one's bytes do not trouble others."""

    def __init__(
        self, environment: TransferEnvironment, grants: Grants, accounts: Accounts, *, offline: bool, unattended: int
    ) -> None:
        self._environment = environment
        self._content = environment.content
        self._clock = environment.clock
        self._patience = environment.limits.blob_headers
        self._grants = grants
        self._accounts = accounts
        self.store_health = StoreHealth()
        self._offline = offline
        self._transfers: dict[tuple[str, Digest], Transfer] = {}
        self._tasks: dict[asyncio.Task[None], Transfer] = {}
        self._watch = Watch(lambda: self.transfers, environment.limits.standstill)
        self._fetched = logs.Sparing(self._clock)
        self._not_fetched = logs.Seldom(self._clock)
        self._confirming: Flights[tuple[RepositoryKey, Digest], int | None] = Flights(unattended)
        self._failures: Bounded[tuple[str, Digest], _Failure] = Bounded(REMEMBERED_FAILURES)

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The transfers that run."""
        return tuple(self._transfers.values())

    def start(self) -> None:
        """Begin to watch over the transfers. Needs a running loop."""
        self._watch.start()

    async def get(self, scope: Scope, repository: Repository, digest: Digest, *, part: bool) -> StoredBlob | Follower:
        """A blob to read. `part`: the client asked for something else than the beginning. Raises OciError."""
        try:
            if self._grants.readable.get((scope.key(repository), digest)):
                content = await self._content.open(digest)
                if content is not None:
                    return StoredBlob(scope.key(repository), digest, content)
            asked = await self._look_up(scope, repository, digest)
            # A transfer that is being committed is followed, not waited for: its fsync may take seconds.
            if asked.key not in self._transfers and (stored := await self._stored(asked)) is not None:
                return stored
            while (transfer := self._transfers.get(asked.key)) is not None and transfer.failure is None:
                if await self._may_join(asked, transfer):
                    return Follower(transfer, joined=True)
                asked = replace(asked, grant=asked.grant or _grant(digest))
                if (stored := await self._stored(asked)) is not None:
                    return stored
            return Follower(self._start(asked, part=part), joined=False)
        except (StoreError, UpstreamError, TransferFailed) as problem:
            raise refusal(problem, BLOB_UNKNOWN) from problem

    async def head(self, scope: Scope, repository: Repository, digest: Digest) -> BlobHead:
        """What a GET would give, without fetching it. Raises OciError."""
        try:
            asked = await self._look_up(scope, repository, digest)
            size = await self._content.size(digest)
            if size is not None and asked.grant and await self._grants.provenance(asked.repo, digest) is not None:
                return BlobHead(size, Source.HIT)
            told = await self._confirm(asked)
        except (StoreError, UpstreamError) as problem:
            raise refusal(problem, BLOB_UNKNOWN) from problem
        for known in (size, None if asked.grant is None else asked.grant.size, told):
            if known is not None:
                return BlobHead(known, Source.MISS if size is None else Source.HIT)
        raise OciError(UPSTREAM_BROKEN, "the upstream does not say how long the blob is")

    async def _look_up(self, scope: Scope, repository: Repository, digest: Digest) -> _Lookup:
        repo, readable = scope.key(repository), self._grants.readable
        grant = await self._grants.find(repo, digest, ContentKind.BLOB)
        if grant is None and await self._grants.find(repo, digest, ContentKind.MANIFEST) is not None:
            # A manifest is never served as a blob: clients would take its bytes for a layer.
            raise OciError(BLOB_UNKNOWN, "the digest is that of a manifest")
        return _Lookup(scope, repo, digest, grant, (repo.scope, digest), readable)

    async def _stored(self, asked: _Lookup) -> StoredBlob | None:
        if asked.grant is None or await self._grants.provenance(asked.repo, asked.digest) is None:
            if await self._content.size(asked.digest) is None:
                return None
            await self._confirm(asked)
        content = await self._content.open(asked.digest)
        if content is None:
            return None
        asked.readable[asked.repo, asked.digest] = True
        return StoredBlob(asked.repo, asked.digest, content)

    async def _confirm(self, asked: _Lookup) -> int | None:
        """Ask the upstream whether this repository has the blob. Raises OciError where it may not be asked."""
        self._may_ask(asked.scope)

        async def ask() -> int | None:
            size = await asked.scope.upstream.head_blob(asked.repo.name, asked.digest)
            with suppress(StoreError):  # it may be read all the same, and the next client asks anew
                await self._grants.add(asked.repo, [_grant(asked.digest)], Provenance(asked.digest, ""))
            return size

        try:
            return await self._confirming.join((asked.repo, asked.digest), ask, within=self._patience)
        except TimeoutError:
            raise Unavailable("the upstream did not answer in time") from None

    def _may_ask(self, scope: Scope, patience: float = 0.0) -> None:
        decision = decide_digest(scope.upstream.gate(), offline=self._offline, patience=patience)
        if isinstance(decision, Refuse):
            raise refused(decision, BLOB_UNKNOWN)

    async def _may_join(self, asked: _Lookup, transfer: Transfer) -> bool:
        """Whether to follow a transfer that another client started; False if it is over.

        Another repository's transfer is joined only after our own grant of the blob is known, and when the upstream has
        begun to answer it: before that it may fail for reasons that are theirs.
        """
        if transfer.repo == asked.repo:
            return True
        if asked.grant is None:
            await self._confirm(asked)
        try:
            with Follower(transfer, joined=True) as follower:
                await follower.begun()
        except TransferFailed:
            if transfer.failure is None:
                raise
        return self._transfers.get(asked.key) is transfer and transfer.failure is None

    def _start(self, asked: _Lookup, *, part: bool) -> Transfer:
        scope, failure = asked.scope, self._failures.get(asked.key)
        if failure is not None and part and self._clock.monotonic() < failure.until:
            raise OciError(UPSTREAM_BROKEN, "the transfer of this blob failed a moment ago")
        if asked.key in self._transfers:
            # It stood still and does not end; two must not write one file.
            raise OciError(UPSTREAM_BROKEN, "the last transfer of this blob is still being ended")
        self._may_ask(scope, patience=self._patience / 2)
        size = None if asked.grant is None else asked.grant.size
        source = scope.upstream.blob(asked.repo.name, asked.digest, size)
        origin = BlobOrigin(source, scope.upstream.slots, scope.counters.transfers)
        transfer = Transfer(asked.repo, asked.digest, size, origin, self._environment)
        if failure is not None and failure.plain:
            transfer.without_ranges()
        self._transfers[asked.key] = transfer
        self._accounts.fetches(asked.digest)
        task = spawn(self._run(asked.key, transfer), name="transfer")
        self._tasks[task] = transfer
        task.add_done_callback(self._tasks.pop)
        return transfer

    async def _run(self, key: tuple[str, Digest], transfer: Transfer) -> None:
        counts = transfer.origin.counts
        counts.begin(self._clock.monotonic())
        granting = spawn(self._grant(transfer), name="grant")
        try:
            await Download(transfer).run()
        finally:
            del self._transfers[key]
            counts.end(self._clock.monotonic(), transfer.received)
            self._ended(key, transfer)
            await granting

    async def _grant(self, transfer: Transfer) -> None:
        """The upstream's answer for this repository lets it read the blob."""
        with suppress(TransferFailed, StoreError):
            await transfer.begun()
            await self._grants.add(transfer.repo, [_grant(transfer.digest)], Provenance(transfer.digest, ""))

    def _ended(self, key: tuple[str, Digest], transfer: Transfer) -> None:
        """Note and tell what became of a transfer."""
        scope, failure = transfer.repo.scope, transfer.failure
        if isinstance(failure, StoreError):
            self.store_health.failed(failure, transfer.size)
        elif transfer.verified:
            self.store_health.kept(transfer.frontier)
        if transfer.verified or isinstance(failure, Absent | Denied | Abandoned):
            self._failures.pop(key)
        else:
            wrong = isinstance(failure, Misbehaved | RangesRefused)
            self._failures[key] = _Failure(self._clock.monotonic() + FAILURE_SECONDS, plain=wrong)
        if transfer.verified:
            about = {"registry": scope, "repository": str(transfer.repo.name), "digest": str(transfer.digest)}
            seconds = round(self._clock.monotonic() - transfer.began_at, 3)
            self._fetched.info("blob fetched", **about, bytes=transfer.size, seconds=seconds)
        else:
            # Anybody may ask for what there is not, as often as they like, and no byte of that is to be in the log.
            self._not_fetched.warning("blob not fetched", registry=scope, why=str(failure), bytes=transfer.frontier)

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
