from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from obol.oci.references import Digest
from obol.registry.engine import accounts as module
from obol.registry.engine.accounts import MOST_OPEN, Accounts, Covered, Ends

NODE = Ends("172.18.0.1", 54100, "172.18.0.2")
OTHER = Ends("172.18.0.1", 54100, "172.18.0.3")
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
    assert accounts.owners() == {first.name: 1, second.name: 2}
    assert accounts.close(first.name) is first
    assert accounts.close(first.name) is None
    assert accounts.close(second.name) is second


def test_few_are_open() -> None:
    """There is a limit, and an account that is closed makes room."""
    accounts = Accounts()
    assert not accounts
    opened = [accounts.open(1, ()) for _ in range(MOST_OPEN)]
    assert accounts.open(1, ()) is None
    assert opened[0] is not None
    accounts.close(opened[0].name)

    assert accounts
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
