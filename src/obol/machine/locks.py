"""The lock of a directory that only one process may use.

It is held on the directory itself, which cannot be removed while there is something in it, and on a file in it that
tells who holds it. The file may be removed unnoticed, so it alone would let a second process in; it is locked as well,
because that is all that earlier versions look at. A holder that died holds nothing, whatever the file says.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NAME = "lock"
_MODE = 0o600


class LockHeld(Exception):
    """Another process holds the lock; `pid` is None where that is not known."""

    def __init__(self, pid: int | None) -> None:
        super().__init__("another process holds it" if pid is None else f"process {pid} holds it")
        self.pid = pid


@contextmanager
def locked(directory: Path, *, make: bool = True) -> Iterator[None]:
    """Hold the lock; `make`: the file, if it is not there. Raises LockHeld, OSError."""
    with ExitStack() as descriptors:
        home = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        descriptors.callback(os.close, home)
        _take(home, directory)
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if make else 0)
        file = os.open(NAME, flags, _MODE, dir_fd=home)
        descriptors.callback(os.close, file)
        _take(file, directory)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield


def holder(directory: Path) -> int | None:
    """The process that holds the lock, 0 where it is not known which; None where no process does. Raises OSError."""
    for name, flags in ((NAME, os.O_NOFOLLOW | os.O_NONBLOCK), ("", os.O_DIRECTORY)):
        try:
            descriptor = os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC | flags)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            # Shared, so that two who only look do not take each other for the holder.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _named(directory) or 0
        finally:
            os.close(descriptor)
    return None


def take(descriptor: int, *, wait: bool = False) -> None:
    """Lock an open file or directory until it is closed. Raises BlockingIOError where another process has it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _take(descriptor: int, directory: Path) -> None:
    try:
        take(descriptor)
    except BlockingIOError as problem:
        raise LockHeld(_named(directory)) from problem


def _named(directory: Path) -> int | None:
    """The process that the file names."""
    try:
        descriptor = os.open(directory / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 32).decode("ascii", "replace").strip()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return int(text) if text.isdecimal() else None
