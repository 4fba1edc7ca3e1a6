"""The files of clients: whose they are, where on the machine, and how our part gets into one and out of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.texts import in_shell, shown
from obol.rendering.daemonjson import mirrors_of, with_mirror, without_mirrors
from obol.rendering.mirrors import with_block, without_block

if TYPE_CHECKING:
    from obol.machine.commands import User


ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class ConfigHome:
    """Whose configuration is meant, and where it is."""

    home: Path
    per_user: bool
    """This person's, not the machine's."""
    given: Path | None = None
    """A file or directory that the person named in place of the usual one."""
    root: Path = field(default_factory=lambda: ROOT)
    """Of the file system."""
    owner: User | None = None
    """Whom new files of the person belong to, where sudo made us root."""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def etc(self) -> Path:
        """The machine's configuration."""
        return self.root / "etc"

    @property
    def config(self) -> Path:
        """This person's configuration: `XDG_CONFIG_HOME`, or else `~/.config`."""
        return self._base("XDG_CONFIG_HOME", ".config")

    @property
    def data(self) -> Path:
        """This person's data: `XDG_DATA_HOME`, or else `~/.local/share`."""
        return self._base("XDG_DATA_HOME", ".local/share")

    @property
    def uid(self) -> int:
        """Who the person is."""
        return os.geteuid() if self.owner is None else self.owner.uid

    def _base(self, variable: str, otherwise: str) -> Path:
        # A relative one is to be ignored, says the specification of the XDG base directories.
        text = self.environ.get(variable, "")
        return Path(text) if text.startswith("/") else self.home / otherwise


@dataclass(frozen=True, slots=True)
class DockerMirror:
    """A mirror of Docker Hub in daemon.json."""

    path: str
    mirror: str

    def applied(self, before: str | None) -> str:
        """Put it before all others."""
        with _by_hand(self.path, f"correct it, or add {self.mirror} to its registry-mirrors by hand"):
            return with_mirror(before or "", self.mirror)

    def taken_out(self, now: str, original: str | None, written: str) -> str:
        """Take out the mirrors that came from us."""
        with _by_hand(self.path, "take our mirror out of its registry-mirrors by hand, then repeat the command"):
            ours = set(mirrors_of(written)) - set(mirrors_of(original or ""))
            return without_mirrors(now, ours)


@dataclass(frozen=True, slots=True)
class MarkedBlock:
    """A block between two marks in buildkitd.toml."""

    path: str
    block: str

    def applied(self, before: str | None) -> str:
        """Append it."""
        with _by_hand(self.path, "correct it, or put the mirrors in by hand: the same command without --write"):
            return with_block(before or "", self.block)

    def taken_out(self, now: str, original: str | None, written: str) -> str:
        """Take out the block."""
        del original, written
        with _by_hand(self.path, "take our block out by hand, with both of its marks, then repeat the command"):
            return without_block(now)


@dataclass(frozen=True, slots=True)
class WholeFile:
    """A file that is ours alone."""

    path: str
    text: str

    def applied(self, before: str | None) -> str:
        """Write it where there is none."""
        if before is not None and before != self.text:
            raise ObolError(
                f"{shown(self.path)} is there already",
                why="another program or person wrote it, and it would be lost",
                hint="move it away, or put the mirror in by hand: the same command without --write shows it",
            )
        return self.text

    def taken_out(self, now: str, original: str | None, written: str) -> str:
        """Refuse: the person who changed our file may want to keep it."""
        del now, original, written
        raise ObolError(
            f"{shown(self.path)} was changed after we wrote it",
            why="the change would be lost",
            hint=f"move it away or remove it: rm {in_shell(self.path)}; then repeat the command",
        )


@contextlib.contextmanager
def _by_hand(path: str, hint: str) -> Iterator[None]:
    try:
        yield
    except RecursionError as problem:
        raise ObolError(f"{shown(path)} cannot be changed", why="it is nested too deeply", hint=hint) from problem
    except ValueError as problem:
        raise ObolError(f"{shown(path)} cannot be changed", why=str(problem), hint=hint) from problem
