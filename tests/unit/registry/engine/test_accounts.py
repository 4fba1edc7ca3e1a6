from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from obol.oci.references import Digest
from obol.registry.control.api import RateLimit, RequestCounts, Source, UpstreamStatus
from obol.registry.engine import accounts as module
from obol.registry.engine.accounts import MOST_OPEN, Accounts, Counters, Covered, Ends, upstream_status
from obol.registry.policy.health import Health
from tests.fakes.upstream import FakeUpstream
from tests.unit.registry.world import world

NODE = Ends("172.18.0.1", 54100, "172.18.0.2")
OTHER = Ends("172.18.0.1", 54100, "172.18.0.3")
MIB = 1024 * 1024
DIGEST, SECOND = Digest.of(b"layer"), Digest.of(b"another")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))))
def test_each_byte_is_covered_once(spans: list[tuple[int, int]]) -> None:
    """However intervals overlap, what they add up to is the number of different bytes."""
    covered, bytes_of = Covered(), set[int]()
    for start, stop in spans:
        new = set(range(start, stop)) - bytes_of
        assert covered.add(start, stop) == len(new)
        bytes_of |= new


def test_what_was_held_is_told_from_what_is_fetched() -> None:
    """Content that is being fetched when the account is opened, or later, was not held."""
    accounts = Accounts()
    account = accounts.open(1, [DIGEST])
    assert account is not None
    accounts.meter(NODE, "docker.io", DIGEST).sent(0, 1000)
    accounts.meter(NODE, "docker.io", SECOND).sent(0, 600)
    accounts.fetches(SECOND)
    accounts.meter(NODE, "docker.io", SECOND).sent(600, 400)

    (tally,) = account.tallies.values()
    assert (tally.held, tally.fetched) == (600, 1400)


def test_a_repeated_answer_counts_once_for_each_client() -> None:
    """A client that asks again after a cut is given nothing twice; another client is given it, too."""
    accounts = Accounts()
    account = accounts.open(1, ())
    assert account is not None
    for start, count in ((0, 700), (0, 1000), (500, 500)):
        accounts.meter(NODE, "docker.io", DIGEST).sent(start, count)
    accounts.meter(OTHER, "docker.io", DIGEST).sent(0, 1000)

    assert [(ends, tally.held) for (ends, _), tally in account.tallies.items()] == [(NODE, 1000), (OTHER, 1000)]


def test_an_answer_that_had_begun_before_is_not_counted() -> None:
    """An answer counts in the accounts that were open when it began."""
    accounts = Accounts()
    meter = accounts.meter(NODE, "docker.io", DIGEST)
    account = accounts.open(1, ())
    assert account is not None
    meter.sent(0, 1000)

    assert account.tallies == {}


def test_accounts_are_apart() -> None:
    """What one account has seen fetched is held for one that is opened afterwards."""
    accounts = Accounts()
    first = accounts.open(1, ())
    accounts.fetches(DIGEST)
    second = accounts.open(2, ())
    assert first is not None
    assert second is not None
    accounts.meter(NODE, "docker.io", DIGEST).sent(0, 10)

    assert [tally.held for one in (first, second) for tally in one.tallies.values()] == [0, 10]
    assert accounts.close(first.name) is first
    assert accounts.close(first.name) is None
    assert accounts.close(second.name) is second


def test_few_are_open() -> None:
    """There is a limit, and an account that is closed makes room."""
    accounts = Accounts()
    assert not accounts.running
    opened = [accounts.open(1, ()) for _ in range(MOST_OPEN)]
    assert accounts.open(1, ()) is None
    assert opened[0] is not None
    accounts.close(opened[0].name)

    assert accounts.running
    assert accounts.open(1, ()) is not None


def test_an_account_that_missed_something_says_so() -> None:
    """Beyond its limits an account does not know everything, which is told instead of guessed."""
    accounts = Accounts()
    account = accounts.open(1, ())
    assert account is not None
    for number in range(module.MOST_CLIENTS + 1):
        accounts.meter(NODE._replace(peer=str(number)), "docker.io", DIGEST).sent(0, 1)

    assert not account.whole
    assert len(account.tallies) == module.MOST_CLIENTS


def test_outcomes() -> None:
    """What is served counts by where it came from; bytes from the upstream are none of the cache's."""
    counters = Counters()
    for source in Source:
        counters.served(source, 100)
    counters.refused()
    counters.fetched(3)
    counters.transfers.received = 4

    assert (counters.hit, counters.miss, counters.stale, counters.error) == (3, 1, 1, 1)
    assert (counters.bytes_from_cache, counters.bytes_from_upstream) == (400, 7)


async def test_upstreams() -> None:
    """Each upstream is told with its health and what was asked of us and of it."""
    one, other = FakeUpstream("one.test"), FakeUpstream("other.test")
    async with world(one, other) as w:
        w.scopes[0].counters.hit = 3
        w.scopes[0].counters.bytes_from_cache = 700
        one.health = Health(answered=True)
        one.budget = RateLimit(100, 76)
        one.last_problem = "was down yesterday"
        one.requests = 5
        w.scopes[0].counters.transfers.stalled = 2
        now = w.clock.monotonic()
        first, second = (upstream_status(scope, now) for scope in w.scopes)

    assert first == UpstreamStatus(
        registry="one.test",
        url="https://one.test",
        health="ok",
        detail="",
        retry_after=None,
        requests=RequestCounts(hit=3),
        bytes_from_cache=700,
        bytes_from_upstream=0,
        upstream_requests=5,
        throughput=None,
        ratelimit=RateLimit(100, 76),
    )
    assert (second.health, second.ratelimit) == ("unknown", None)
    assert w.scopes[0].counters.ended_badly() == {"failed": 0, "corrupt": 0, "stalled": 2}


async def test_trouble() -> None:
    """An upstream in trouble is told with what was wrong, and when it is asked again."""
    async with world() as w:
        w.upstream.health = replace(Health(), limited_until=w.clock.monotonic() + 30.0)
        w.upstream.last_problem = "too many requests"
        told = upstream_status(w.scope, w.clock.monotonic())

    assert (told.health, told.detail, told.retry_after) == ("rate-limited", "too many requests", 30.0)
