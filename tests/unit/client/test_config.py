from __future__ import annotations

import pytest

from obol.client.config import Kept, platform_of
from obol.oci.manifests import Descriptor, Platform
from obol.oci.references import Digest
from tests.unit.client.reach import Basket

BLOB = Descriptor("", Digest.of(b"12"), 2)


@pytest.mark.parametrize(
    ("config", "meant"),
    [
        (b'{"os":"linux","architecture":"arm","variant":"v7"}', Platform("linux", "arm", "v7")),
        (b'{"os":"linux","architecture":"amd64","variant":null}', Platform("linux", "amd64")),
        (b'{"os":"linux"}', None),
        (b"{}", None),
        (b"", None),
        (b"[" * 100_000, None),
        (b'{"os":1}', None),
        (b'{"os":"\xff"}', None),
    ],
)
def test_platform(config: bytes, meant: Platform | None) -> None:
    """A configuration says what an image runs on, or is that of something else."""
    assert platform_of(config) == meant


async def test_kept() -> None:
    """What is looked into reaches the sink all the same."""
    basket = Basket()
    kept, alone = Kept(basket), Kept(None)

    for sink in (kept, alone):
        await sink.write(BLOB, 0, b"1")
        await sink.write(BLOB, 1, b"2")

    assert kept.data == alone.data == basket.blobs[BLOB.digest] == bytearray(b"12")
