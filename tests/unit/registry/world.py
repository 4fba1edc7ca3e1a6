"""An engine over a store in memory and scripted upstreams, with limits that suit tests."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from obol.machine.tasks import spawn
from obol.oci.errors import BLOB_UNKNOWN, OciError
from obol.oci.references import Digest, Repository, parse_reference
from obol.registry.engine.answers import HeadAnswer, ManifestAnswer, StoredBlob
from obol.registry.engine.engine import Engine
from obol.registry.engine.refusals import refusal
from obol.registry.engine.scopes import Scope
from obol.registry.settings import EngineSettings, TimeLimits, TransferSettings
from obol.registry.store.ports import RepositoryKey
from obol.registry.transfers.follower import Follower
from obol.registry.transfers.transfer import BlobOrigin, Transfer, TransferCounts, TransferEnvironment, TransferFailed
from tests.fakes.clock import FakeClock
from tests.fakes.content import blob as make_blob
from tests.fakes.store import MemoryStore, bytes_of
from tests.fakes.upstream import FakeBlob, FakeSlots, FakeSource, FakeUpstream
from tests.limits import eventually, short_limits

FILL = TransferSettings(segment=1000, segmented_above=1500, connections_per_fill=4, withhold=100, resumes=2)
LIMITS = replace(
    short_limits(
        connect=0.2, manifest=1.0, stale_after=0.05, blob_headers=0.2, follower_gap=0.15, send_stall=0.3, shutdown=0.1
    ),
    keepalive=5.0,  # these two by the fake clock
    abandoned=60.0,
)
REPOSITORY = Repository("team/app")
DIGEST, DATA = make_blob(9500, "layer")


@dataclass(frozen=True, slots=True)
class Got:
    """What a client was given of a blob; not `complete` where it was cut short."""

    data: bytes
    complete: bool


WHOLE = Got(DATA, complete=True)


def one_blob(*repositories: str, data: bytes = DATA) -> tuple[FakeUpstream, FakeBlob]:
    """An upstream with one blob, in one repository or more; the same script for all."""
    one = FakeUpstream()
    blob = one.add_blob(REPOSITORY, DIGEST, data)
    for repository in repositories:
        one.add_blob(repository, DIGEST, data)
        one._repositories[repository].blobs[DIGEST] = blob
    return one, blob


@dataclass
class World:
    """One running engine and everything around it; `upstream` and `space` are the first."""

    engine: Engine
    store: MemoryStore
    clock: FakeClock
    upstreams: tuple[FakeUpstream, ...]
    scopes: tuple[Scope, ...]

    @property
    def upstream(self) -> FakeUpstream:
        return self.upstreams[0]

    @property
    def scope(self) -> Scope:
        return self.scopes[0]

    async def manifest(
        self, reference: str, *accept: str, repository: str = REPOSITORY, head: bool = False, scope: Scope | None = None
    ) -> ManifestAnswer | HeadAnswer:
        reference = parse_reference(reference)
        answer = await self.engine.manifests.get(
            scope or self.scope, Repository(repository), reference, accept, head=head
        )
        if isinstance(answer, ManifestAnswer):
            self.engine.used(answer.repo, answer.digest)  # as the server does
        return answer

    async def document(self, reference: str, *accept: str) -> ManifestAnswer:
        """Ask for a manifest that must come whole."""
        answer = await self.manifest(reference, *accept)
        assert isinstance(answer, ManifestAnswer)
        return answer

    async def blob(
        self, digest: str, *, repository: str = REPOSITORY, part: bool = False, scope: Scope | None = None
    ) -> StoredBlob | Follower:
        return await self.engine.blobs.get(scope or self.scope, Repository(repository), Digest(digest), part=part)

    async def size(self, digest: str, *, repository: str = REPOSITORY) -> int:
        return (await self.engine.blobs.head(self.scope, Repository(repository), Digest(digest))).size

    async def pull(self, digest: str, *, repository: str = REPOSITORY) -> bytes:
        got = await take(await self.blob(digest, repository=repository))
        assert got.complete
        return got.data

    async def follow(self, *, repository: str = REPOSITORY) -> Follower:
        """Ask for the blob of `one_blob` while it is not stored."""
        answer = await self.blob(DIGEST, repository=repository)
        assert not isinstance(answer, StoredBlob)
        return answer

    async def client(self, blob: FakeBlob, at: int) -> asyncio.Task[Got]:
        """A client of `one_blob`, whose upstream stands still at byte `at` until `let_go`, and has come so far."""
        blob.hold(at)
        client = spawn(take(await self.follow()), name="client")
        await eventually(lambda: blob.sent >= at)
        return client

    async def got(self, digest: str = DIGEST) -> Got:
        """What a client gets of a blob, when its transfer has ended."""
        got = await take(await self.blob(digest))
        await self.idle()
        return got

    async def refused(self, repository: str = REPOSITORY, *, part: bool = False) -> OciError:
        """Ask for the blob of `one_blob` in vain."""
        with pytest.raises(OciError) as refusal:
            await take(await self.blob(DIGEST, repository=repository, part=part))
        return refusal.value

    async def stored(self, digest: str = DIGEST) -> bool:
        return await self.store.content.size(Digest(digest)) is not None

    async def idle(self) -> None:
        """Wait until no blob is being fetched."""
        await eventually(lambda: self.engine.transfers == 0)


def new_transfer(environment: TransferEnvironment, digest: Digest, size: int | None) -> Transfer:
    """A transfer that has not begun, with no engine around it."""
    origin = BlobOrigin(FakeSource(FakeUpstream(), REPOSITORY, digest), FakeSlots(), TransferCounts())
    return Transfer(RepositoryKey("registry.test", REPOSITORY), digest, size, origin, environment)


async def take(blob: StoredBlob | Follower, start: int = 0, stop: int | None = None) -> Got:
    """Read a blob as the server does."""
    if isinstance(blob, StoredBlob):
        data = await blob.content.read()
        blob.content.close()
        return Got(data[start:stop], complete=True)
    data = b""
    with blob:
        try:
            await blob.opened(start)
        except TransferFailed as failed:
            raise refusal(failed, BLOB_UNKNOWN) from failed
        end = blob.size if stop is None else stop
        try:
            async for run in blob.runs(start, end):
                data += bytes_of(run)
        except TransferFailed:
            return Got(data, complete=False)
    return Got(data, complete=True)


@asynccontextmanager
async def world(
    *upstreams: FakeUpstream,
    store: MemoryStore | None = None,
    fill: TransferSettings = FILL,
    limits: TimeLimits = LIMITS,
    **settings: Any,
) -> AsyncIterator[World]:
    """Build an engine, with one upstream if none is given; close it at the end."""
    upstreams = upstreams or (FakeUpstream(),)
    store = store or MemoryStore()
    clock = FakeClock()
    whole = EngineSettings(
        Path("unused"), tuple(one.settings for one in upstreams), (), limits=limits, fill=fill, **settings
    )
    scopes = tuple(Scope(one.settings.registry, one) for one in upstreams)
    with ThreadPoolExecutor(1) as threads:
        engine = Engine(whole, scopes, store, clock, threads)
        try:
            yield World(engine, store, clock, upstreams, scopes)
        finally:
            await engine.close()
