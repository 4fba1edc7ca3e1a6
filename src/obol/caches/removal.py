"""Removing the builtin engine's store: what the engine wrote, and nothing else that may lie beside it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from obol.errors import StoreInUse, StoreUnusable
from obol.machine.locks import LockHeld, locked

if TYPE_CHECKING:
    from pathlib import Path

DIRECTORIES = ("blobs", "partial", "quarantine")
FILES = (
    "index.sqlite*",
    "names.jsonl*",
    "control.sock",
    "engine.log*",
    "ports.json",
    "listeners.json",
    "cold-ups.json",
    "version",
    "lock",
)
"""In the order in which they go: what makes the directory a store goes last, so that an interruption is repeatable."""


def remove_store(store: Path) -> tuple[Path, ...]:
    """Remove a store; tell what else is in its directory and stays. A store that is not there is no error.

    Raises StoreInUse while an engine runs on it, StoreUnusable where something cannot be removed.
    """
    if not (store / "lock").exists():
        return ()
    try:
        with locked(store, make=False):
            for name in DIRECTORIES:
                if (store / name).is_dir() and not (store / name).is_symlink():
                    shutil.rmtree(store / name)
            for pattern in FILES:
                for path in store.glob(pattern):
                    path.unlink(missing_ok=True)
        left = tuple(sorted(store.iterdir()))
        if not left:
            store.rmdir()
    except LockHeld as problem:
        raise StoreInUse(
            f"the store {store} is in use",
            why="an engine runs on it",
            hint="stop it first: obol cache stop",
        ) from problem
    except OSError as problem:
        raise StoreUnusable(
            f"the store {store} cannot be removed",
            why=problem.strerror or str(problem),
            hint="look at the permissions of what is in it, and try again",
        ) from problem
    return left
