"""Blocking clients for blobs of gigabytes: they keep nothing and compare what they read with the upstream's file."""

import http.client
import mmap
import random
import time
from dataclasses import dataclass

from tests.soak.figures import MIB
from tests.soak.sparse import REPOSITORY, SparseBlob

PIECE = MIB
SILENCE = 120.0


@dataclass(frozen=True, slots=True)
class Read:
    """What one client got: `count` bytes of `length`, and how many of the compared pieces were wrong."""

    status: int
    length: int
    count: int
    compared: int
    wrong: int
    seconds: float

    @property
    def complete(self) -> bool:
        """All came, and all that was compared is right."""
        return self.status in {200, 206} and self.count == self.length and not self.wrong and self.compared > 0


def read_blob(
    port: int, blob: SparseBlob, *, span: tuple[int, int] | None = None, compare: float = 1.0, seed: int = 0
) -> Read:
    """Read a blob, or the bytes from `span[0]` to `span[1]`; `compare` is the part of its pieces that is compared."""
    began = time.perf_counter()
    headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
    start = 0 if span is None else span[0]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE)
    try:
        connection.request("GET", f"/v2/{REPOSITORY}/blobs/{blob.digest}", headers=headers)
        reply = connection.getresponse()
        length = int(reply.headers["Content-Length"])
        if reply.status not in {200, 206}:
            return Read(reply.status, length, 0, 0, 0, time.perf_counter() - began)
        with blob.mapped() as expected:
            count, compared, wrong = _drain(reply, expected, start, compare, random.Random(seed))
    finally:
        connection.close()
    return Read(reply.status, length, count, compared, wrong, time.perf_counter() - began)


def _drain(
    reply: http.client.HTTPResponse, expected: mmap.mmap, start: int, compare: float, chance: random.Random
) -> tuple[int, int, int]:
    """Read to the end; bytes, pieces compared and pieces wrong. The first and the last are always compared."""
    view, whole = memoryview(expected), bytearray(PIECE)
    piece = memoryview(whole)
    count = compared = wrong = 0
    try:
        while got := reply.readinto(piece):
            at = start + count
            count += got
            if count == got or chance.random() < compare or not reply.length:
                compared += 1
                wrong += bytes(piece[:got]) != view[at : at + got].tobytes()
    except ConnectionError:
        pass
    finally:
        view.release()
    return count, compared, wrong
