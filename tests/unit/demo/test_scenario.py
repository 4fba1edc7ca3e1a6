from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from obol.caches.builtin.plan import BuiltinPlan
from obol.caches.builtin.process import BuiltinEngine
from obol.client.ports import PullFailed
from obol.demo import scenario
from obol.demo.base import DemoSettings, Link, MeasuredPull
from obol.demo.images import STACK, make, scaled
from obol.demo.origin import Order, OriginServer, SlowLink
from obol.demo.scenario import pull_set, run_until_interrupted
from obol.errors import Interrupted, ObolError
from obol.oci.references import ImageReference
from tests.fakes.clock import FakeClock
from tests.unit.demo.conftest import SHAPES

SMALL = DemoSettings(1_000_000, Link(8e9, 8e9, 0.0))


@dataclass
class Stage:
    """Stands in for both processes: an origin in this loop, and a cache that is the origin itself."""

    temporary: Path
    happened: list[str] = field(default_factory=list)
    problem: BaseException | None = None
    origin: OriginServer | None = None
    port: int = 0

    @asynccontextmanager
    async def origin_process(self) -> AsyncIterator[Stage]:
        try:
            yield self
        finally:
            self.happened.append("origin ended")
            if self.origin:
                await self.origin.__aexit__(None)

    async def begin(self, order: Order, made: Callable[[int], None]) -> None:
        self.happened.append("making")
        collection = make(scaled(STACK, order.size), Path(order.folder), lambda _: None)
        made(600_000)
        made(order.size)
        self.origin = await OriginServer(collection, SlowLink()).__aenter__()
        self.port = self.origin.port

    async def sent(self) -> int:
        assert self.origin is not None
        return self.origin.sent

    async def stop(self) -> None:
        """Say so, but go on: here the origin has to play the cache, too."""
        self.happened.append("origin stopped")

    @asynccontextmanager
    async def running_cache(self, engine: BuiltinEngine) -> AsyncIterator[Mapping[str, str]]:
        assert engine is ENGINE
        self.happened.append("cache started")
        if self.problem:
            raise self.problem
        try:
            yield dict.fromkeys(("docker.io", "quay.io", "ghcr.io"), f"http://127.0.0.1:{self.port}")
        finally:
            self.happened.append("cache ended")

    def began(self, what: str, total: int) -> None:
        assert 990_000 < total < 1_030_000
        self.happened.append(what)

    def moved(self, count: int) -> None:
        assert count > 0

    def ended(self, phase: MeasuredPull) -> None:
        assert list(self.temporary.iterdir())
        self.happened.append(f"{phase.name} done")


ENGINE = BuiltinEngine(BuiltinPlan(Path("/nowhere")))


def engine_for(plan: BuiltinPlan) -> BuiltinEngine:
    """Make the engine."""
    assert [listener.registry for listener in plan.listeners] == ["docker.io", "quay.io", "ghcr.io"]
    return ENGINE


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage, and a directory for temporary files whose path is short."""
    with tempfile.TemporaryDirectory(prefix="obol-test-") as temporary:
        stage = Stage(Path(temporary))
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        monkeypatch.setattr(scenario, "origin_process", stage.origin_process)
        monkeypatch.setattr(scenario, "running_cache", stage.running_cache)
        yield stage


async def test_four_phases(stage: Stage) -> None:
    """The phases come in their order, each measured; at the end both processes and the directory are gone."""
    result = await scenario.demonstrate(SMALL, engine_for, stage)

    played = [text for phase in result.phases for text in (phase.name, f"{phase.name} done")]
    expected = ["make", "making", *played[:2], "cache started", *played[2:6], "origin stopped", *played[6:]]
    assert stage.happened == [*expected, "cache ended", "origin ended"]
    assert [phase.name for phase in result.phases] == ["direct", "cold", "warm", "offline"]
    assert (result.images, result.layers, result.link) == (9, 49, SMALL.link)
    assert all(phase.bytes_from_upstream > result.size * 0.9 for phase in result.phases)
    assert result.phases[0].times_faster == 1.0
    assert result.phases[2].times_faster == result.phases[0].seconds / result.phases[2].seconds
    assert list(stage.temporary.iterdir()) == []


@pytest.mark.parametrize("problem", [ObolError("no"), asyncio.CancelledError()])
async def test_what_fails_leaves_nothing(stage: Stage, problem: BaseException) -> None:
    """An error or an interrupt ends the processes and removes the directory."""
    stage.problem = problem

    with pytest.raises(type(problem)):
        await scenario.demonstrate(SMALL, engine_for, stage)

    assert stage.happened[-2:] == ["cache started", "origin ended"]
    assert list(stage.temporary.iterdir()) == []


async def test_no_room(stage: Stage) -> None:
    """Too full a disk is said before anything is made, with a way out."""
    with pytest.raises(ObolError, match="no room") as refused:
        await scenario.demonstrate(DemoSettings(10**18), engine_for, stage)

    assert "TMPDIR" in refused.value.hint
    assert stage.happened == []


async def test_too_long_a_path(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory below which no socket can be is refused before anything is made, with a way out."""
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'x' * 70}")

    with pytest.raises(ObolError, match="too long") as refused:
        await scenario.demonstrate(SMALL, engine_for, stage)

    assert "TMPDIR=/tmp" in refused.value.hint
    assert stage.happened == []


