"""What is counted: all that was served and fetched since the start, and in accounts, what each client was given.

The server counts an exchange once, at its end, whatever it was: HEAD, a list, a part, an error, a ready answer, or a
body of which a client took only the beginning. What no exchange serves of an upstream (pages beside the registry, the
question whether we are a registry) is not counted.

The counters of an upstream say what all clients did together. An account says what each did from the moment on when it
was opened, apart by the address that it asked at and the address that it asked from, so that the program that opened it
can pick out its own clients. It also tells what was held at that moment from what was not: what is fetched while an
account is open was not held when it was opened, whichever client had it fetched. Each byte of a blob counts once for
each client, however often it is sent.

An account costs something with each answer, so there are few, and none is left open for long.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from obol.registry.control.api import RequestCounts, Source, UpstreamStatus
from obol.registry.policy.health import describe
from obol.registry.transfers.transfer import TransferCounts

if TYPE_CHECKING:
    from obol.oci.references import Digest
    from obol.registry.engine.scopes import Scope

MOST_OPEN = 16
MOST_DIGESTS = 100_000
MOST_CLIENTS = 1_000
"""Limits of one account. Beyond one of the last two it does not know everything any more, and says so."""


_MISS, _STALE = Source.MISS, Source.STALE
"""At hand: a member of an enumeration costs more to look up than all else of a count."""


@dataclass(slots=True)
class Counters:
    """What happened with one upstream since the engine started; bytes are those of bodies, without headers.

    Plain integers: a hit must not pay for a metrics library.
    """

    hit: int = 0
    """Answered from what was stored, or by joining a transfer that another client had started."""
    miss: int = 0
    """Answered by asking the upstream."""
    stale: int = 0
    """Answered with what a tag meant before, because the upstream could not be asked."""
    error: int = 0
    """Refused."""
    bytes_from_cache: int = 0
    bytes_of_documents: int = 0
    """Bytes of manifests and lists that came from the upstream."""
    transfers: TransferCounts = field(default_factory=TransferCounts)

    @property
    def bytes_from_upstream(self) -> int:
        """Bytes of all that came from the upstream."""
        return self.bytes_of_documents + self.transfers.received

    def served(self, source: Source, count: int) -> None:
        """One request was answered; `count` bytes of the answer's body were sent."""
        if source is _MISS:
            self.miss += 1
            return
        if source is _STALE:
            self.stale += 1
        else:
            self.hit += 1
        self.bytes_from_cache += count

    def refused(self) -> None:
        """One request was answered with an error."""
        self.error += 1

    def fetched(self, count: int) -> None:
        """So many bytes of a manifest or a list came from the upstream."""
        self.bytes_of_documents += count

    def ended_badly(self) -> dict[str, int]:
        """Transfers that brought nothing, by what became of them."""
        return {"failed": self.transfers.failed, "corrupt": self.transfers.corrupt, "stalled": self.transfers.stalled}


def upstream_status(scope: Scope, now: float) -> UpstreamStatus:
    """How an upstream is, and what was asked of us and of it, at monotonic time `now`."""
    upstream, counters = scope.upstream, scope.counters
    health, retry_after = describe(upstream.health, now)
    return UpstreamStatus(
        registry=scope.registry,
        url=upstream.settings.url,
        health=health,
        detail=upstream.last_problem if health not in {"ok", "unknown"} else "",
        retry_after=retry_after,
        requests=RequestCounts(counters.hit, counters.miss, counters.stale, counters.error),
        bytes_from_cache=counters.bytes_from_cache,
        bytes_from_upstream=counters.bytes_from_upstream,
        upstream_requests=upstream.requests,
        throughput=counters.transfers.throughput(),
        ratelimit=upstream.budget,
    )


class Ends(NamedTuple):
    """The two ends of a connection."""

    address: str
    """Ours, as the next."""
    port: int
    peer: str
    """The client's address."""


@dataclass(slots=True)
class Tally:
    """Bytes of manifests and blobs that one client was given of one registry, each byte once."""

    held: int = 0
    """Of what was stored as a whole when the account was opened."""
    fetched: int = 0
    """Of what came from the upstream since, for this client or for another one."""


class Covered:
    """Which bytes of one blob a client was given: half-open intervals, in order and apart."""

    __slots__ = ("_starts", "_stops")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int) -> int:
        """Add an interval; how many of its bytes are new."""
        if stop <= start:
            return 0
        first, last = bisect_left(self._stops, start), bisect_right(self._starts, stop)
        starts, stops = self._starts[first:last], self._stops[first:last]
        before = sum(stops) - sum(starts)
        low, high = min([start, *starts]), max([stop, *stops])
        self._starts[first:last], self._stops[first:last] = [low], [high]
        return high - low - before


@dataclass(slots=True)
class Account:
    """What was given since it was opened."""

    name: str
    owner: int
    """The process that opened it, which closes it, or dies."""
    whole: bool = True
    """Whether it knows of everything that happened since."""
    tallies: dict[tuple[Ends, str], Tally] = field(default_factory=dict)
    """By client and registry."""
    _fresh: set[Digest] = field(default_factory=set)
    _covered: dict[tuple[Ends, Digest], Covered] = field(default_factory=dict)

    def fetches(self, digest: Digest) -> None:
        """Something is being fetched, so it was not held."""
        if len(self._fresh) < MOST_DIGESTS:
            self._fresh.add(digest)
        else:
            self.whole = False

    def holds(self, digest: Digest) -> bool:
        """Whether it was held when the account was opened, if it is held now."""
        return digest not in self._fresh

    def given(self, ends: Ends, registry: str, digest: Digest, start: int, count: int, *, held: bool) -> None:
        """A client was given bytes."""
        covered = self._covered.get((ends, digest))
        if covered is None:
            if len(self._covered) >= MOST_DIGESTS or len(self.tallies) >= MOST_CLIENTS:
                self.whole = False
                return
            covered = self._covered[ends, digest] = Covered()
        tally = self.tallies.setdefault((ends, registry), Tally())
        new = covered.add(start, start + count)
        if held:
            tally.held += new
        else:
            tally.fetched += new


@dataclass(frozen=True, slots=True)
class AnswerMeter:
    """One answer, in the accounts that were open when it began."""

    accounts: Sequence[tuple[Account, bool]]
    """Each with whether it held the content."""
    ends: Ends
    registry: str
    digest: Digest

    def sent(self, start: int, count: int) -> None:
        """So many bytes of the content were sent, from `start` on."""
        if count > 0:
            for account, held in self.accounts:
                account.given(self.ends, self.registry, self.digest, start, count, held=held)


class Accounts:
    """The open accounts."""

    def __init__(self) -> None:
        self.running: dict[str, Account] = {}
        """By name; empty for most of the time, which is all that an answer from memory looks at."""

    def open(self, owner: int, busy: Iterable[Digest]) -> Account | None:
        """Open an account; None where there are too many. `busy` is what is being fetched now."""
        if len(self.running) >= MOST_OPEN:
            return None
        account = Account(secrets.token_hex(8), owner)
        for digest in busy:
            account.fetches(digest)
        self.running[account.name] = account
        return account

    def close(self, name: str) -> Account | None:
        """Close an account, and give what it came to."""
        return self.running.pop(name, None)

    def fetches(self, digest: Digest) -> None:
        """Content is being fetched, or was fetched just now."""
        for account in self.running.values():
            account.fetches(digest)

    def meter(self, ends: Ends, registry: str, digest: Digest) -> AnswerMeter:
        """Begin to count an answer."""
        return AnswerMeter([(one, one.holds(digest)) for one in self.running.values()], ends, registry, digest)
