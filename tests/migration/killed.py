"""Open copies of a store, each killed before another statement of SQLite: `python -m tests.migration.killed STORE`.

The copies are left beside the store, as STORE-0, STORE-1 and so on. In a program of its own, because it forks.
"""

import os
import shutil
import sqlite3
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from obol.registry.store.disk.opening import open_store

KILLED = 9


def open_until(root: Path, statements: int) -> None:
    """Open a store, and end the process before that statement."""
    left = statements

    def watch(_: str) -> None:
        nonlocal left
        if not left:
            os._exit(KILLED)
        left -= 1

    class Watched(sqlite3.Connection):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_trace_callback(watch)

    with mock.patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=Watched)):
        open_store(root)
    os._exit(0)


def main(root: Path) -> int:
    """Kill it everywhere."""
    for number in range(1000):
        copy = shutil.copytree(root, root.with_name(f"{root.name}-{number}"))
        child = os.fork()
        if not child:
            open_until(copy, number)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended != KILLED:
            return ended
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
