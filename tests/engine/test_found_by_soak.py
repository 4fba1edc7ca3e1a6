"""What the soak has found: one minimal test for each defect that there was."""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from obol.machine import logs
from tests.engine.conftest import Start
from tests.fakes.content import make_image

IMAGE = make_image(60_000, 900_000, seed=80)
SMALL = IMAGE.layers[0]


@pytest.mark.parametrize("headers", [(), (("Range", "bytes=0-"),), (("Range", "bytes=5-"),)], ids=["all", "0-", "5-"])
async def test_small_blob_that_changed_on_the_disk(start: Start, headers: tuple[tuple[str, str], ...]) -> None:
    """A small blob with a flipped bit is not served but fetched again, and the file is taken out of service."""
    async with start.over(IMAGE) as (upstream, cache):
        await cache.pull(IMAGE)
        await cache.settled()
        algorithm, _, digits = SMALL.partition(":")
        path = cache.root / "blobs" / algorithm / digits[:2] / digits
        data = bytearray(path.read_bytes())
        data[30_000] ^= 4
        path.write_bytes(data)
        os.utime(path, (1, 1))  # the clock of files is coarse: the two writes may share a tick of it

        reply = await cache.blob(SMALL, *headers)

        assert reply.complete
        assert reply.body == IMAGE.blobs[SMALL][-len(reply.body) :]
        assert list((cache.root / "quarantine").iterdir())
        assert (await cache.blob(SMALL)).body == IMAGE.blobs[SMALL]
        assert upstream.count("GET", SMALL) == 2


class _FullDisk(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def _full_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The log goes to a disk that is full."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    monkeypatch.setattr(sys, "stderr", _FullDisk())
    logs.configure("human")
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


@pytest.mark.usefixtures("_full_log")
async def test_log_on_a_full_disk(start: Start) -> None:
    """An image can be pulled although not a line can be logged."""
    async with start.over(IMAGE) as (_upstream, cache):
        replies = await cache.pull(IMAGE)

        assert [reply.status for reply in replies] == [200] * len(replies)
        assert all(reply.complete for reply in replies)
