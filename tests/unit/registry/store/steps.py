"""A watch over the system calls by which the store's threads change the disk."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from obol.registry.store.disk.content import BlobIndex
from obol.registry.store.disk.files import BlobFile

CALLS = ("mkdir", "write", "pwrite", "ftruncate", "fsync", "rename")
THREADS = "obol-files"


def watch(monkeypatch: pytest.MonkeyPatch, before: Callable[[str, object], None]) -> None:
    """Call `before` ahead of each step of a commit, with its name and first argument; what it raises, the step raises.

    Steps are the calls of `CALLS` in the store's threads, `create` (an open that makes a file) and `row`.
    """
    inside = threading.local()

    def told(name: str, subject: object) -> None:
        if threading.current_thread().name.startswith(THREADS) and not getattr(inside, "busy", False):
            inside.busy = True
            try:
                before(name, subject)
            finally:
                inside.busy = False

    for name in CALLS:
        monkeypatch.setattr(os, name, _watched(name, getattr(os, name), told))
    real_open = os.open

    def open_(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT:
            told("create", path)
        return real_open(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", open_)
    add = BlobIndex.add

    async def add_watched(self: BlobIndex, file: BlobFile) -> None:
        before("row", file.digest)
        await add(self, file)

    monkeypatch.setattr(BlobIndex, "add", add_watched)


def _watched(name: str, real: Callable[..., Any], told: Callable[[str, object], None]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        told(name, args[0])
        return real(*args, **kwargs)

    return call
