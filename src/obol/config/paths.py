"""Where the product keeps its files, as a pure function of what surrounds the process.

`OBOL_<X>_DIR` wins, then `.workspace` in development mode, then the XDG base directories, then the home directory. The
cache root is the exception: it never lies under `.workspace`, because caches are worth more the more checkouts share
them. Under sudo the home is the invoking user's: `sudo obol …` must find what `obol …` fetched.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from obol.errors import UsageError
from obol.machine.texts import shown

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

SETTINGS_FILE = "obol.toml"
DEVELOPMENT = "OBOL_DEVELOPMENT"

HomeLookup = Callable[[str], Path | None]
"""The home directory of a user, named by login or by number; None where there is no such user."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a process is born with."""

    environ: Mapping[str, str]
    cwd: Path
    home: Path
    """The home directory of the person who works with us, not of root whom sudo lent them."""

    @classmethod
    def of_process(cls) -> Invocation:
        """Those of this process."""
        environ = dict(os.environ)
        home = person_home(environ, os.geteuid(), home_of)
        return cls(environ, _where(environ), _sound(home, "the home directory"))


@dataclass(frozen=True, slots=True)
class Directories:
    """Absolute paths. Nothing is created here."""

    config: Path
    data: Path
    state: Path
    cache_root: Path

    @property
    def settings_file(self) -> Path:
        """The file that people write."""
        return self.config / SETTINGS_FILE

    @property
    def builtin_store(self) -> Path:
        """Where the builtin engine keeps its content unless it is told otherwise."""
        return self.cache_root / "builtin"


def _where(environ: Mapping[str, str]) -> Path:
    """Where we are, by its last name if it was removed meanwhile: most commands have no need of it."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path(os.path.normpath(os.path.join("/", environ.get("PWD", ""))))  # noqa: PTH118 - pure text


def locate(around: Invocation) -> Directories:
    """Find the directories for these surroundings."""
    root = _given(around, "OBOL_REGISTRY_CACHE_DIR") or _xdg(around, "STATE", ".local/state") / "registry-cache"
    return Directories(
        config=_directory(around, "config", _xdg(around, "CONFIG", ".config")),
        data=_directory(around, "data", _xdg(around, "DATA", ".local/share")),
        state=_directory(around, "state", _xdg(around, "STATE", ".local/state")),
        cache_root=root,
    )


def development(environ: Mapping[str, str]) -> bool:
    """Tell whether this is development mode: by the very word `true`, as in the original system."""
    return environ.get(DEVELOPMENT) == "true"


def person_home(environ: Mapping[str, str], uid: int, lookup: HomeLookup) -> Path:
    """The home directory of the person: the invoking user's where `uid` is 0 and sudo left its marks."""
    if uid == 0:
        for mark in ("SUDO_USER", "SUDO_UID"):
            if (name := environ.get(mark)) and (home := lookup(name)) is not None:
                return home
    return Path(environ.get("HOME") or lookup(str(uid)) or "/")


def home_of(user: str) -> Path | None:
    """Ask the system's user database; `user` is a login or a number."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isascii() and user.isdigit() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        return None
    return Path(entry.pw_dir)


def expand(text: str, around: Invocation) -> Path:
    """Make a path that a person wrote absolute: `~` is the person's home, the rest is relative to where they are."""
    if text == "~" or text.startswith("~/"):
        return _sound(around.home / text[2:], "a path")
    return _sound(Path(os.path.normpath(around.cwd / text)), "a path")


def _sound(path: Path, what: str) -> Path:
    """Refuse a path with control characters: it reaches units, command lines and files of other programs."""
    if _CONTROL.search(str(path)):
        raise UsageError(
            f"{what} has a control character in it: {shown(path)}",
            why="a line break or the like in a path would be read as something else by the programs that are given it",
            hint="rename the directory, or name another one",
        )
    return path


def _directory(around: Invocation, name: str, otherwise: Path) -> Path:
    if (given := _given(around, f"OBOL_{name.upper()}_DIR")) is not None:
        return given
    if development(around.environ):
        return _sound(around.cwd / ".workspace" / name, "a path")
    return otherwise


def _given(around: Invocation, variable: str) -> Path | None:
    text = around.environ.get(variable, "")
    return expand(text, around) if text else None


def _xdg(around: Invocation, base: str, otherwise: str) -> Path:
    text = around.environ.get(f"XDG_{base}_HOME", "")
    # "All paths set in these environment variables must be absolute. If an implementation encounters a relative path
    # […] it should consider the path invalid and ignore it." https://specifications.freedesktop.org/basedir-spec/
    root = Path(text) if text.startswith("/") else around.home / otherwise
    return _sound(root / "obol", f"XDG_{base}_HOME")
