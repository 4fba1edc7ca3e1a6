import asyncio

import aiohttp
import pytest

from obol.registry.upstream.ports import Unavailable
from obol.registry.upstream.reading import piece, read_bounded
from obol.registry.upstream.transport import Transport
from tests.fakes.behaviours import Behaviour, stall_mid_body
from tests.fakes.chunks import BROKEN_CHUNKS
from tests.fakes.hostile import HostileRegistry
from tests.limits import scaled
from tests.unit.registry.upstream.reach import DATA, DIGEST, LIMITS, shelved, transport_to

PATIENT = 30.0
"""Far longer than the tests may take: what ends sooner was ended by something else."""


async def answer(transport: Transport, url: str) -> aiohttp.ClientResponse:
    """The head of the blob's answer."""
    return (await transport.send("GET", f"{url}/v2/library/app/blobs/{DIGEST}", {}, None)).response


@pytest.mark.parametrize("behaviour", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
async def test_a_malformed_chunk_ends_the_wait_at_once(behaviour: Behaviour) -> None:
    """A reader that waits for more is told as soon as the parser gives up, though the connection was left open."""
    async with HostileRegistry({"blob": behaviour}) as server, transport_to(server.url) as transport:
        shelved(server)
        response = await answer(transport, server.url)

        got = b""
        try:
            async with asyncio.timeout(scaled(1.5)):
                while data := await piece(response, PATIENT):
                    got += data
        except Unavailable:
            pass
        finally:
            response.close()
        assert got.startswith(DATA[: len(DATA) // 2])
        assert len(got) < len(DATA)


async def test_silence_has_a_limit_of_ours() -> None:
    """A body that brings nothing for so many seconds is given up, whatever the library's own limit is."""
    async with HostileRegistry({"blob": stall_mid_body}) as server, transport_to(server.url) as transport:
        shelved(server)
        response = await answer(transport, server.url)

        got = 0
        while got < len(DATA) // 2:
            got += len(await piece(response, PATIENT))
        with pytest.raises(Unavailable, match="in time"):
            await piece(response, 0.05)
        response.close()


async def test_a_reader_that_comes_too_late_is_told() -> None:
    """A connection that is gone before anybody reads is an error of ours, none of the library's."""
    async with HostileRegistry({"blob": BROKEN_CHUNKS["no number"]}) as server, transport_to(server.url) as transport:
        shelved(server)
        response = await answer(transport, server.url)
        await asyncio.sleep(0.1)

        with pytest.raises(Unavailable):
            await read_bounded(response, len(DATA))


async def test_a_connection_that_is_used_again_keeps_no_listener() -> None:
    """Many answers by one connection leave nothing behind on it."""
    async with HostileRegistry() as server, transport_to(server.url) as transport:
        shelved(server)
        server.gate = asyncio.Event()
        for _ in range(3):
            response = await answer(transport, server.url)
            connection = response.connection
            assert connection is not None
            assert connection.protocol is not None
            closed = connection.protocol.closed
            server.gate.set()
            assert await read_bounded(response, len(DATA)) == DATA
            server.gate.clear()

        assert closed is not None
        assert not getattr(closed, "_callbacks", None)
    assert LIMITS.idle < PATIENT
