import asyncio

import pytest

from obol.machine.tasks import spawn
from obol.oci.references import Digest
from obol.registry.control.api import Listener
from obol.registry.engine.accounts import Account, Accounts, Ends
from obol.registry.server.exchange import meter_of
from tests.fakes.content import blob as make_blob
from tests.fakes.content import make_image
from tests.fakes.http import request
from tests.fakes.upstream import FakeUpstream
from tests.limits import eventually
from tests.unit.registry.server.serving import Serving, serving, session

LARGE, LARGE_DATA = make_blob(70_000, "large")
SMALL, SMALL_DATA = make_blob(2000, "small")
BLOB, TINY = f"/v2/team/app/blobs/{LARGE}", f"/v2/team/app/blobs/{SMALL}"
IMAGE = make_image(500)
MANIFEST = "/v2/team/app/manifests/1"


def upstream() -> FakeUpstream:
    """An upstream with an image and two more blobs."""
    one = FakeUpstream()
    one.add("team/app", "1", IMAGE)
    one.add_blob("team/app", SMALL, SMALL_DATA)
    one.add_blob("team/app", LARGE, LARGE_DATA).piece = 8192
    return one


def opened(s: Serving) -> Account:
    """Open an account."""
    account = s.world.engine.open_account(1)
    assert account is not None
    return account


def sums(account: Account, port: int | None = None) -> tuple[int, int]:
    """What was given of what was held, and of what was fetched."""
    tallies = [tally for (ends, _), tally in account.tallies.items() if port in {None, ends.port}]
    return sum(tally.held for tally in tallies), sum(tally.fetched for tally in tallies)


async def everything(s: Serving) -> int:
    """Ask for everything once; how many bytes of content that was."""
    replies = [await s.ask("GET", target) for target in (MANIFEST, BLOB, TINY)]
    await s.world.idle()
    return sum(len(reply.body) for reply in replies)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_first_pull_is_given_nothing_that_was_held(times: int) -> None:
    """All bytes of a first pull are fetched ones, to the byte, however often they are asked for again."""
    async with serving(upstream()) as s:
        account = opened(s)
        sizes = [await everything(s) for _ in range(times)]

    assert sums(account) == (0, sizes[0])


async def test_a_warm_pull_is_given_what_was_held() -> None:
    """All bytes of a warm pull were held, ready answers included, to the byte and once."""
    async with serving(upstream()) as s:
        size = await everything(s)
        await everything(s)
        account = opened(s)
        await everything(s)
        async with session(s.ports[0]) as client:
            for _ in range(3):
                for target in (MANIFEST, TINY):
                    await client.ask("GET", target)

    assert sums(account) == (size, 0)
    assert next(iter(account.tallies))[0] == Ends("127.0.0.1", s.ports[0], "127.0.0.1")


async def test_answers_without_content_count_nothing() -> None:
    """HEAD, 304, 404 and 416 give no content."""
    async with serving(upstream()) as s:
        await everything(s)
        account = opened(s)
        for target in (MANIFEST, BLOB, TINY):
            head = await s.ask("HEAD", target)
            again = await s.ask("GET", target, ("If-None-Match", str(head.header("ETag"))))
            assert (head.status, again.status) == (200, 304)
        assert (await s.ask("GET", BLOB, ("Range", "bytes=90000-"))).status == 416
        assert (await s.ask("GET", f"/v2/team/app/manifests/{LARGE}")).status == 404
        assert (await s.ask("GET", "/v2/")).status == 200

    assert sums(account) == (0, 0)


async def test_ranges_count_once() -> None:
    """Parts of a blob that overlap are given once."""
    async with serving(upstream()) as s:
        await everything(s)
        account = opened(s)
        for part in ("0-999", "500-1499", "0-", "69000-"):
            assert (await s.ask("GET", BLOB, ("Range", f"bytes={part}"))).status == 206

    assert sums(account) == (len(LARGE_DATA), 0)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_pull_that_is_cut_and_repeated_counts_once(warm: bool) -> None:
    """A client that goes away in the middle and comes back was given each byte once."""
    async with serving(upstream()) as s:
        if warm:
            await everything(s)
        account = opened(s)
        async with session(s.ports[0]) as client:
            client.send(f"GET {BLOB} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await client.reader.readexactly(20_000)
        await s.world.idle()
        await s.ask("GET", BLOB)
        await eventually(lambda: sum(sums(account)) >= len(LARGE_DATA))

    assert sums(account) == ((len(LARGE_DATA), 0) if warm else (0, len(LARGE_DATA)))


async def test_what_follows_a_running_transfer_is_no_saving() -> None:
    """Neither is a transfer that was under way when the account was opened, whoever began it."""
    one = upstream()
    slow = one.blob_of("team/app", LARGE)
    slow.hold(30_000)
    async with serving(one) as s:
        first = spawn(s.ask("GET", BLOB), name="client")
        await eventually(lambda: s.world.engine.transfers == 1)
        account = opened(s)
        second = spawn(s.ask("GET", BLOB), name="client")
        await eventually(lambda: s.world.engine.blobs.transfers[0].followers == 2)
        slow.let_go()
        replies = await asyncio.gather(first, second)
        await s.world.idle()

    assert [reply.body for reply in replies] == [LARGE_DATA] * 2
    assert sums(account) == (0, len(LARGE_DATA))


async def test_two_accounts_beside_a_foreign_pull() -> None:
    """Sums of each port's clients agree to the byte with what they received, and the foreign pull is nobody's."""
    async with serving(upstream()) as s:
        await s.ask("GET", BLOB)
        await s.world.idle()
        own = [await s.listeners.add(Listener("registry.test", "127.0.0.1", 0)) for _ in range(2)]
        accounts = [opened(s), opened(s)]

        async def pull(port: int, *targets: str) -> int:
            got = 0
            for target in targets:
                got += len((await request(port, "GET", target)).body)
            return got

        received = await asyncio.gather(
            pull(own[0].port, MANIFEST, BLOB, TINY), pull(own[1].port, BLOB), pull(s.ports[0], MANIFEST, BLOB, TINY)
        )
        await s.world.idle()

    for account, port, size in zip(accounts, own, received, strict=False):
        held, fetched = sums(account, port.port)
        assert held == len(LARGE_DATA)
        assert held + fetched == size
    assert sum(sums(accounts[0])) == sum(received)


def test_only_connections_have_ends() -> None:
    """What is no TCP connection has no meter."""
    pipe = asyncio.BaseTransport()

    assert meter_of(Accounts(), pipe, "r", Digest(SMALL)) is None
    assert meter_of(Accounts(), None, "r", Digest(SMALL)) is None
