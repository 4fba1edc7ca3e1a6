"""One blob: read, hashed as it passes, taken up again where it was cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obol.client.ports import BytesFrom, Kind, Refused
from obol.client.session import BlobAnswer, Lost, RegistryClient
from obol.oci.references import new_hash

if TYPE_CHECKING:
    import hashlib

    from obol.client.ports import Sink
    from obol.oci.manifests import Descriptor
    from obol.oci.references import Repository

SMALL = 64 * 1024
"""A stored blob up to this size is read rather than left: that is less work than another connection."""

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0

Count = Callable[[int, BytesFrom], None]
"""Takes how many bytes more are there, and where they came from."""


def pause(barren: int) -> float:
    """Seconds to wait after so many questions in a row that brought nothing."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0**barren)


@dataclass
class BlobPull:
    """The pull of one blob. `sink` None is warming: a blob that the cache holds is not read, unless it is small."""

    client: RegistryClient
    repository: Repository
    blob: Descriptor
    count: Count
    sink: Sink | None
    _hash: hashlib._Hash = field(init=False)
    _at: int = 0
    _held: int | None = None
    """How many of the bytes a cache had before we asked; None while nothing has been answered."""

    def __post_init__(self) -> None:
        self._hash = new_hash(self.blob.digest.algorithm)

    async def run(self) -> None:
        """Bring all of it. Raises Refused: where it is not to be had, or has not its digest."""
        barren, ranged = 0, True
        while True:
            before = self._at
            try:
                if await self._once(before if ranged else 0):
                    return
            except Lost as problem:
                barren = 0 if self._at > before else barren + 1
                if barren >= self.client.limits.attempts:
                    raise
                # A cache refuses the rest of a transfer that failed, and yet would begin another.
                ranged = not problem.answered
                await self.client.clock.sleep(pause(barren))

    async def _once(self, start: int) -> bool:
        """Ask once, from byte `start` on; True when the blob is complete."""
        answer = await self.client.blob(self.repository, self.blob.digest, start)
        try:
            if answer.total not in {None, self.blob.size}:
                raise Refused(Kind.UNTRUSTED, "a blob has another length than the manifest says")
            if self._held is None:
                self._held = self.blob.size if answer.stored else answer.held
            if answer.stored and self.sink is None and self.blob.size > SMALL:
                self._counted(self.blob.size)
                return True
            await self._read(answer)
        finally:
            answer.close()
        if self._at < self.blob.size:
            raise Lost("it cut the connection")
        if self._hash.hexdigest() != self.blob.digest.hex:
            raise Refused(Kind.UNTRUSTED, "a blob does not have the digest that the manifest says")
        return True

    async def _read(self, answer: BlobAnswer) -> None:
        passed = answer.start
        async for piece in answer.pieces():
            # What was read before a cut is passed over where the server begins anew.
            fresh = piece[max(0, self._at - passed) :]
            passed += len(piece)
            if passed > self.blob.size:
                raise Refused(Kind.UNTRUSTED, "a blob is longer than the manifest says")
            if not fresh:
                continue
            self._hash.update(fresh)
            if self.sink is not None:
                await self.sink.write(self.blob, self._at, fresh)
            self._counted(self._at + len(fresh))

    def _counted(self, upto: int) -> None:
        """Count the bytes up to an offset, those that the cache had apart from those that it had not."""
        border = min(max(self._held or 0, self._at), upto)
        if border > self._at:
            self.count(border - self._at, BytesFrom.CACHE)
        if upto > border:
            self.count(upto - border, BytesFrom.UPSTREAM)
        self._at = upto
