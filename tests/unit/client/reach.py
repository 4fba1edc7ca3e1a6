"""How these tests pull: limits that suit tests, a clock of their own, and a registry that speaks as our cache does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from obol.client.platforms import Selection
from obol.client.ports import BytesFrom, Limits, PulledImage, PullFailed, Sink
from obol.client.pull import pull
from obol.client.session import RegistryClient
from obol.oci.manifests import Descriptor, Platform
from obol.oci.references import ImageReference
from tests.fakes.clock import FakeClock
from tests.fakes.registry import FakeRegistry, kind_of, route
from tests.fakes.server import Answer, Pairs, ReceivedRequest

LIMITS = Limits(images=2, layers=2, connect=0.5, manifest=0.5, headers=0.5, idle=0.3, attempts=3)
AMD64 = (Platform("linux", "amd64"),)
APP = ImageReference.parse("registry.test/team/app:1")


class FakeCache(FakeRegistry):
    """Says of everything where it comes from.

    What is in `stored` is a hit, all else a miss, of which `held` bytes were there; `joined` transfers are somebody
    else's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stored: set[str] = set()
        self.joined: set[str] = set()
        self.held = 0

    async def answer(self, seen: ReceivedRequest) -> Answer:
        answer = await super().answer(seen)
        where = route(seen.path)
        reference = where.reference if where else ""
        mark = "hit" if reference in self.stored else "filling" if reference in self.joined else "miss"
        marks: Pairs = (("Obol-Cache", mark),)
        if kind_of(seen.path) == "blob" and mark != "hit":
            marks = (*marks, ("Obol-Held", str(self.held)))
        return replace(answer, headers=(*answer.headers, *marks))


@dataclass
class Reports:
    """A `Progress` that writes down what it is told."""

    sizes: list[int] = field(default_factory=list)
    moves: dict[BytesFrom, int] = field(default_factory=lambda: dict.fromkeys(BytesFrom, 0))
    ends: list[PulledImage | PullFailed] = field(default_factory=list)

    def found(self, reference: ImageReference, size: int) -> None:
        assert isinstance(reference, ImageReference)
        self.sizes.append(size)

    def moved(self, reference: ImageReference, count: int, source: BytesFrom) -> None:
        assert isinstance(reference, ImageReference)
        assert count > 0
        self.moves[source] += count

    def done(self, image: PulledImage) -> None:
        self.ends.append(image)

    def failed(self, problem: PullFailed) -> None:
        self.ends.append(problem)


@dataclass
class Basket:
    """A `Sink` that keeps all."""

    blobs: dict[str, bytearray] = field(default_factory=dict)

    async def write(self, blob: Descriptor, offset: int, data: bytes) -> None:
        """Keep; bytes come in order."""
        held = self.blobs.setdefault(blob.digest, bytearray())
        assert len(held) == offset
        held += data
        await asyncio.sleep(0)


@asynccontextmanager
async def client_of(base: str, ns: str | None = None, clock: FakeClock | None = None) -> AsyncIterator[RegistryClient]:
    """A client whose pauses take no time."""
    async with RegistryClient(base, ns, LIMITS, clock or FakeClock()) as client:
        yield client


async def fetch(
    registry: FakeRegistry,
    reference: ImageReference = APP,
    platforms: Selection = AMD64,
    told: Reports | None = None,
    sink: Sink | None = None,
) -> PulledImage:
    """Pull from a fake."""
    async with client_of(registry.url) as client:
        return await pull(client, reference, platforms, LIMITS, told, sink)
