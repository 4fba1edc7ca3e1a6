"""What a follower does where the disk fails, or a part is far away: it reads straight from the upstream.

Nothing is stored. A follower of the whole blob still gets no complete wrong blob: it hashes again what it was given
from the file, hashes the rest as it passes, and withholds the tail until the digest is confirmed. A part of a blob
cannot be verified here; the client that asks for one has to check it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from obol.oci.references import Digest, new_hash
from obol.registry.transfers.transfer import TransferFailed
from obol.registry.upstream.ports import BlobSource, BlobStream, Misbehaved, RangesRefused, Unavailable, UpstreamError

ATTEMPTS = 4


async def relay(source: BlobSource, start: int, stop: int, check: Check | None) -> AsyncGenerator[bytes, None]:
    """Bytes `start` to `stop` from the upstream, resumed where it cuts them. Raises TransferFailed."""
    at = start
    for _ in range(ATTEMPTS):
        try:
            async for data in _stream(source, at, stop):
                at += len(data)
                shown = data if check is None else check.pass_on(data)
                if shown:
                    yield shown
        except Unavailable:
            continue
        except UpstreamError as problem:
            raise TransferFailed(problem) from problem
        if at < stop:
            continue
        if check is not None:
            yield check.rest()
        return
    raise TransferFailed(Unavailable("the upstream cut the blob again and again"))


async def _stream(source: BlobSource, start: int, stop: int) -> AsyncGenerator[bytes, None]:
    stream = await _open(source, start, stop)
    at = stream.start
    try:
        while at < stop and (data := await stream.read()):
            piece = data[max(0, start - at) : max(0, stop - at)]
            at += len(data)
            if piece:
                yield piece
    finally:
        stream.close()


async def _open(source: BlobSource, start: int, stop: int) -> BlobStream:
    try:
        return await source.open(start, stop)
    except RangesRefused:
        return await source.open(0, None, plain=True)


class Check:
    """Hashes a whole blob as it passes and holds back its end until the digest is right."""

    def __init__(self, digest: Digest, withhold: int) -> None:
        self._digest = digest
        self.hasher = new_hash(digest.algorithm)
        """Of what the client was given."""
        self._withhold = withhold
        self._held = b""

    def pass_on(self, data: bytes) -> bytes:
        """What may be shown now that `data` has arrived."""
        self.hasher.update(data)
        held = self._held + data
        cut = max(0, len(held) - self._withhold)
        self._held = held[cut:]
        return held[:cut]

    def rest(self) -> bytes:
        """The end of the blob. Raises TransferFailed if the digest is wrong."""
        if self.hasher.hexdigest() != self._digest.hex:
            raise TransferFailed(Misbehaved("the upstream's blob does not have the digest that it should have"))
        return self._held
