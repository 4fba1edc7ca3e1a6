"""Manifests: by digest, which never changes, and by tag, which may.

`policy.freshness` decides how long a stored answer is trusted. What is fetched is kept together with the grants that it
implies: a manifest of a repository lets the repository read all that it names. All of that is done in the flight of the
question, so that an answer which comes too late for its client is there for the next one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from obol.machine import logs
from obol.machine.bounded import Recent
from obol.machine.flights import Flights
from obol.machine.tasks import in_steps
from obol.oci.errors import MANIFEST_UNKNOWN, UPSTREAM_BROKEN, OciError
from obol.oci.manifests import STEP, is_opaque
from obol.oci.mediatypes import MANIFEST_TYPES, SCHEMA1, accept_class, accepted, upstream_accept
from obol.oci.references import Digest, Reference, Repository, Tag
from obol.registry.control.api import Problem, Source
from obol.registry.engine.answers import HeadAnswer, ManifestAnswer
from obol.registry.engine.refusals import refusal, refused
from obol.registry.engine.storedmanifests import IN_MEMORY, StoredManifest, StoredManifests
from obol.registry.policy.freshness import (
    Refuse,
    Revalidate,
    ServeStale,
    ServeStored,
    TagDecision,
    decide_digest,
    decide_tag,
)
from obol.registry.store.ports import Content, ContentKind, Grant, HeldTag, Provenance, RepositoryKey, StoreError
from obol.registry.upstream.ports import (
    Absent,
    Denied,
    ManifestBody,
    UpstreamError,
)
from obol.registry.upstream.reading import LargeAnswers

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from obol.machine.clock import Clock
    from obol.oci.manifests import Manifest
    from obol.registry.engine.accounts import Accounts
    from obol.registry.engine.grants import Grants
    from obol.registry.engine.scopes import Scope
    from obol.registry.settings import EngineSettings

FULL_ACCEPT = upstream_accept(())


@dataclass(frozen=True, slots=True)
class ManifestLookup:
    """A reference in a repository, as one client asks for it."""

    scope: Scope
    repo: RepositoryKey
    reference: Reference
    accepted: frozenset[str] | None
    accept: tuple[str, ...]
    head: bool

    @property
    def wants_others(self) -> bool:
        """Whether the client lists kinds of document that are not asked for otherwise."""
        return self.accepted is not None and not self.accepted <= MANIFEST_TYPES | SCHEMA1

    @property
    def upstream_accept(self) -> str:
        """The Accept header to ask the upstream with."""
        return upstream_accept(self.accept) if self.accept else FULL_ACCEPT


class Manifests:
    """Serves manifests."""

    def __init__(
        self, content: Content, grants: Grants, clock: Clock, settings: EngineSettings, accounts: Accounts
    ) -> None:
        self._content = content
        self._documents = StoredManifests(content)
        self._turns = LargeAnswers()
        self._metadata = grants.metadata
        self._grants = grants
        self._clock = clock
        self._settings = settings
        self._accounts = accounts
        self._confirmed: Recent[tuple[RepositoryKey, Tag, str]] = Recent(clock)
        self._sparing = logs.Sparing(clock)
        self._absent: Recent[tuple[RepositoryKey, Reference]] = Recent(clock)
        self._fetches: Flights[tuple[RepositoryKey, Reference, str, str], ManifestBody] = Flights(settings.unattended)
        self._heads: Flights[tuple[RepositoryKey, Reference, str, str], HeadAnswer | None] = Flights(
            settings.unattended
        )
        self._checks: Flights[tuple[RepositoryKey, Tag, str], HeldTag] = Flights(settings.unattended)

    async def get(
        self, scope: Scope, repository: Repository, reference: Reference, accept: Sequence[str], *, head: bool
    ) -> ManifestAnswer | HeadAnswer:
        """A manifest, or with `head` at least what is known of it. Raises OciError.

        `accept`: the values of the Accept header.
        """
        wanted = ManifestLookup(scope, scope.key(repository), reference, accepted(accept), tuple(accept), head)
        try:
            # One answer may take several questions, each with the whole limit.
            async with asyncio.timeout(self._settings.limits.manifest):
                if isinstance(reference, Digest):
                    return await self._by_digest(wanted, reference, Source.HIT, None)
                return await self._by_tag(wanted, reference)
        except TimeoutError:
            raise OciError(UPSTREAM_BROKEN, "the upstream did not answer in time") from None
        except (UpstreamError, StoreError) as problem:
            if isinstance(problem, Absent):
                self._absent.mark((wanted.repo, reference))
            raise refusal(problem, MANIFEST_UNKNOWN) from problem

    def _refuse_known_absence(self, wanted: ManifestLookup) -> None:
        age = self._absent.age((wanted.repo, wanted.reference))
        if age is not None and age < self._settings.negative_ttl:
            raise OciError(MANIFEST_UNKNOWN, "the upstream does not have it", problem=Problem.ABSENT)

    async def _by_tag(self, wanted: ManifestLookup, tag: Tag) -> ManifestAnswer | HeadAnswer:
        held, variant = await self._held(wanted, tag)
        key = (wanted.repo, tag, variant)
        age = self._confirmed.age(key)
        match self._decide(wanted, age, held):
            case ServeStored() if held is not None and age is not None:
                return await self._meant(wanted, held, Source.HIT, self._settings.tag_ttl - age)
            case ServeStale() if held is not None:
                return await self._by_digest(wanted, held.digest, Source.STALE, 0.0)
            case Revalidate() if held is not None:
                self._refuse_known_absence(wanted)
                return await self._revalidated(wanted, held)
            case Refuse() as decision:
                raise refused(decision, MANIFEST_UNKNOWN)
            case _:
                self._refuse_known_absence(wanted)
                return await self._first_time(wanted, tag, variant)

    async def _meant(
        self, wanted: ManifestLookup, held: HeldTag, source: Source, fresh_for: float
    ) -> ManifestAnswer | HeadAnswer:
        """What a fresh tag means; asked anew where the upstream does not have the digest that it told."""
        try:
            return await self._by_digest(wanted, held.digest, source, fresh_for)
        except Absent:
            return await self._first_time(replace(wanted, head=False), held.tag, held.variant)

    def _decide(self, wanted: ManifestLookup, age: float | None, held: HeldTag | None) -> TagDecision:
        gate = wanted.scope.upstream.gate()
        return decide_tag(age, self._settings.tag_ttl, gate, held=held is not None, offline=self._settings.offline)

    async def _held(self, wanted: ManifestLookup, tag: Tag) -> tuple[HeldTag | None, str]:
        """What the tag means for this client, and which class of clients that is.

        An upstream may answer by Accept, so a client is given a kind of manifest that it listed, if there is one.
        """
        held = await self._metadata.tag(wanted.repo, tag, "")
        if held is None or wanted.accepted is None or held.media_type in wanted.accepted:
            return held, ""
        variant = accept_class(wanted.accepted)
        return await self._metadata.tag(wanted.repo, tag, variant), variant

    async def _revalidated(self, wanted: ManifestLookup, held: HeldTag) -> ManifestAnswer | HeadAnswer:
        """Ask whether the tag moved; a late or broken answer leaves what we hold."""
        key = (wanted.repo, held.tag, held.variant)
        limit = self._settings.limits.stale_after
        try:
            fresh = await self._checks.join(key, lambda: self._check(wanted, held), within=limit)
        except (TimeoutError, UpstreamError) as problem:
            if isinstance(problem, Absent | Denied):
                raise
            return await self._by_digest(wanted, held.digest, Source.STALE, 0.0)
        return await self._meant(wanted, fresh, Source.REVALIDATED, self._settings.tag_ttl)

    async def _check(self, wanted: ManifestLookup, held: HeldTag) -> HeldTag:
        """Ask by HEAD, which costs nothing of a rate limit; what it does not confirm is asked by GET."""
        told = await wanted.scope.upstream.head_manifest(wanted.repo.name, held.tag, wanted.upstream_accept)
        if told.digest == held.digest:
            fresh = replace(held, checked_at=self._clock.wall())
            await self._set_tag(wanted.repo, fresh)
            return fresh
        got = await self._fetch(wanted, held.tag, held.variant)
        return self._meaning(held.tag, held.variant, got.digest, got.manifest.media_type)

    def _meaning(self, tag: Tag, variant: str, digest: Digest, media_type: str) -> HeldTag:
        return HeldTag(tag, variant, digest, media_type, self._clock.wall())

    async def _set_tag(self, repo: RepositoryKey, held: HeldTag) -> None:
        """Keep what a tag means. Where that fails the client has its answer all the same; the next one asks anew."""
        with suppress(StoreError):
            await self._metadata.set_tag(repo, held)
            self._confirmed.mark((repo, held.tag, held.variant))

    async def _first_time(self, wanted: ManifestLookup, tag: Tag, variant: str) -> ManifestAnswer | HeadAnswer:
        """A tag of which we hold nothing (for this class of clients)."""
        if wanted.head and (told := await self._head(wanted, variant)) is not None:
            return told
        got = await self._fetch(wanted, tag, variant)
        return await self._fetched(wanted, got, self._settings.tag_ttl)

    async def _head(self, wanted: ManifestLookup, variant: str = "") -> HeadAnswer | None:
        """What the upstream says of a manifest, or None if that is not enough to answer a HEAD with."""
        accept = wanted.upstream_accept
        key = (wanted.repo, wanted.reference, accept, variant)
        return await self._heads.join(key, lambda: self._ask_head(wanted, accept, variant))

    async def _ask_head(self, wanted: ManifestLookup, accept: str, variant: str) -> HeadAnswer | None:
        told = await wanted.scope.upstream.head_manifest(wanted.repo.name, wanted.reference, accept)
        if told.digest is None or told.size is None or not told.media_type:
            return None
        if isinstance(wanted.reference, Tag):
            # A client may make up as many kinds of document as it likes, and each would have a row of its own.
            if not variant_of_others(variant):
                await self._set_tag(wanted.repo, self._meaning(wanted.reference, variant, told.digest, told.media_type))
        elif told.digest != wanted.reference:
            return None
        return HeadAnswer(told.digest, told.media_type, told.size)

    async def _by_digest(
        self, wanted: ManifestLookup, digest: Digest, source: Source, fresh_for: float | None
    ) -> ManifestAnswer | HeadAnswer:
        grant = await self._grants.find(wanted.repo, digest, ContentKind.MANIFEST)
        if grant is None:
            await self._refuse_blob(wanted.repo, digest)
        elif (held := await self._stored(wanted, digest, grant)) is not None:
            return _document(wanted, digest, held, source, fresh_for)
        decision = decide_digest(wanted.scope.upstream.gate(), offline=self._settings.offline)
        if isinstance(decision, Refuse):
            raise refused(decision, MANIFEST_UNKNOWN)
        by_digest = replace(wanted, reference=digest)
        self._refuse_known_absence(by_digest)
        if wanted.head and (told := await self._head(by_digest)) is not None:
            return told
        got = await self._fetch(by_digest, digest)
        return await self._fetched(wanted, got, fresh_for)

    async def _stored(self, wanted: ManifestLookup, digest: Digest, grant: Grant) -> StoredManifest | None:
        """A manifest that is held and that the upstream of the scope gave.

        A document that we do not read has the type that the upstream gave it with, not the one that an index names.
        """
        given = await self._grants.provenance(wanted.repo, digest)
        if given is None:
            return None
        said = grant.media_type
        if is_opaque(given):
            self._documents.proved(digest, given, given)
            said = given
        return await self._documents.get(digest, said, head=wanted.head)

    async def _refuse_blob(self, repo: RepositoryKey, digest: Digest) -> None:
        """A blob is never served as a manifest."""
        if await self._grants.find(repo, digest, ContentKind.BLOB) is not None:
            raise OciError(MANIFEST_UNKNOWN, "the digest is that of a blob")

    async def _fetch(self, wanted: ManifestLookup, reference: Reference, variant: str = "") -> ManifestBody:
        accept = FULL_ACCEPT if isinstance(reference, Digest) and not wanted.wants_others else wanted.upstream_accept
        key = (wanted.repo, reference, accept, variant)
        return await self._fetches.join(
            key,
            lambda: self._turns.take(wanted.scope.registry, self._fetch_and_keep(wanted, reference, accept, variant)),
        )

    async def _fetch_and_keep(
        self, wanted: ManifestLookup, reference: Reference, accept: str, variant: str
    ) -> ManifestBody:
        try:
            got = await wanted.scope.upstream.get_manifest(wanted.repo.name, reference, accept)
        except Denied as problem:
            if problem.revoked:
                await self._grants.revoke(wanted.repo)
            raise
        wanted.scope.counters.fetched(len(got.body))
        self._accounts.fetches(got.digest)
        about = {"registry": wanted.scope.registry, "repository": str(wanted.repo.name)}
        self._sparing.info("manifest fetched", **about, reference=str(reference), digest=str(got.digest))
        with suppress(StoreError):  # it can be served without being kept
            await self._content.put(got.digest, got.body)
            self._documents.proved(got.digest, got.manifest.media_type, got.manifest.media_type)
            received = Provenance(got.digest, got.manifest.media_type)
            await self._grants.add(wanted.repo, await in_steps(grants_of(got)), received, got.manifest)
        if isinstance(reference, Tag) and (not variant_of_others(variant) or got.manifest.media_type == variant):
            await self._set_tag(wanted.repo, self._meaning(reference, variant, got.digest, got.manifest.media_type))
        return got

    async def _fetched(self, wanted: ManifestLookup, got: ManifestBody, fresh_for: float | None) -> ManifestAnswer:
        """What was fetched, as a file where it is large: those who read slowly then keep nothing in memory."""
        media_type = got.manifest.media_type
        held = None
        if wanted.head or len(got.body) > IN_MEMORY:
            with suppress(StoreError):
                held = await self._documents.get(got.digest, media_type, head=wanted.head)
        held = held or StoredManifest(media_type, len(got.body), got.body)
        return _document(wanted, got.digest, held, Source.MISS, fresh_for)

    async def close(self) -> None:
        """Stop what is being asked."""
        await self._fetches.close()
        await self._heads.close()
        await self._checks.close()
        await self._documents.close()


def _document(
    wanted: ManifestLookup, digest: Digest, held: StoredManifest, source: Source, fresh_for: float | None
) -> ManifestAnswer:
    return ManifestAnswer(
        wanted.repo, digest, held.media_type, held.size, source, fresh_for, body=held.body, content=held.content
    )


def variant_of_others(variant: str) -> bool:
    """Whether a class of clients is that of those who want another kind of document than images are."""
    return "/" in variant


def grants_of(got: ManifestBody) -> Generator[None, None, list[Grant]]:
    """What a repository may read because this manifest is in it."""
    manifest: Manifest = got.manifest
    grants = [Grant(got.digest, ContentKind.MANIFEST, manifest.media_type, len(got.body))]
    for child in manifest.manifests:
        grants.append(Grant(child.digest, ContentKind.MANIFEST, child.media_type, child.size))
        if len(grants) % STEP == 0:
            yield
    for blob in manifest.blobs:
        grants.append(Grant(blob.digest, ContentKind.BLOB, "", blob.size))
        if len(grants) % STEP == 0:
            yield
    return grants
