"""Threads in which the adapters of the store block, so that the event loop does not.

Errors are translated here, once: an OSError becomes a StoreError.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar, TypeVarTuple

from obol.registry.store.ports import StoreError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def failure(what: str, problem: OSError) -> StoreError:
    """What to raise for `problem` while doing `what`."""
    return StoreError(f"{what}: {problem.strerror or problem}", full=problem.errno in _FULL)


class BlockingPool:
    """A few threads with a queue."""

    def __init__(self, name: str, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, what: str, work: Callable[[*Ts], T], *args: *Ts, undo: Callable[[T], None] | None = None) -> T:
        """Do `work(*args)` in a thread. Raises StoreError for an OSError, or when the pool is closed.

        The caller may be cancelled while the thread works on; the result then goes to `undo`, so that nothing leaks.
        """
        try:
            future = self._pool.submit(work, *args)
        except RuntimeError as problem:
            raise StoreError(f"{what}: the store is closed") from problem
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if undo is not None:
                future.add_done_callback(_undoing(undo))
            raise
        except OSError as problem:
            raise failure(what, problem) from problem

    def at_once(self, what: str, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Do `work(*args)` here, for what takes microseconds. Raises StoreError for an OSError."""
        try:
            return work(*args)
        except OSError as problem:
            raise failure(what, problem) from problem

    def ahead(self, work: Callable[[], None]) -> None:
        """Do `work()` in a thread for a caller who will need it done, and meets there what went wrong."""
        with suppress(RuntimeError):  # the pool is closed, and the caller's next step says so
            self._pool.submit(work)

    def call(self, work: Callable[[], T]) -> T:
        """Do `work` in a thread and block until it is done, for the time before there is a loop."""
        return self._pool.submit(work).result()

    def close(self) -> None:
        """Finish what is queued and end the threads; blocks; safe to repeat."""
        self._pool.shutdown()


def _undoing(undo: Callable[[T], None]) -> Callable[[Future[T]], None]:
    def settle(future: Future[T]) -> None:
        if not future.cancelled() and future.exception() is None:
            undo(future.result())

    return settle
