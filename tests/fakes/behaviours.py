"""Ways in which an upstream answers badly, each a coroutine over one exchange.

The honest answer is at hand in the exchange, so most behaviours are a small change of it. Those that need a parameter
are made by a function; the tables at the end name one of each kind for tests that go through all of them.
"""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from urllib.parse import parse_qs

from tests.fakes.content import digest_of
from tests.fakes.server import Answer, FakeServer, Pairs, ReceivedRequest, Wire, render_head

METADATA = "http://169.254.169.254/latest/meta-data/"
MAPPED_METADATA = "http://[::ffff:169.254.169.254]/latest/meta-data/"
LOCAL_FILE = "file:///etc/passwd"
HUGE_MANIFEST = 100_000_000
"""Bytes in the body of `huge_manifest`."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, its wire, and what an honest registry would answer."""

    server: FakeServer
    seen: ReceivedRequest
    wire: Wire
    honest: Answer

    @property
    def body(self) -> bytes:
        return bytes(self.honest.body)

    @property
    def total(self) -> int:
        """The size of the whole content, also where the honest answer is a range of it."""
        span = dict(self.honest.headers).get("Content-Range")
        return int(span.rpartition("/")[2]) if span else len(self.honest.body)

    async def say(self, answer: Answer) -> None:
        """Send an answer in the usual way."""
        await self.server.send(self.seen, self.wire, answer)

    async def start(self, answer: Answer) -> bool:
        """Send the head only; False where the request is a HEAD, which ends there."""
        self.seen.status = answer.status
        await self.wire.write(render_head(answer))
        return self.seen.method != "HEAD"

    async def part(self, data: bytes) -> None:
        """Send some bytes of body, and count them."""
        await self.wire.write(data)
        self.seen.sent += len(data)
        await asyncio.sleep(0)


Behaviour = Callable[[Exchange], Awaitable[None]]


def times(number: int, behaviour: Behaviour) -> Behaviour:
    """Behave so for the first requests, honestly after them."""
    left = number

    async def limited(exchange: Exchange) -> None:
        nonlocal left
        left -= 1
        await (behaviour(exchange) if left >= 0 else exchange.say(exchange.honest))

    return limited


