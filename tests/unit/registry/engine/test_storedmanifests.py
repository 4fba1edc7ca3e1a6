import asyncio

import pytest

from obol.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from obol.oci.references import Digest
from obol.registry.engine import storedmanifests as stored_module
from obol.registry.engine.storedmanifests import IN_MEMORY, StoredManifest, StoredManifests
from tests.fakes.content import make_image
from tests.fakes.store import MemoryContent

IMAGE = make_image(500, seed=1)
SMALL = next(iter(IMAGE.manifests.values())).body
LARGE = SMALL.rstrip()[:-1] + b', "annotations": {"a": "' + b"x" * IN_MEMORY + b'"}}'


class Counting(MemoryContent):
    """A store that counts what is read whole, and how much at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Digest] = []
        self.reading = 0
        self.most = 0

    async def read(self, digest: Digest) -> bytes | None:
        self.reads.append(digest)
        self.reading += 1
        self.most = max(self.most, self.reading)
        await asyncio.sleep(0)
        self.reading -= 1
        return await super().read(digest)


async def held(*bodies: bytes) -> tuple[StoredManifests, Counting]:
    """A store that holds these."""
    content = Counting()
    for body in bodies:
        await content.put(Digest.of(body), body)
    return StoredManifests(content), content


async def bytes_of(got: StoredManifest | None) -> bytes:
    """What a client would be given."""
    assert got is not None
    if got.content is None:
        return got.body
    data = await got.content.read()
    got.content.close()
    return data


async def test_small() -> None:
    """A small manifest comes from memory, with its type."""
    manifests, _ = await held(SMALL)

    got = await manifests.get(Digest.of(SMALL), OCI_MANIFEST, head=False)

    assert got is not None
    assert (got.media_type, got.size, got.body, got.content) == (OCI_MANIFEST, len(SMALL), SMALL, None)


async def test_large_is_read_once() -> None:
    """A large manifest is read once, to see what it is; hits open the file, and heads not even that."""
    manifests, content = await held(LARGE)
    digest = Digest.of(LARGE)

    for _ in range(3):
        got = await manifests.get(digest, OCI_MANIFEST, head=False)
        assert got is not None
        assert (got.body, await bytes_of(got)) == (b"", LARGE)
        head = await manifests.get(digest, OCI_MANIFEST, head=True)
        assert head is not None
        assert (head.media_type, head.size, head.body, head.content) == (OCI_MANIFEST, len(LARGE), b"", None)

    assert content.reads == [digest]


async def test_fetched_is_not_read() -> None:
    """What was fetched, and parsed then, is never read again as a whole."""
    manifests, content = await held(LARGE)
    manifests.proved(Digest.of(LARGE), OCI_MANIFEST, OCI_MANIFEST)

    assert await bytes_of(await manifests.get(Digest.of(LARGE), OCI_MANIFEST, head=False)) == LARGE
    assert content.reads == []


async def test_herd() -> None:
    """A herd on one large manifest reads it once, and many large ones are read a few at a time."""
    bodies = [LARGE + b" " * number for number in range(10)]
    manifests, content = await held(*bodies)

    got = await asyncio.gather(
        *(manifests.get(Digest.of(body), OCI_MANIFEST, head=False) for body in bodies for _ in range(4))
    )

    assert len([await bytes_of(one) for one in got]) == 40
    assert len(content.reads) == 10
    assert content.most == stored_module.AT_ONCE


@pytest.mark.parametrize("body", [SMALL, LARGE, b"x" * 100, b"x" * (IN_MEMORY + 1)])
async def test_not_what_was_said(body: bytes) -> None:
    """What is not of the type that something called it is not served, and a large one is not looked at again."""
    manifests, content = await held(body)

    for _ in range(3):
        for head in (True, False):
            assert await manifests.get(Digest.of(body), OCI_INDEX, head=head) is None
    assert len(content.reads) == 1 or len(body) <= IN_MEMORY


async def test_too_large_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than any manifest is not read at all, and what is not there is absent."""
    manifests, content = await held(LARGE)
    monkeypatch.setattr(stored_module, "MAX_MANIFEST", IN_MEMORY)

    assert await manifests.get(Digest.of(LARGE), OCI_MANIFEST, head=False) is None
    assert await manifests.get(Digest.of(b"other"), OCI_MANIFEST, head=True) is None
    assert content.reads == []


@pytest.mark.parametrize("body", [SMALL, LARGE])
async def test_damaged(body: bytes) -> None:
    """What turns out to be damaged when it is read is absent."""
    manifests, content = await held()
    await content.put(Digest.of(body), body[:-1] + b"?")

    assert await manifests.get(Digest.of(body), OCI_MANIFEST, head=False) is None


async def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded."""
    monkeypatch.setattr(stored_module, "REMEMBERED", 3)
    manifests, _ = await held()

    for number in range(10):
        manifests.proved(Digest.of(b"%d" % number), OCI_MANIFEST, OCI_MANIFEST)

    assert len(manifests._proofs) == 3
    await manifests.close()
