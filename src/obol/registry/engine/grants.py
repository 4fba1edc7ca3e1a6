"""Who may read what: a right of the repository, and content that its own upstream gave or confirmed.

A manifest lets its repository read what it names. But anybody may write a manifest that names anything: content that
only another registry gave is not served on the word of a manifest, the upstream is asked first. When an upstream says
that a repository is not for us any more, all of its rights end, those of digests too.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from obol.machine import logs
from obol.registry.store.ports import Kind, Names, Place, Right, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.oci.references import Digest

REMEMBERED = 10_000


class Ready(Protocol):
    """Answers that are given again without asking here."""

    def clear(self) -> None:
        """Give none of them again."""
        ...


class Rights:
    """The index of rights, with what was given kept at hand. What is in `ready` is cleared when rights have ended."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self._given: OrderedDict[tuple[str, Digest], str] = OrderedDict()
        self.ready: WeakSet[Ready] = WeakSet()

    async def of(self, place: Place, digest: Digest, kind: Kind) -> Right | None:
        """The right to read a digest in a place, or None. Raises StoreError."""
        return await self.names.right(place, digest, kind)

    async def given(self, place: Place, digest: Digest) -> str | None:
        """As what the upstream of a place gave content (see `Names.given`), or None. Raises StoreError."""
        key = place.space, digest
        known = self._given.get(key)
        if known is None:
            known = await self.names.given(*key)
            if known is not None:
                self._remember(key, known)
        return known

    async def grant(self, place: Place, rights: Sequence[Right], given: Digest) -> None:
        """Record rights, and that the upstream gave or confirmed content. Raises StoreError."""
        await self.names.grant(place, rights, given)
        self._given.pop((place.space, given), None)

    async def revoke(self, place: Place) -> None:
        """The upstream says that the place is not for us any more."""
        with suppress(StoreError):  # the next check says so again
            if await self.names.revoke(place):
                about = {"registry": place.space, "repository": str(place.repository)}
                logs.get().warning("access revoked by the upstream", **about)
        for answers in self.ready:
            answers.clear()

    def _remember(self, key: tuple[str, Digest], known: str) -> None:
        self._given[key] = known
        if len(self._given) > REMEMBERED:
            self._given.popitem(last=False)
