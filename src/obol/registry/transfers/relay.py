"""What a follower does when the disk fails under a transfer: it goes on by itself, straight from the upstream.

Nothing is stored. A follower of the whole blob still gets no complete wrong blob: the bytes that it was given from the
file are hashed again, the rest as it passes, and the tail is withheld until the digest is confirmed. A part of a blob
cannot be verified by anybody; who asks for one has to check it.
"""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

from obol.oci.references import Digest, new_hash
from obol.registry.engine.answers import CutShort
from obol.registry.upstream.ports import BlobSource, BlobStream, RangesRefused, Unavailable, UpstreamError

if TYPE_CHECKING:
    import hashlib
    from collections.abc import AsyncGenerator
    from concurrent.futures import Executor

    from obol.registry.store.ports import Partial

ATTEMPTS = 4
PIECE = 1024 * 1024


async def relay(source: BlobSource, start: int, stop: int, check: Check | None) -> AsyncGenerator[bytes, None]:
    """Bytes `start` to `stop` from the upstream, resumed where it cuts them. Raises CutShort."""
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
            raise CutShort(str(problem)) from problem
        if at < stop:
            continue
        if check is not None:
            yield check.rest()
        return
    raise CutShort("the upstream cut the blob again and again")


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
        self._hasher = new_hash(digest.algorithm)
        self._withhold = withhold
        self._held = b""

    async def resume(self, partial: Partial, length: int, threads: Executor) -> None:
        """Take up the first `length` bytes, which the client was given, from the file. Raises CutShort."""
        try:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(threads, hash_run, self._hasher, partial, 0, length)
        except OSError as problem:
            raise CutShort("the partial cannot be read back") from problem

    def given(self, data: bytes) -> None:
        """Take up the first bytes, which the client was given from memory."""
        self._hasher.update(data)

    def pass_on(self, data: bytes) -> bytes:
        """What may be shown now that `data` has arrived."""
        self._hasher.update(data)
        held = self._held + data
        cut = max(0, len(held) - self._withhold)
        self._held = held[cut:]
        return held[:cut]

    def rest(self) -> bytes:
        """The end of the blob. Raises CutShort if the digest is wrong."""
        if self._hasher.hexdigest() != self._digest.hex:
            raise CutShort("the upstream's blob does not have the digest that it should have")
        return self._held


def hash_run(hasher: hashlib._Hash, partial: Partial, start: int, stop: int) -> None:
    """Take up what was written from `start` to `stop`; blocks. Raises OSError, also where the file is shorter."""
    while start < stop:
        piece = partial.read(start, min(stop - start, PIECE))
        if not piece:
            raise OSError(errno.EIO, "the file is shorter than what was written")
        hasher.update(piece)
        start += len(piece)
