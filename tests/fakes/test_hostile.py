import asyncio
import gzip
import json

import pytest

from tests.fakes import behaviours
from tests.fakes.content import make_image
from tests.fakes.hostile import CHALLENGES, HostileRegistry
from tests.fakes.http import Reply, request, talk

IMAGE = make_image(100_000)
LAYER = IMAGE.layers[0]
DATA = IMAGE.blobs[LAYER]
BLOB = f"/v2/app/blobs/{LAYER}"
MANIFEST = "/v2/app/manifests/1"


async def ask(
    behaviour: behaviours.Behaviour, target: str = BLOB, headers: tuple[tuple[str, str], ...] = (), method: str = "GET"
) -> Reply:
    """What a registry with this behaviour answers."""
    kind = "blob" if "/blobs/" in target else "manifest"
    async with HostileRegistry({kind: behaviour}) as registry:
        registry.add("app", "1", IMAGE)
        return await request(registry.port, method, target, headers)


@pytest.mark.parametrize(("where", "position"), [("first", 0), ("middle", 49_999), ("last", 99_999)])
async def test_one_wrong_byte(where: str, position: int) -> None:
    """Exactly one byte differs, in the whole and in the range that has it."""
    whole = (await ask(behaviours.flip(where))).body
    start = max(0, position - 5)
    part = await ask(behaviours.flip(where), headers=(("Range", f"bytes={start}-{position}"),))

    assert [at for at, (got, right) in enumerate(zip(whole, DATA, strict=True)) if got != right] == [position]
    assert (part.status, part.body) == (206, whole[start : position + 1])


async def test_lengths_that_agree_with_wrong_bodies() -> None:
    """One byte more or fewer, complete in HTTP's eyes."""
    more, fewer = await ask(behaviours.extra_byte), await ask(behaviours.missing_byte)

    assert (more.complete, len(more.body)) == (True, 100_001)
    assert (fewer.complete, len(fewer.body)) == (True, 99_999)


@pytest.mark.parametrize("name", behaviours.BROKEN_TRANSFER)
async def test_broken_transfers_end_early(name: str) -> None:
    """None of them is complete."""
    reply = await ask(behaviours.BROKEN_TRANSFER[name])

    assert not reply.complete
    assert len(reply.body) < len(DATA)
    assert reply.status == (0 if name.endswith("at once") else 200)


async def test_content_encodings() -> None:
    """The label alone leaves the bytes; the real thing decodes to them."""
    label, real = await ask(behaviours.gzip_label), await ask(behaviours.gzipped)

    assert label.header("Content-Encoding") == real.header("Content-Encoding") == "gzip"
    assert label.body == DATA
    assert gzip.decompress(real.body) == DATA


async def test_bad_ranges() -> None:
    """Each lies in its own way about the range."""
    asked = (("Range", "bytes=10-19"),)
    replies = {name: await ask(behaviour, headers=asked) for name, behaviour in behaviours.BAD_RANGES.items()}

    assert replies["wrong start"].header("Content-Range") == "bytes 11-20/100000"
    assert replies["wrong total"].header("Content-Range") == "bytes 10-19/100001"
    assert (replies["wrong length"].status, len(replies["wrong length"].body)) == (206, 5)
    assert (replies["ignored"].status, replies["ignored"].body) == (200, DATA)
    assert replies["refused"].status == 416


async def test_redirects() -> None:
    """Fixed targets are named as they are; a chain ends in the honest answer."""
    for name, location in (
        ("metadata", behaviours.METADATA),
        ("mapped metadata", behaviours.MAPPED_METADATA),
        ("file", behaviours.LOCAL_FILE),
        ("loop", BLOB),
    ):
        assert (await ask(behaviours.BAD_REDIRECTS[name])).header("Location") == location
    assert "?hop=1" in ((await ask(behaviours.redirects(30))).header("Location") or "")
    assert (await ask(behaviours.redirects(30), BLOB + "?hop=30")).body == DATA


async def test_bad_headers() -> None:
    """Long, lying and doubled headers reach the client; so do endless ones until it leaves."""
    long = await ask(behaviours.long_header)
    double = await ask(behaviours.lengths("10", "20"))
    lying = await ask(behaviours.lying_digest, MANIFEST)

    assert len(long.header("X-Long") or "") == 1 << 20
    assert [value for key, value in double.headers if key == "Content-Length"] == ["10", "20"]
    assert (await ask(behaviours.lengths("-1"), method="HEAD")).header("Content-Length") == "-1"
    assert lying.body == IMAGE.index.body
    assert lying.header("Docker-Content-Digest") not in {None, IMAGE.top}
    async with HostileRegistry({"blob": behaviours.endless_headers}) as registry:
        registry.add("app", "1", IMAGE)
        async with talk(registry.port, "GET", BLOB) as conversation:
            await conversation.exactly(1_000_000)


async def test_bad_documents() -> None:
    """The huge one is valid JSON of its size, the nested one is deep."""
    async with HostileRegistry({"manifest": behaviours.huge_manifest}) as registry:
        registry.add("app", "1", IMAGE)
        reply = await request(registry.port, "HEAD", MANIFEST)
        async with talk(registry.port, "GET", MANIFEST) as conversation:
            await conversation.head()
            start = await conversation.exactly(1_000_000)

    assert reply.header("Content-Length") == "100000000"
    assert json.loads(start + b'"}}')["schemaVersion"] == 2
    assert (await ask(behaviours.nested_json, MANIFEST)).body.count(b"[") == 100_000


@pytest.mark.parametrize("name", behaviours.SILENCE)
async def test_silence_ends_with_the_server(name: str) -> None:
    """Nothing more comes until the server goes."""
    async with HostileRegistry({"blob": behaviours.SILENCE[name]}) as registry:
        registry.add("app", "1", IMAGE)
        async with talk(registry.port, "GET", BLOB) as conversation:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(conversation.exactly(90_000), 0.05)
            await registry.down()
            assert await conversation.head() in {0, 200}


async def test_bad_behaviour_for_a_while() -> None:
    """After so many requests the registry is honest."""
    async with HostileRegistry({"blob": behaviours.times(2, behaviours.html)}) as registry:
        registry.add("app", "1", IMAGE)

        types = [(await request(registry.port, "GET", BLOB)).header("Content-Type") for _ in range(3)]

        assert types == ["text/html; charset=utf-8", "text/html; charset=utf-8", "application/octet-stream"]


async def test_a_hostile_token_endpoint() -> None:
    """Resources challenge, the endpoint misbehaves, any token is good enough."""
    async with HostileRegistry({"token": behaviours.garbage}) as registry:
        registry.add("app", "1", IMAGE)

        challenged = await request(registry.port, "GET", MANIFEST)
        token = await request(registry.port, "GET", "/token")
        served = await request(registry.port, "GET", MANIFEST, [("Authorization", "Bearer any")])

        assert challenged.status == 401
        assert f'realm="{registry.url}/token"' in (challenged.header("WWW-Authenticate") or "")
        assert token.body == b'{"token": \xff\xfe'
        assert served.body == IMAGE.index.body


@pytest.mark.parametrize("name", CHALLENGES)
async def test_bad_challenges_are_sent_as_they_are(name: str) -> None:
    """Each challenge arrives, with the registry's address filled in."""
    async with HostileRegistry() as registry:
        registry.challenge = CHALLENGES[name]

        reply = await request(registry.port, "GET", MANIFEST)

        assert reply.header("WWW-Authenticate") == CHALLENGES[name].replace("{url}", registry.url)