def flip(where: str) -> Behaviour:
    """The `first`, `middle` or `last` byte of the content is wrong, also in the range that has it."""

    async def flipped(exchange: Exchange) -> None:
        last = exchange.total - 1
        position = {"first": 0, "middle": last // 2, "last": last}[where] - exchange.honest.offset
        data = bytearray(exchange.body)
        if 0 <= position < len(data):
            data[position] ^= 0x01
        await exchange.say(replace(exchange.honest, body=bytes(data)))

    return flipped


async def extra_byte(exchange: Exchange) -> None:
    """One byte more, and a Content-Length that agrees."""
    await exchange.say(replace(exchange.honest, body=exchange.body + b"!"))


async def missing_byte(exchange: Exchange) -> None:
    """One byte fewer, and a Content-Length that agrees."""
    await exchange.say(replace(exchange.honest, body=exchange.body[:-1]))


async def other_content(exchange: Exchange) -> None:
    """Other bytes of the right length."""
    await exchange.say(replace(exchange.honest, body=b"\0" * len(exchange.body)))


async def empty(exchange: Exchange) -> None:
    """200 and nothing."""
    await exchange.say(replace(exchange.honest, status=200, body=b""))


async def html(exchange: Exchange) -> None:
    """The 200 page of a captive portal."""
    page = b"<!doctype html><title>Welcome</title><p>Please log in to use this network."
    await exchange.say(Answer(200, (("Content-Type", "text/html; charset=utf-8"),), page))


async def lying_digest(exchange: Exchange) -> None:
    """A Docker-Content-Digest that is not that of the body."""
    headers = _without(exchange.honest.headers, "Docker-Content-Digest", "ETag")
    await exchange.say(
        replace(exchange.honest, headers=(*headers, ("Docker-Content-Digest", digest_of(b"something else"))))
    )


async def malformed_digest(exchange: Exchange) -> None:
    """A Docker-Content-Digest that is none."""
    headers = _without(exchange.honest.headers, "Docker-Content-Digest", "ETag")
    await exchange.say(replace(exchange.honest, headers=(*headers, ("Docker-Content-Digest", "sha256:../../x"))))


async def gzip_label(exchange: Exchange) -> None:
    """The right bytes, said to be gzip-encoded."""
    await exchange.say(replace(exchange.honest, headers=(*exchange.honest.headers, ("Content-Encoding", "gzip"))))


async def gzipped(exchange: Exchange) -> None:
    """The right bytes, really gzip-encoded though nobody asked."""
    headers = (*exchange.honest.headers, ("Content-Encoding", "gzip"))
    await exchange.say(replace(exchange.honest, headers=headers, body=gzip.compress(exchange.body, mtime=0)))


def cut(share: float = 0.5, *, reset: bool = False) -> Behaviour:
    """The right Content-Length, that share of the body, and the end by FIN or RST."""

    async def short(exchange: Exchange) -> None:
        if await exchange.start(exchange.honest):
            await exchange.part(exchange.body[: int(len(exchange.body) * share)])
            if reset:
                # What the client has not read yet is lost with an RST; give it the time to see half a body.
                await asyncio.sleep(0.02)
                exchange.wire.reset()
            else:
                exchange.wire.finish()

    return short


async def last_byte_missing(exchange: Exchange) -> None:
    """The right Content-Length, all but the last byte, and FIN."""
    if await exchange.start(exchange.honest):
        await exchange.part(exchange.body[:-1])
        exchange.wire.finish()


async def closed_at_once(exchange: Exchange) -> None:
    """FIN instead of an answer."""
    exchange.wire.finish()


async def reset_at_once(exchange: Exchange) -> None:
    """RST instead of an answer."""
    exchange.wire.reset()


async def chunk_garbage(exchange: Exchange) -> None:
    """A chunked body whose second size is no number."""
    if await exchange.start(replace(exchange.honest, chunked=True)):
        half = exchange.body[: len(exchange.body) // 2]
        await exchange.part(b"%x\r\n%b\r\nzz\r\n" % (len(half), half))
        exchange.wire.finish()


def trickle(interval: float) -> Behaviour:
    """One byte of body each `interval` seconds."""

    async def dripping(exchange: Exchange) -> None:
        if await exchange.start(exchange.honest):
            for byte in exchange.body:
                await asyncio.sleep(interval)
                await exchange.part(bytes([byte]))

    return dripping


async def stall_before_headers(exchange: Exchange) -> None:
    """Silence, until the server goes away."""
    await asyncio.Event().wait()


async def stall_mid_body(exchange: Exchange) -> None:
    """Half of the body, then silence."""
    if await exchange.start(exchange.honest):
        await exchange.part(exchange.body[: len(exchange.body) // 2])
        await asyncio.Event().wait()


def range_lie(*, start: int = 0, total: int = 0) -> Behaviour:
    """A 206 whose Content-Range is off by so much; a request without a range is answered honestly."""

    async def lying(exchange: Exchange) -> None:
        if exchange.honest.status != 206:
            await exchange.say(exchange.honest)
            return
        first = exchange.honest.offset + start
        span = f"bytes {first}-{first + len(exchange.body) - 1}/{exchange.total + total}"
        headers = _without(exchange.honest.headers, "Content-Range")
        await exchange.say(replace(exchange.honest, headers=(*headers, ("Content-Range", span))))

    return lying


async def range_short(exchange: Exchange) -> None:
    """A 206 with the right Content-Range and half of the bytes it names, under their own Content-Length."""
    half = exchange.body[: len(exchange.body) // 2]
    await exchange.say(replace(exchange.honest, body=half) if exchange.honest.status == 206 else exchange.honest)


async def range_ignored(exchange: Exchange) -> None:
    """A 200 with the whole content, whatever range was asked."""
    plain = replace(exchange.seen, headers=_without(exchange.seen.headers, "Range"))
    await exchange.say(await exchange.server.answer(plain))


async def range_refused(exchange: Exchange) -> None:
    """416 to everything."""
    await exchange.say(Answer(416, (("Content-Range", f"bytes */{exchange.total}"),)))


def redirect_to(location: str) -> Behaviour:
    """A redirect to somewhere."""

    async def redirecting(exchange: Exchange) -> None:
        await exchange.say(Answer(307, (("Location", location),)))

    return redirecting


async def redirect_loop(exchange: Exchange) -> None:
    """A redirect to itself."""
    await exchange.say(Answer(307, (("Location", exchange.seen.target),)))


def redirects(number: int) -> Behaviour:
    """So many redirects, then the honest answer."""

    async def hopping(exchange: Exchange) -> None:
        hop = int(parse_qs(exchange.seen.query).get("hop", ["0"])[0])
        onward = Answer(307, (("Location", f"{exchange.server.url}{exchange.seen.path}?hop={hop + 1}"),))
        await exchange.say(onward if hop < number else exchange.honest)

    return hopping


async def endless_headers(exchange: Exchange) -> None:
    """Header after header."""
    exchange.seen.status = 200
    await exchange.wire.write(b"HTTP/1.1 200 OK\r\n")
    for number in count():
        await exchange.wire.write(b"X-Header-%d: %b\r\n" % (number, b"x" * 1000))
        await asyncio.sleep(0)


async def long_header(exchange: Exchange) -> None:
    """One header line of 1 MiB."""
    await exchange.say(replace(exchange.honest, headers=(*exchange.honest.headers, ("X-Long", "x" * (1 << 20)))))


def lengths(*values: str) -> Behaviour:
    """The honest body under these Content-Length headers; the connection ends after it."""

    async def lying(exchange: Exchange) -> None:
        told = tuple(("Content-Length", value) for value in values)
        if await exchange.start(replace(exchange.honest, headers=exchange.honest.headers + told)):
            await exchange.part(exchange.body)
        exchange.wire.finish()

    return lying


async def endless_body(exchange: Exchange) -> None:
    """A chunked body without end."""
    if await exchange.start(Answer(200, (("Content-Type", "application/json"),), chunked=True)):
        while True:
            await exchange.part(b"10000\r\n%b\r\n" % (b" " * 0x10000))


async def huge_manifest(exchange: Exchange) -> None:
    """Valid JSON of 100 MB under the honest headers."""
    start, end = b'{"schemaVersion": 2, "annotations": {"a": "', b'"}}'
    headers = (*exchange.honest.headers, ("Content-Length", str(HUGE_MANIFEST)))
    if await exchange.start(replace(exchange.honest, headers=headers)):
        await exchange.part(start)
        left = HUGE_MANIFEST - len(start) - len(end)
        for _ in range(left >> 16):
            await exchange.part(b"a" * (1 << 16))
        await exchange.part(b"a" * (left & 0xFFFF) + end)


async def nested_json(exchange: Exchange) -> None:
    """Arrays in arrays, 100,000 deep, under the honest headers but for the digest."""
    headers = _without(exchange.honest.headers, "Docker-Content-Digest", "ETag")
    await exchange.say(replace(exchange.honest, headers=headers, body=b"[" * 100_000 + b"]" * 100_000))


async def garbage(exchange: Exchange) -> None:
    """200, said to be JSON, and no JSON."""
    await exchange.say(Answer(200, (("Content-Type", "application/json"),), b'{"token": \xff\xfe'))


def _without(headers: Pairs, *names: str) -> Pairs:
    unwanted = {name.lower() for name in names}
    return tuple((key, value) for key, value in headers if key.lower() not in unwanted)


WRONG_CONTENT: dict[str, Behaviour] = {
    "first byte": flip("first"),
    "middle byte": flip("middle"),
    "last byte": flip("last"),
    "extra byte": extra_byte,
    "missing byte": missing_byte,
    "other content": other_content,
    "empty": empty,
    "html": html,
    "gzipped": gzipped,
}
"""A full answer that must not be kept; gzip-encoded bytes may be, if they are decoded."""

BROKEN_TRANSFER: dict[str, Behaviour] = {
    "cut by FIN": cut(),
    "cut by RST": cut(reset=True),
    "last byte missing": last_byte_missing,
    "closed at once": closed_at_once,
    "reset at once": reset_at_once,
    "chunk garbage": chunk_garbage,
}
"""The connection ends before the answer does."""

SILENCE: dict[str, Behaviour] = {
    "trickle": trickle(0.2),
    "stall before headers": stall_before_headers,
    "stall mid body": stall_mid_body,
}
"""Only a time limit ends these."""

BAD_RANGES: dict[str, Behaviour] = {
    "wrong start": range_lie(start=1),
    "wrong total": range_lie(total=1),
    "wrong length": range_short,
    "ignored": range_ignored,
    "refused": range_refused,
}

BAD_REDIRECTS: dict[str, Behaviour] = {
    "metadata": redirect_to(METADATA),
    "mapped metadata": redirect_to(MAPPED_METADATA),
    "file": redirect_to(LOCAL_FILE),
    "loop": redirect_loop,
    "thirty": redirects(30),
}

BAD_HEADERS: dict[str, Behaviour] = {
    "endless headers": endless_headers,
    "long header": long_header,
    "negative length": lengths("-1"),
    "huge length": lengths(str(1 << 63)),
    "double length": lengths("10", "20"),
    "lying digest": lying_digest,
    "malformed digest": malformed_digest,
    "gzip label": gzip_label,
}

BAD_DOCUMENTS: dict[str, Behaviour] = {
    "huge": huge_manifest,
    "nested": nested_json,
    "garbage": garbage,
    "endless": endless_body,
}
"""For manifests and tokens."""
