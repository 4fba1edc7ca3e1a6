"""Whose configuration of a client is meant, and where on the machine it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obol.machine.commands import User

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Place:
    """Whose configuration is meant, and where it is."""

    home: Path
    per_user: bool
    """This person's, not the machine's."""
    given: Path | None = None
    """A file or directory that somebody named in place of the usual one."""
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
