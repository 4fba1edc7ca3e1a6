"""What dockerd goes by besides the file that we write: its unit, init files, its command line, and where that file is.

dockerd does not start with a setting that is given both as a flag and in daemon.json. So its flags are looked at first,
and the file that is changed is the one that it reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from obol.machine.daemons import (
    Flag,
    flags_of,
    init_words,
    running_commands,
    system_folders,
    unit_command,
    user_folders,
)
from obol.machine.texts import shown
from obol.rendering.daemonjson import given_twice

if TYPE_CHECKING:
    from obol.caches.clients.files import ConfigHome

Daemon = Literal["docker", "buildkit"]

SNAP = "snap.docker.dockerd.service"
_UNITS = {"docker": ("docker.service", SNAP), "buildkit": ("buildkit.service", "buildkitd.service")}
_PROGRAMS = {"docker": "dockerd", "buildkit": "buildkitd"}
_FILE_FLAGS = {"docker": "config-file", "buildkit": "config"}
_INIT_FILES = ("etc/default/docker", "etc/sysconfig/docker", "etc/conf.d/docker")


@dataclass(frozen=True, slots=True)
class DaemonStart:
    """One way in which the daemon is, or will be, started."""

    flags: tuple[Flag, ...]
    reads: Path
    """Its file of settings."""


def file_of(daemon: Daemon, where: ConfigHome) -> Path:
    """The file that the daemon reads: as its unit says, or as it runs, or the usual one."""
    found = started(daemon, where)
    return found[0].reads if found else usual_file(daemon, where)


def started(daemon: Daemon, where: ConfigHome) -> tuple[DaemonStart, ...]:
    """How the daemon is started: by its unit first, and then as it runs."""
    program, uid = _PROGRAMS[daemon], where.uid if where.per_user else 0
    found = []
    folders = user_folders(where.root, where.config, where.data) if where.per_user else system_folders(where.root)
    for unit in _UNITS[daemon]:
        if words := unit_command(unit, folders, where.root):
            found.append(_started(daemon, flags_of(words, program), usual_file(daemon, where, unit)))
            break
    # An init script reads them; a unit does so only where it says so.
    init = () if found or where.per_user or daemon != "docker" else [where.root / name for name in _INIT_FILES]
    if words := init_words(init):
        found.append(_started(daemon, flags_of(words, program), usual_file(daemon, where)))
    for words in running_commands(program, where.root, uid):
        usual = found[0].reads if found else usual_file(daemon, where)
        found.append(_started(daemon, flags_of(words, program), usual))
    return tuple(found)


def usual_file(daemon: Daemon, where: ConfigHome, unit: str = "") -> Path:
    """The file that the daemon reads unless its flags name another."""
    if daemon == "docker" and unit == SNAP:
        return where.root / "var/snap/docker/current/config/daemon.json"
    base = where.config if where.per_user else where.etc
    return base / ("docker/daemon.json" if daemon == "docker" else "buildkit/buildkitd.toml")


def docker_conflicts(path: Path, text: str, where: ConfigHome) -> Iterator[str]:
    """Why dockerd would not start with this text in its file: a sentence each."""
    told = set()
    for one in started("docker", where):
        if os.path.realpath(one.reads) != os.path.realpath(path):
            continue
        for flag, key in given_twice(text, [flag.name for flag in one.flags]):
            source = next(found.source for found in one.flags if found.name == flag)
            dashes = "-" if len(flag) == 1 else "--"
            told.add(f"{source} starts dockerd with {dashes}{flag}; with {key} in {shown(path)} too it does not start")
    yield from sorted(told)


def _started(daemon: Daemon, flags: tuple[Flag, ...], usual: Path) -> DaemonStart:
    named = [flag.value for flag in flags if flag.name == _FILE_FLAGS[daemon] and flag.value.startswith("/")]
    return DaemonStart(flags, type(usual)(named[-1]) if named else usual)