REFERENCES = tuple(ImageReference.parse(shape.reference) for shape in SHAPES)


def registries(origin: OriginServer) -> dict[str, str]:
    """Where both registries of the set are."""
    return dict.fromkeys(("ghcr.io", "quay.io"), f"http://127.0.0.1:{origin.port}")


async def test_a_set_is_pulled(origin: OriginServer) -> None:
    """A node gets every byte of every image, tells of them as they come, and knows that no cache had them."""
    moved: list[int] = []

    pulled = await pull_set(REFERENCES, registries(origin), moved.append)

    assert [image.reference for image in pulled.images] == list(REFERENCES)
    assert [image.layers for image in pulled.images] == [2, 1]
    assert [image.platforms for image in pulled.images] == [("linux/amd64",), ("linux/amd64",)]
    assert sum(moved) == origin.sent == sum(image.bytes_total for image in pulled.images)
    assert pulled.bytes_from_cache == 0
    assert pulled.seconds > 0


async def test_time_is_measured_by_the_clock(origin: OriginServer) -> None:
    """The seconds are those of the clock that was given."""
    assert (await pull_set(REFERENCES, registries(origin), lambda _: None, FakeClock())).seconds == 0.0


async def test_an_image_that_fails(origin: OriginServer) -> None:
    """An image that cannot be pulled ends the whole, with the client's own error."""
    missing = ImageReference.parse("ghcr.io/demo/none:1")

    with pytest.raises(PullFailed, match="demo/none:1") as failed:
        await pull_set((*REFERENCES, missing), registries(origin), lambda _: None)

    assert failed.value.reference == missing


FOREVER = 60.0


def test_undisturbed() -> None:
    """Work that nobody interrupts gives its result, and signals mean afterwards what they meant before."""

    async def work() -> int:
        return 5

    assert run_until_interrupted(work) == 5
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_failing() -> None:
    """What the work raises comes through."""

    async def work() -> None:
        raise ObolError("no")

    with pytest.raises(ObolError, match="no"):
        run_until_interrupted(work)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(number: signal.Signals) -> None:
    """A signal ends the work; further ones do not keep it from tidying up."""
    tidied: list[bool] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(FOREVER)
        finally:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(5):
                await asyncio.sleep(0)
            tidied.append(True)

    with pytest.raises(Interrupted) as interrupted:
        run_until_interrupted(work)

    assert tidied == [True]
    assert interrupted.value.exit_code == 130


def test_an_error_while_tidying_up_is_not_the_news() -> None:
    """What goes wrong after an interrupt is the interrupt's cause, not the result."""

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(FOREVER)
        finally:
            raise ObolError("also")

    with pytest.raises(Interrupted) as interrupted:
        run_until_interrupted(work)

    assert isinstance(interrupted.value.__cause__, ObolError)


def test_an_ignored_signal_stays_ignored() -> None:
    """Under nohup a hang-up is nothing to us."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async def work() -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(5):
            await asyncio.sleep(0)
        return 5

    try:
        assert run_until_interrupted(work) == 5
    finally:
        signal.signal(signal.SIGHUP, before)
