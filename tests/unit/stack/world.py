"""A stack on nothing: caches, a way to warm them and a backend that do as told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from obol.caches.ports import Running, Started, Substitute
from obol.caches.warming import Holding
from obol.client.ports import Kind, PulledImage, PullFailed
from obol.errors import EngineUnresponsive, ObolError, PortTaken
from obol.oci.references import Digest, ImageReference
from obol.registry.control.api import AccountStatus, EngineStatus, Given, HeldImage, Inventory, Listener
from obol.workloads.images import StackImage
from tests.fakes.control import status_body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from obol.caches.warming import Held
    from obol.client.ports import Progress

NOTHING = Holding({}, 0)
LITELLM = StackImage(ImageReference.parse("ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable"), ("litellm",))
PAUSE = StackImage(ImageReference.parse("rancher/mirrored-pause:3.6"), ("k3s v1.35.5+k3s1",))


def engine_status() -> EngineStatus:
    """What a running engine says; docker.io was measured at 1.5 MB/s."""
    return msgspec.json.decode(status_body(Path("/s")), type=EngineStatus)


def pulled(image: StackImage, *, from_cache: int = 0, from_upstream: int = 0) -> PulledImage:
    """An image that is in the cache now."""
    total = from_cache + from_upstream
    return PulledImage(
        image.reference, Digest.of(b"x"), ("linux/amd64",), 3, total, from_cache, from_upstream, seconds=1.25
    )


def failed(image: StackImage, kind: Kind = Kind.ABSENT, retry_after: float | None = None) -> PullFailed:
    """An image that could not be had."""
    return PullFailed(image.reference, kind, why="for a reason", hint="do something", retry_after=retry_after)


@dataclass
class FakeCaches:
    """A `CacheEngine`."""

    running: Running | None = None
    differs: tuple[str, ...] = ()
    substitutes: tuple[Substitute, ...] = ()
    problem: BaseException | None = None
    held: tuple[HeldImage, ...] = ()
    taken: frozenset[int] = frozenset()
    refusing: ObolError | None = None
    account: AccountStatus | None = None
    given: tuple[Given, ...] = ()
    whole: bool = True
    calls: list[str] = field(default_factory=list)

    def start(self) -> Started:
        """Start."""
        self.calls.append("start")
        already, self.running = self.running is not None, Running(engine_status())
        return Started(self.running.status, already, self.substitutes, self.differs)

    def stop(self) -> bool:
        """Stop."""
        self.calls.append("stop")
        stopped, self.running = self.running is not None, None
        return stopped

    def status(self) -> Running | None:
        """Tell, or raise `problem`."""
        self.calls.append("status")
        if self.problem:
            raise self.problem
        return self.running

    def images(self) -> Inventory:
        """List `held`."""
        return Inventory(self.held)

    def listen(self, listener: Listener) -> Listener:
        """Listen there, unless that is `taken`."""
        self.calls.append(f"listen {listener.address}:{listener.port}")
        if listener.port in self.taken:
            raise PortTaken("taken")
        return listener

    def open_account(self, listeners: Sequence[Listener]) -> AccountStatus:
        """Open one, with ports from 40000 on; raises `refusing`."""
        if self.refusing:
            raise self.refusing
        self.calls.append("open account")
        opened = [replace(one, port=one.port or 40000 + number) for number, one in enumerate(listeners)]
        self.account = AccountStatus("a", self.whole, tuple(opened))
        return self.account

    def close_account(self, name: str) -> AccountStatus:
        """Close it, with what was `given`."""
        self.calls.append("close account")
        if self.account is None:
            raise EngineUnresponsive("there is no such account")
        account, self.account = self.account, None
        return replace(account, given=self.given)


@dataclass
class FakeWarmth:
    """A `Warmth` with outcomes and holdings by reference; what it was not told of is fetched, and is missing."""

    outcomes: dict[ImageReference, PulledImage | PullFailed] = field(default_factory=dict)
    holdings: dict[ImageReference, Held] = field(default_factory=dict)
    engines: list[EngineStatus] = field(default_factory=list)
    asked: list[Sequence[ImageReference]] = field(default_factory=list)
    holds: Holding = NOTHING

    async def warm(
        self,
        references: Sequence[ImageReference],
        engine: EngineStatus,
        progress: Progress,
        before: Callable[[Holding], None] | None = None,
    ) -> Sequence[PulledImage | PullFailed]:
        """Give the outcomes, and tell `progress`."""
        if before is not None:
            before(self.holds)
        self.engines.append(engine)
        self.asked.append(references)
        found: list[PulledImage | PullFailed] = []
        for reference in references:
            outcome = self.outcomes.get(reference) or pulled(StackImage(reference, ()), from_upstream=1 << 20)
            if isinstance(outcome, PulledImage):
                progress.found(reference, outcome.bytes_total)
                progress.done(outcome)
            else:
                progress.failed(outcome)
            found.append(outcome)
        return found

    async def held(self, references: Sequence[ImageReference]) -> Mapping[ImageReference, Held]:
        """Give the holdings."""
        return {reference: self.holdings.get(reference, "missing") for reference in references}
