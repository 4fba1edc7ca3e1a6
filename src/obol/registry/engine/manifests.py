"""Manifests: by digest, which never changes, and by tag, which may.

`policy.freshness` decides how long a stored answer is trusted. What is fetched is kept together with the grants that it
implies: a manifest of a repository lets the repository read all that it names. All of that is done in the flight of the
question, so that an answer which comes too late for its client is there for the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
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
        self._stored_manifests = StoredManifests(content)
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
        lookup = ManifestLookup(scope, scope.key(repository), reference, accepted(accept), tuple(accept), head)
        try:
            # One answer may take several questions, each with the whole limit.
            async with asyncio.timeout(self._settings.limits.manifest):
                if isinstance(reference, Digest):
                    return await self._by_digest(lookup, reference, Source.HIT, None)
                return await self._by_tag(lookup, reference)
        except TimeoutError:
            raise OciError(UPSTREAM_BROKEN, "the upstream did not answer in time") from None
        except (UpstreamError, StoreError) as problem:
            if isinstance(problem, Absent):
                self._absent.mark((lookup.repo, reference))
            raise refusal(problem, MANIFEST_UNKNOWN) from problem

    def _refuse_known_absence(self, lookup: ManifestLookup) -> None:
        age = self._absent.age((lookup.repo, lookup.reference))
        if age is not None and age < self._settings.negative_ttl:
            raise OciError(MANIFEST_UNKNOWN, "the upstream does not have it", problem=Problem.ABSENT)

    async def _by_tag(self, lookup: ManifestLookup, tag: Tag) -> ManifestAnswer | HeadAnswer:
        held, variant = await self._held(lookup, tag)
        key = (lookup.repo, tag, variant)
        age = self._confirmed.age(key)
        gate, ttl = lookup.scope.upstream.gate(), self._settings.tag_ttl
        match decide_tag(age, ttl, gate, held=held is not None, offline=self._settings.offline):
            case ServeStored() if held is not None and age is not None:
                return await self._by_held_tag(lookup, held, Source.HIT, ttl - age)
            case ServeStale() if held is not None:
                return await self._by_digest(lookup, held.digest, Source.STALE, 0.0)
            case Revalidate() if held is not None:
                self._refuse_known_absence(lookup)
                return await self._revalidated(lookup, held)
            case Refuse() as decision:
                raise refused(decision, MANIFEST_UNKNOWN)
            case _:
                self._refuse_known_absence(lookup)
                return await self._first_time(lookup, tag, variant)

    async def _by_held_tag(
        self, lookup: ManifestLookup, held: HeldTag, source: Source, fresh_for: float
    ) -> ManifestAnswer | HeadAnswer:
        """What a fresh tag means; asked anew where the upstream does not have the digest that it told."""
        try:
            return await self._by_digest(lookup, held.digest, source, fresh_for)
        except Absent:
            return await self._first_time(replace(lookup, head=False), held.tag, held.variant)

    async def _held(self, lookup: ManifestLookup, tag: Tag) -> tuple[HeldTag | None, str]:
        """What the tag means for this client, and which class of clients that is.

        An upstream may answer by Accept, so a client is given a kind of manifest that it listed, if there is one.
        """
        held = await self._metadata.tag(lookup.repo, tag, "")
        if held is None or lookup.accepted is None or held.media_type in lookup.accepted:
            return held, ""
        variant = accept_class(lookup.accepted)
        return await self._metadata.tag(lookup.repo, tag, variant), variant

    async def _revalidated(self, lookup: ManifestLookup, held: HeldTag) -> ManifestAnswer | HeadAnswer:
        """Ask whether the tag moved; a late or broken answer leaves what we hold."""
        key = (lookup.repo, held.tag, held.variant)
        limit = self._settings.limits.stale_after
        try:
            fresh = await self._checks.join(key, lambda: self._check(lookup, held), within=limit)
        except (TimeoutError, UpstreamError) as problem:
            if isinstance(problem, Absent | Denied):
                raise
            return await self._by_digest(lookup, held.digest, Source.STALE, 0.0)
        return await self._by_held_tag(lookup, fresh, Source.REVALIDATED, self._settings.tag_ttl)

    async def _check(self, lookup: ManifestLookup, held: HeldTag) -> HeldTag:
        """Ask by HEAD, which costs nothing of a rate limit; what it does not confirm is asked by GET."""
        told = await lookup.scope.upstream.head_manifest(lookup.repo.name, held.tag, lookup.upstream_accept)
        if told.digest == held.digest:
            fresh = replace(held, checked_at=self._clock.wall())
            await self._set_tag(lookup.repo, fresh)
            return fresh
        got = await self._fetch(lookup, held.tag, held.variant)
        return self._new_tag(held.tag, held.variant, got.digest, got.manifest.media_type)

    def _new_tag(self, tag: Tag, variant: str, digest: Digest, media_type: str) -> HeldTag:
        return HeldTag(tag, variant, digest, media_type, self._clock.wall())

    async def _set_tag(self, repo: RepositoryKey, held: HeldTag) -> None:
        """Keep what a tag means. Where that fails the client has its answer all the same; the next one asks anew."""
        with suppress(StoreError):
            await self._metadata.set_tag(repo, held)
            self._confirmed.mark((repo, held.tag, held.variant))

    async def _first_time(self, lookup: ManifestLookup, tag: Tag, variant: str) -> ManifestAnswer | HeadAnswer:
        """A tag of which we hold nothing (for this class of clients)."""
        if lookup.head and (told := await self._head(lookup, variant)) is not None:
            return told
        got = await self._fetch(lookup, tag, variant)
        return await self._fetched(lookup, got, self._settings.tag_ttl)

    async def _head(self, lookup: ManifestLookup, variant: str = "") -> HeadAnswer | None:
        """What the upstream says of a manifest, or None if that is not enough to answer a HEAD with."""
        accept = lookup.upstream_accept
        key = (lookup.repo, lookup.reference, accept, variant)
        return await self._heads.join(key, lambda: self._ask_head(lookup, accept, variant))

    async def _ask_head(self, lookup: ManifestLookup, accept: str, variant: str) -> HeadAnswer | None:
        told = await lookup.scope.upstream.head_manifest(lookup.repo.name, lookup.reference, accept)
        if told.digest is None or told.size is None or not told.media_type:
            return None
        if isinstance(lookup.reference, Tag):
            # A client may make up as many kinds of document as it likes, and each would have a row of its own.
            if not variant_of_others(variant):
                await self._set_tag(lookup.repo, self._new_tag(lookup.reference, variant, told.digest, told.media_type))
        elif told.digest != lookup.reference:
            return None
        return HeadAnswer(told.digest, told.media_type, told.size)

    async def _by_digest(
        self, lookup: ManifestLookup, digest: Digest, source: Source, fresh_for: float | None
    ) -> ManifestAnswer | HeadAnswer:
        grant = await self._grants.find(lookup.repo, digest, ContentKind.MANIFEST)
        if grant is None:
            if await self._grants.find(lookup.repo, digest, ContentKind.BLOB) is not None:
                raise OciError(MANIFEST_UNKNOWN, "the digest is that of a blob")
        elif (held := await self._stored(lookup, digest, grant)) is not None:
            return _answer(lookup, digest, held, source, fresh_for)
        decision = decide_digest(lookup.scope.upstream.gate(), offline=self._settings.offline)
        if isinstance(decision, Refuse):
            raise refused(decision, MANIFEST_UNKNOWN)
        by_digest = replace(lookup, reference=digest)
        self._refuse_known_absence(by_digest)
        if lookup.head and (told := await self._head(by_digest)) is not None:
            return told
        got = await self._fetch(by_digest, digest)
        return await self._fetched(lookup, got, fresh_for)

    async def _stored(self, lookup: ManifestLookup, digest: Digest, grant: Grant) -> StoredManifest | None:
        """A manifest that is held and that the upstream of the scope gave.

        A document that we do not read has the type that the upstream gave it with, not the one that an index names.
        """
        provenance = await self._grants.provenance(lookup.repo, digest)
        if provenance is None:
            return None
        if is_opaque(provenance):
            self._stored_manifests.proved(digest, provenance, provenance)
        said = provenance if is_opaque(provenance) else grant.media_type
        return await self._stored_manifests.get(digest, said, head=lookup.head)

    async def _fetch(self, lookup: ManifestLookup, reference: Reference, variant: str = "") -> ManifestBody:
        accept = FULL_ACCEPT if isinstance(reference, Digest) and not lookup.wants_others else lookup.upstream_accept
        key = (lookup.repo, reference, accept, variant)
        return await self._fetches.join(
            key,
            lambda: self._turns.take(lookup.scope.registry, self._fetch_and_keep(lookup, reference, accept, variant)),
        )

    async def _fetch_and_keep(
        self, lookup: ManifestLookup, reference: Reference, accept: str, variant: str
    ) -> ManifestBody:
        try:
            got = await lookup.scope.upstream.get_manifest(lookup.repo.name, reference, accept)
        except Denied as problem:
            if problem.revoked:
                await self._grants.revoke(lookup.repo)
            raise
        lookup.scope.counters.fetched(len(got.body))
        self._accounts.fetches(got.digest)
        about = {"registry": lookup.scope.registry, "repository": str(lookup.repo.name)}
        self._sparing.info("manifest fetched", **about, reference=str(reference), digest=str(got.digest))
        with suppress(StoreError):  # it can be served without being kept
            await self._content.put(got.digest, got.body)
            self._stored_manifests.proved(got.digest, got.manifest.media_type, got.manifest.media_type)
            received = Provenance(got.digest, got.manifest.media_type)
            await self._grants.add(lookup.repo, await in_steps(grants_of(got)), received, got.manifest)
        if isinstance(reference, Tag) and (not variant_of_others(variant) or got.manifest.media_type == variant):
            await self._set_tag(lookup.repo, self._new_tag(reference, variant, got.digest, got.manifest.media_type))
        return got

    async def _fetched(self, lookup: ManifestLookup, got: ManifestBody, fresh_for: float | None) -> ManifestAnswer:
        """What was fetched, as a file where it is large: those who read slowly then keep nothing in memory."""
        media_type = got.manifest.media_type
        held = None
        if lookup.head or len(got.body) > IN_MEMORY:
            with suppress(StoreError):
                held = await self._stored_manifests.get(got.digest, media_type, head=lookup.head)
        held = held or StoredManifest(media_type, len(got.body), got.body)
        return _answer(lookup, got.digest, held, Source.MISS, fresh_for)

    async def close(self) -> None:
        """Stop what is being asked."""
        await self._fetches.close()
        await self._heads.close()
        await self._checks.close()
        await self._stored_manifests.close()


def _answer(
    lookup: ManifestLookup, digest: Digest, held: StoredManifest, source: Source, fresh_for: float | None
) -> ManifestAnswer:
    return ManifestAnswer(
        lookup.repo, digest, held.media_type, held.size, source, fresh_for, body=held.body, content=held.content
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
