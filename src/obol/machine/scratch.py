"""Directories for what other programs write while they work, such as the layers that podman takes out of a registry.

A program that is ended leaves them behind, each with as much as a whole layer. So each run has one of ours, which goes
with it; and since we may be killed ourselves, each is written down, and the next command removes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "obol-pull-"
_NOTE = ".place"


@dataclass(frozen=True, slots=True)
class Scratch:
    """Scratch directories of one stack. `home` is where they are, unless the person named another place (TMPDIR)."""

    home: Path
    elsewhere: str = ""

    @contextmanager
    def directory(self) -> Iterator[Path | None]:
        """Give a new directory for as long as the block runs; None where none can be made."""
        path = self._make()
        try:
            yield path
        finally:
            if path is not None:
                _remove(path)
                (self.home / f"{path.name}{_NOTE}").unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what was left behind. Call it only where no other command of the stack runs."""
        for note in self.home.glob(f"{PREFIX}*{_NOTE}"):
            with suppress(OSError, UnicodeError, ValueError):
                path = Path(note.read_text(encoding="utf-8"))
                if path.is_absolute() and path.name == note.name.removesuffix(_NOTE):
                    _remove(path)
            note.unlink(missing_ok=True)
        for path in self.home.glob(f"{PREFIX}*"):
            _remove(path)

    def _make(self) -> Path | None:
        with suppress(OSError):
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for place in filter(None, (self.elsewhere, str(self.home))):
                with suppress(OSError):
                    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place)).absolute()
                    (self.home / f"{path.name}{_NOTE}").write_text(str(path), encoding="utf-8")
                    return path
        return None


def _remove(path: Path) -> None:
    """Remove a directory of ours, and nothing that has come to its name: neither a link nor another user's."""
    with suppress(OSError):
        if not path.is_symlink() and path.is_dir() and path.stat().st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)
