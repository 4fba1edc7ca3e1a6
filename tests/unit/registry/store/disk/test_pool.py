import asyncio
import errno
import threading
from collections.abc import Iterator

import pytest

from obol.machine.tasks import spawn
from obol.registry.store.disk.pool import BlockingPool
from obol.registry.store.ports import StoreError


@pytest.fixture
def pool() -> Iterator[BlockingPool]:
    """One thread."""
    made = BlockingPool("test", 1)
    yield made
    made.close()


async def test_runs_elsewhere(pool: BlockingPool) -> None:
    """Work is done in another thread, with its arguments."""

    def work(one: int, two: str) -> tuple[int, str, bool]:
        return one, two, threading.current_thread() is threading.main_thread()

    assert await pool.run("work", work, 1, "2") == (1, "2", False)
    assert pool.call(threading.current_thread) is not threading.main_thread()


@pytest.mark.parametrize(
    ("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False), (errno.EACCES, False)]
)
async def test_translates(pool: BlockingPool, number: int, *, full: bool) -> None:
    """What the system says becomes a StoreError with its cause; a full disk is told apart."""

    def fail() -> None:
        raise OSError(number, "the reason")

    with pytest.raises(StoreError, match="write a file: the reason") as caught:
        await pool.run("write a file", fail)

    assert caught.value.full is full
    assert isinstance(caught.value.__cause__, OSError)


def test_ahead() -> None:
    """Work that nobody waits for is done; what it raises, or that the pool is closed, is not told."""
    done: list[bool] = []

    def fail() -> None:
        done.append(False)
        raise OSError(errno.EIO, "bad sector")

    one = BlockingPool("test", 1)
    one.ahead(fail)
    one.ahead(lambda: done.append(True))
    one.close()
    one.ahead(fail)

    assert done == [False, True]


def test_at_once(pool: BlockingPool) -> None:
    """What takes no time is done here, and its errors are translated all the same."""
    assert pool.at_once("look", threading.get_ident) == threading.get_ident()

    def fail() -> None:
        raise OSError(errno.EIO, "bad sector")

    with pytest.raises(StoreError, match="look: bad sector"):
        pool.at_once("look", fail)


async def test_closed() -> None:
    """A closed pool takes no work."""
    pool = BlockingPool("test", 1)
    pool.close()

    with pytest.raises(StoreError, match="closed"):
        await pool.run("work", int)


async def test_undo(pool: BlockingPool) -> None:
    """The result of work that nobody waits for any more is undone; work that had not begun is not done."""
    begun, go, undone = threading.Event(), threading.Event(), threading.Event()
    results: list[int] = []

    def work() -> int:
        begun.set()
        go.wait(1)
        return 7

    def undo(result: int) -> None:
        results.append(result)
        undone.set()

    first = spawn(pool.run("work", work, undo=undo), name="first")
    second = spawn(pool.run("work", work, undo=undo), name="second")
    await asyncio.to_thread(begun.wait, 1)
    first.cancel()
    second.cancel()
    await asyncio.wait([first, second])
    go.set()

    assert await asyncio.to_thread(undone.wait, 1)
    pool.close()
    assert results == [7]


async def test_cancelled_without_undo(pool: BlockingPool) -> None:
    """Work whose result needs no undoing is just left."""
    begun, go = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(1)

    task = spawn(pool.run("work", work), name="work")
    await asyncio.to_thread(begun.wait, 1)
    task.cancel()
    await asyncio.wait([task])
    go.set()

    assert task.cancelled()
