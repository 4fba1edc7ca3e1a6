"""The log of the background process: a plain file that stays small.

The process prints to the file that its parent opened, so that not even a crash at start is lost. Therefore it is the
file behind the descriptors that is exchanged when it has grown, not a logging handler's: see `keep_small`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from obol.machine.regular import NotRegular, find_ours, open_regular

if TYPE_CHECKING:
    from obol.machine.clock import Clock

LIMIT = 5 * 1024 * 1024
"""Bytes that a log may have."""
KEPT = 3
"""Former logs that are kept, as <name>.1 to <name>.3."""
_LOOK_EVERY = 10.0
_POLL_EVERY = 0.25


def open_log(path: Path) -> int:
    """Open for appending, readable by its owner only; gives the file descriptor. Raises OSError."""
    if find_ours(path).linked:
        raise NotRegular(path, "it is a symbolic link, and what is behind it is no log of ours")
    return open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def rotate(path: Path, limit: int = LIMIT) -> bool:
    """Move the log aside if it has grown beyond `limit` bytes, and the older ones along; tells whether it did."""
    try:
        if path.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    for number in range(KEPT, 0, -1):
        older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        with contextlib.suppress(FileNotFoundError):
            older.replace(path.with_name(f"{path.name}.{number}"))
    return True


def keep_small(path: Path, clock: Clock, descriptors: tuple[int, ...] = (1, 2), limit: int = LIMIT) -> None:
    """Exchange the file behind `descriptors` whenever it has grown beyond `limit`; never returns.

    To be run in a daemon thread of the process that writes. dup2 is atomic: no line is lost.
    """
    while True:
        clock.pause(_LOOK_EVERY)
        with contextlib.suppress(OSError):  # a full disk, say: better luck next time
            if rotate(path, limit):
                fresh = open_log(path)
                for descriptor in descriptors:
                    os.dup2(fresh, descriptor)
                os.close(fresh)


def last_lines(path: Path, count: int, *, since: int = 0) -> list[str]:
    """Give the last `count` lines, of what was written after the first `since` bytes; none where there is no log."""
    try:
        with os.fdopen(open_regular(path), "rb") as log:
            log.seek(since)
            content = log.read()
    except FileNotFoundError:
        return []
    lines = content.decode(errors="replace").splitlines()
    return lines[-count:] if count > 0 else []


def follow(path: Path, clock: Clock) -> Iterator[str]:
    """Give what is appended from now on, for ever, across rotations and restarts of the engine."""
    log = os.fdopen(open_regular(path), "rb")
    try:
        log.seek(0, os.SEEK_END)
        while True:
            # Asked first: what is read afterwards is all that the former file will ever have.
            replaced = _replaced(path, log.fileno())
            if piece := log.read():
                yield piece.decode(errors="replace")
            elif replaced:
                log.close()
                log = os.fdopen(open_regular(path), "rb")
            else:
                clock.pause(_POLL_EVERY)
    finally:
        log.close()


def _replaced(path: Path, descriptor: int) -> bool:
    try:
        return not os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False  # between two names; the new one will come
