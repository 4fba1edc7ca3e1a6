import asyncio

import pytest
from msgspec.structs import replace

from obol.caches.builtin.process import Running, Started
from obol.errors import EngineUnresponsive, ObolError
from obol.machine.tasks import spawn
from obol.stack.keeping import LOOK_EVERY, MOST_DEATHS, SETTLES_EVERY, Keeper
from tests.fakes.clock import FakeClock
from tests.limits import eventually
from tests.unit.stack.world import FakeCaches, engine_status


class Mortal(FakeCaches):
    """An engine that can die, and whose next process has another number."""

    pid = engine_status().pid
    broken: ObolError | None = None

    ending = 0
    """How many looks find it neither alive nor gone."""

    def status(self) -> Running | None:
        """Tell, or raise what one that ends answers."""
        if self.ending:
            self.ending -= 1
            raise EngineUnresponsive("ending")
        return super().status()

    def die(self) -> None:
        self.running = None
        self.pid += 1

    def start(self) -> Started:
        """Start, or raise `broken`."""
        if self.broken:
            raise self.broken
        super().start()
        self.running = Running(replace(engine_status(), pid=self.pid))
        return Started(self.running.status, already=False)


class Kept:
    """An engine that is looked after."""

    def __init__(self) -> None:
        self.engine = Mortal(Running(engine_status()))
        self.told: list[str] = []
        self.restored = 0
        self.clock = FakeClock()
        self.keeper = Keeper(self.engine, engine_status(), self.clock, self.told.append)

    async def restore(self) -> None:
        self.restored += 1

    async def look(self) -> bool:
        return await self.keeper.look(self.restore)


async def test_an_engine_that_lives_is_left_alone() -> None:
    """As long as the engine runs, nothing is done or told; one that does not answer for a moment is busy."""
    kept = Kept()
    assert not await kept.look()
    kept.engine.problem = EngineUnresponsive("busy")
    assert not await kept.look()

    assert (kept.told, kept.restored) == ([], 0)
    assert "start" not in kept.engine.calls


async def test_an_engine_that_dies_is_started_again() -> None:
    """It is started once, what it served is restored, and one line says so."""
    kept = Kept()
    kept.engine.die()

    assert await kept.look()
    assert await kept.look()

    (line,) = kept.told
    assert f"process {engine_status().pid}" in line
    assert f"started again (process {kept.engine.pid})" in line
    assert (kept.restored, kept.engine.calls.count("start")) == (1, 1)


async def test_an_engine_that_is_being_taken_down() -> None:
    """One that does not answer and still holds its store is looked at until it is clear that it has died."""
    kept = Kept()
    kept.engine.die()
    kept.engine.ending = 3

    assert await kept.look()
    assert (kept.restored, kept.clock.sleeps) == (1, [SETTLES_EVERY] * 3)


async def test_an_engine_that_somebody_else_started_again() -> None:
    """Where another command was faster, its engine is taken, and what ours served is restored there."""
    kept = Kept()
    kept.engine.running = Running(replace(engine_status(), pid=5))

    assert await kept.look()
    assert kept.restored == 1


async def test_an_engine_that_cannot_be_started_again() -> None:
    """Images are pulled directly then, which is said once."""
    kept = Kept()
    kept.engine.broken = ObolError("the disk is gone")
    kept.engine.die()

    assert await kept.look()
    assert await kept.look()

    (line,) = kept.told
    assert "the disk is gone" in line
    assert "directly" in line
    assert kept.restored == 0


async def test_an_engine_that_dies_again_and_again_is_left() -> None:
    """There is an end to it."""
    kept = Kept()
    for _ in range(MOST_DEATHS + 3):
        kept.engine.die()
        await kept.look()

    assert kept.restored == MOST_DEATHS
    assert len(kept.told) == MOST_DEATHS + 1
    assert "again and again" in kept.told[-1]


@pytest.mark.parametrize("curable", [True, False])
async def test_it_is_looked_after_until_that_is_of_no_use(curable: bool) -> None:
    """The engine is looked at each second; one that cannot be started again ends the work."""
    kept = Kept()
    kept.engine.broken = None if curable else ObolError("the disk is gone")
    task = spawn(kept.keeper.keep(kept.restore), name="keeper")
    kept.engine.die()
    await asyncio.sleep(0)
    kept.clock.advance(LOOK_EVERY)
    await eventually(lambda: bool(kept.told))
    await asyncio.sleep(0)

    assert (kept.restored, task.done()) == ((1, False) if curable else (0, True))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
