"""One command at a time on one stack: two that make and remove the same cluster would undo each other's work."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.regular import find_ours, open_regular
from obol.stack.state import STACK_ID, explained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


@contextlib.contextmanager
def at_work(config: Path) -> Iterator[None]:
    """Be the only one at work on the stack of a directory. Raises ObolError where somebody else is.

    The kernel ends it with the process, whatever ends that. Where there is no stack afterwards, nothing is left of it.
    """
    path = config / LOCK
    with explained(config):
        config.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = _locked(path)
    try:
        yield
    finally:
        if not (config / STACK_ID).exists():
            with contextlib.suppress(OSError):
                path.unlink()
                config.rmdir()
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open and lock the file that is at the path now: one that was removed meanwhile locks nobody out."""
    while True:
        find_ours(path)
        descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BlockingIOError as problem:
            os.close(descriptor)
            raise ObolError(
                "another `obol stack` command is at work on this stack",
                why=f"it holds {path}",
                hint="wait until it has ended, and run the command again",
            ) from problem
        os.close(descriptor)
