"""Upstreams that attack: each kind is a registry of its own, so that what one does to its health spares the others.

They run in a thread with a loop of their own, and write raw bytes: what they send is often no HTTP.
"""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

from tests.fakes.content import OCI_INDEX, OCI_MANIFEST, digest_of
from tests.fakes.server import Answer, FakeServer, ReceivedRequest, Wire, render_head
from tests.limits import scaled

KIB = 1024
MIB = 1024 * KIB
BLOB = bytes(range(256)) * 1200
"""The content that all blobs should have; what is sent of it is another matter."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and the wire on which to answer it."""

    seen: ReceivedRequest
    wire: Wire

    @property
    def kind(self) -> str:
        """`manifests`, `blobs`, `list`, `referrers`, `token` or something else."""
        parts = self.seen.path.split("/")
        return parts[-1] if len(parts) < 3 or parts[-1] == "list" else parts[-2]

    async def say(self, status: int, body: bytes = b"", *fields: tuple[str, str]) -> None:
        """Answer with a head of these fields and a body."""
        head = render_head(Answer(status, fields, body))
        await self.send(head + (b"" if self.seen.method == "HEAD" else body))

    async def send(self, data: bytes) -> None:
        await self.wire.write(data)


Attack = Callable[[Asked], Awaitable[None]]


def document(**more: object) -> bytes:
    """A manifest of one layer, with more in it."""
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest_of(BLOB), "size": len(BLOB)}
    config = {**layer, "mediaType": "application/vnd.oci.image.config.v1+json"}
    found = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer], **more}
    return json.dumps(found).encode()


def many_layers(count: int) -> bytes:
    """A manifest of so many layers."""
    layers = [
        {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": f"sha256:{number:064x}", "size": number}
        for number in range(count)
    ]
    return document(layers=layers)


def most_layers(count: int) -> bytes:
    """A manifest of so many layers, each described as shortly as can be."""
    layers = ",".join(f'{{"digest":"sha256:{number:064x}","size":1}}' for number in range(count))
    return b'{"schemaVersion":2,"layers":[%b]}' % layers.encode()


def sends(body: bytes, kind: str = OCI_MANIFEST) -> Attack:
    """Answer everything with a document."""
    digest = digest_of(body)

    async def attack(asked: Asked) -> None:
        await asked.say(200, body, ("Content-Type", kind), ("Docker-Content-Digest", digest))

    return attack


def heads(status: int, *fields: tuple[str, str]) -> Attack:
    """Answer everything with a head."""

    async def attack(asked: Asked) -> None:
        await asked.say(status, b"", *fields)

    return attack


def raw(data: bytes, times: int = 1) -> Attack:
    """Answer everything with these bytes, so many times over, and keep the connection open."""

    async def attack(asked: Asked) -> None:
        for _ in range(times):
            await asked.send(data)
        await asyncio.sleep(5)

    return attack


def chunked(tail: bytes, times: int = 1) -> Attack:
    """Half of a blob as a chunk, then something else, so many times over; the connection stays open."""
    half = BLOB[: len(BLOB) // 2]
    start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(half), half)

    async def attack(asked: Asked) -> None:
        await asked.send(start)
        for _ in range(times):
            await asked.send(tail)
        await asyncio.sleep(5)

    return attack


def token_is(body: bytes) -> Attack:
    """Want a token, and give this for one."""

    async def attack(asked: Asked) -> None:
        if asked.kind == "token":
            await asked.say(200, body, ("Content-Type", "application/json"))
            return
        realm = f"http://{asked.seen.header('Host')}/token"
        await asked.say(401, b"", ("WWW-Authenticate", f'Bearer realm="{realm}",service="x"'))

    return attack


async def trickle(asked: Asked) -> None:
    """A byte of a blob now and then."""
    await asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BLOB))
    for number in range(6):
        await asked.send(BLOB[number : number + 1])
        await asyncio.sleep(1)


async def large_error(asked: Asked) -> None:
    """An error of ten megabytes."""
    await asked.say(404, b'{"errors":[{"code":"X","message":"' + b"x" * (10 * MIB) + b'"}]}')


