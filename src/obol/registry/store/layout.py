"""The names of all that stands in a store's directory, and the removal of a store.

Several processes write there: the engine, the command that starts it in the background, and `obol stack up`. Each takes
its file's name from here, so that a purge leaves nothing of them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from obol.errors import StoreInUse, StoreUnusable
from obol.machine.locks import NAME as LOCK
from obol.machine.locks import LockHeld, locked

VERSION = "version"
"""Of this layout."""
INDEX = "index.sqlite"
"""What is known, with the files that SQLite puts beside it."""
JOURNAL = "names.jsonl"
"""The changes of tags and grants, to fill a damaged index again."""
BLOBS = "blobs"
"""Complete and verified content."""
PARTIALS = "partial"
"""Blobs that are not complete."""
QUARANTINE = "quarantine"
"""Damaged content, for a person who looks into it."""
SOCKET = "control.sock"
"""By which commands ask the engine."""
LISTENERS = "listeners.json"
"""Ports that were opened over the control socket."""
LOG = "engine.log"
"""What the engine prints in the background, with the former logs beside it."""
SUBSTITUTES = "ports.json"
"""Ports that serve in place of those that were asked for."""
COLD_UPS = "cold-ups.json"
"""How long an `up` took that found nothing in the store."""

_DIRECTORIES = (BLOBS, PARTIALS, QUARANTINE)
_FILES = (INDEX, JOURNAL, SOCKET, LOG, SUBSTITUTES, LISTENERS, COLD_UPS)
_WITH_OTHERS_BESIDE = (INDEX, JOURNAL, LOG)
_LAST = (VERSION, LOCK)
"""They make a directory a store: while they are there, an interrupted removal can be repeated."""
_TEMPORARY = re.compile(r"(?:tmp|\.obol)-[0-9a-f]{32}")
"""A file that was being written when its process died (`machine.files`, `machine.regular`)."""


def is_ours(name: str) -> bool:
    """Whether something of this name in a store's directory belongs to the store."""
    known = (*_DIRECTORIES, *_FILES, *_LAST)
    return name in known or name.startswith(_WITH_OTHERS_BESIDE) or _TEMPORARY.fullmatch(name) is not None


def remove_store(store: Path) -> tuple[Path, ...]:
    """Remove a store; tell what else is in its directory and stays. A store that is not there is no error.

    Raises StoreInUse while an engine runs on it, StoreUnusable where something cannot be removed.
    """
    if not (store / LOCK).exists():
        return ()
    try:
        with locked(store, make=False):
            for path in sorted(store.iterdir(), key=lambda path: _LAST.index(path.name) if path.name in _LAST else -1):
                if not is_ours(path.name):
                    continue
                if path.name not in _DIRECTORIES:
                    path.unlink(missing_ok=True)
                elif path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
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