async def circle(asked: Asked) -> None:
    """A redirect to itself, by another name each time."""
    await asked.say(307, b"", ("Location", f"{asked.seen.target}x"))


def lists(body: bytes, kind: str, *fields: tuple[str, str]) -> Attack:
    """A list, whatever is asked."""

    async def attack(asked: Asked) -> None:
        await asked.say(200, body, ("Content-Type", kind), *fields)

    return attack


_TAGS = json.dumps({"name": "x/y", "tags": [f"tag-{number:08}" for number in range(260_000)]}).encode()
_REFERRERS = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 1} for number in range(26_000)
        ],
    }
).encode()

ATTACKS: dict[str, Attack] = {
    "challenges": heads(401, *[("WWW-Authenticate", "A B " * 4090)] * 100),
    "challenge": heads(401, ("WWW-Authenticate", "A B " * 7500)),
    "small-challenges": heads(401, *[("WWW-Authenticate", "A=b,C d, " * 40)] * 120),
    "token-nested": token_is(b"[" * 100_000),
    "token-number": token_is(b'{"token":"x","expires_in":' + b"9" * 100_000 + b"}"),
    "token-large": token_is(b'{"token":"' + b"x" * (2 * MIB) + b'"}'),
    "scopes": heads(401, ("WWW-Authenticate", f'Bearer realm="http://8.8.8.8:1/",scope="{"a " * 7000}"')),
    "large-errors": large_error,
    "interim": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 100),
    "head-lines": raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 500) for n in range(125))),
    "head-line": raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * MIB),
    "location": raw(b"HTTP/1.1 307 X\r\nLocation: http://x/" + b"y" * MIB + b"\r\nContent-Length: 0\r\n\r\n"),
    "circle": circle,
    "metadata": heads(302, ("Location", "http://169.254.169.254/latest/meta-data/")),
    "retry-after": heads(429, ("Retry-After", "1" + "0" * 400)),
    "links": lists(b'{"name":"x","tags":["a"]}', "application/json", *[("Link", "</a>; rel=x, " * 30)] * 100),
    "tags": lists(_TAGS, "application/json"),
    "referrers": lists(_REFERRERS, OCI_INDEX),
    "layers": sends(many_layers(20_000)),
    "most-layers": sends(most_layers(88_000)),
    "large-manifest": sends(document(annotations={"a": "x" * (8 * MIB - 4096)})),
    "many-annotations": sends(document(annotations={f"k{number}": "v" for number in range(250_000)})),
    "nested-manifest": sends(document(a=json.loads("[" * 900 + "]" * 900))),
    "bad-chunk": chunked(b"zz\r\n"),
    "chunk-extension": chunked(b"1;" + b"x" * MIB + b"\r\n"),
    "trailer": chunked(b"0\r\nX: " + b"y" * (200 * KIB) + b"\r\n\r\n"),
    "tiny-chunks": chunked(b"1\r\nx\r\n" * 20_000, 10),
    "chunk-size": chunked(b"ffffffffffffffffff\r\n"),
    "short": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nshort"),
    "long": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + b"x" * MIB),
    "no-content": raw(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
    "gzip-lie": raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "trickle": trickle,
    "garbage": raw(b"\x16\x03\x01\x02\x00" * 1000),
}
LARGE = frozenset({"layers", "most-layers", "large-manifest", "many-annotations", "referrers", "tags"})
"""Those that send documents of more than a mebibyte."""


class EvilRegistry(FakeServer):
    """Answers everything with one attack."""

    def __init__(self, attack: Attack) -> None:
        super().__init__()
        self._attack = attack

    async def handle(self, seen: ReceivedRequest, wire: Wire) -> None:
        await self._attack(Asked(seen, wire))


class EvilRegistries:
    """A server for each attack, in a thread; `urls` by the name of the attack."""

    def __init__(self) -> None:
        self.urls: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(scaled(10))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(scaled(10))

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for name, attack in ATTACKS.items():
                self.urls[name] = (await stack.enter_async_context(EvilRegistry(attack))).url
            self._ready.set()
            await self._over.wait()
