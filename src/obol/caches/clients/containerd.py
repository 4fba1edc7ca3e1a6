"""What containerd goes by besides the files that we write: its own configuration, and what lies beside them.

containerd reads `*.crt`, `*.cert` and `*.key` of a registry's directory only where that has no hosts.toml. So a
hosts.toml of ours names them for the registry itself. Only the first directory that there is for a registry counts, so
one of ours must not hide another one.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from obol.machine.daemons import flags_of, running_commands, system_folders, unit_command
from obol.machine.regular import read_text
from obol.machine.texts import shown
from obol.rendering.mirrors import Trust

if TYPE_CHECKING:
    from obol.caches.clients.files import ConfigHome

HOSTS = "hosts.toml"
_DEFAULT = "_default"
_PLUGINS = ("io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri", "cri")
"""Whose registry settings count: in a configuration of version 3, 2 and 1."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What containerd's own configuration says of registries."""

    file: Path
    """Its first file."""
    folders: tuple[Path, ...]
    """Where it reads hosts.toml for Kubernetes (CRI), the first before the others; () where nowhere."""
    older: tuple[str, ...]
    """What it says in the older form, which containerd refuses beside a folder."""
    version: int
    problem: str = ""
    """Why a file of it cannot be read."""


def settings_of(where: ConfigHome) -> Settings:
    """Read the configuration, and the files that it imports."""
    file = _config_file(where)
    try:
        tables = list(_tables(file, set()))
    except (OSError, ValueError, RecursionError) as problem:
        why = getattr(problem, "strerror", None) or str(problem)
        return Settings(file, (), (), version=2, problem=why)
    sections = [_table(one, "plugins", plugin, "registry") for one in tables for plugin in _PLUGINS]
    named = [str(section["config_path"]) for section in sections if section.get("config_path")]
    folders = tuple(Path(one) for one in named[-1].split(":") if one) if named else ()
    versions = (one["version"] for one in tables if type(one.get("version")) is int)
    version = next(versions, 2 if tables else 0)
    older = ["its mirrors section"] if any("mirrors" in section for section in sections) else []
    hosts = [host for section in sections for host in _tables_in(section.get("configs"))]
    older += ["the tls of its configs section"] if any("tls" in host for host in hosts) else []
    return Settings(file, folders, tuple(older), version=int(str(version)))


def config_path_note(settings: Settings, directory: Path) -> str:
    """What containerd's own configuration lacks; "" where it reads the directory."""
    if settings.problem:
        line = f'its registry section needs config_path = "{shown(directory)}"'
        return f"{shown(settings.file)} cannot be read ({settings.problem}): {line}."
    if directory in settings.folders:
        return ""
    header = f'[plugins."{_PLUGINS[0 if settings.version == 3 else 1]}".registry]'
    if settings.version == 1:
        header = "[plugins.cri.registry]"
    clash = f"; {' and '.join(settings.older)} must go then" if settings.older else ""
    return (
        f"For Kubernetes (CRI), containerd reads these files only with this in {shown(settings.file)}{clash}, and "
        f'after `sudo systemctl restart containerd`: {header} config_path = "{shown(directory)}"'
    )


def folder_of(registry: str, directory: Path) -> Path:
    """The folder of a registry: of the two names that one with a port may have, the one that is there."""
    host, colon, port = registry.partition(":")
    other = directory / f"{host}_{port}_"
    return other if colon and os.path.isdir(other) else directory / registry  # noqa: PTH112 - denied is no error


def trust(registry: str, directories: tuple[Path, ...]) -> Trust:
    """The certificates that containerd takes for a registry today: of the first folder that there is for it.

    Raises OSError where that cannot be seen.
    """
    for directory in directories:
        folder = folder_of(registry, directory)
        if _kind(folder) == stat.S_IFDIR:
            names = sorted(entry.name for entry in folder.iterdir())
            pairs = [(name, f"{name.removesuffix('.cert')}.key") for name in names if name.endswith(".cert")]
            return Trust(
                tuple(str(folder / name) for name in names if name.endswith(".crt")),
                tuple((str(folder / cert), str(folder / key)) for cert, key in pairs if key in names),
            )
    return Trust()


def conflicts(registry: str, directories: tuple[Path, ...]) -> Iterator[str]:
    """Which other hosts.toml would no longer be read for a registry, or be read in place of ours. Ours is the first.

    Raises OSError where that cannot be seen.
    """
    own = folder_of(registry, directories[0])
    for directory in directories[1:]:
        theirs = folder_of(registry, directory) / HOSTS
        if _kind(theirs) == stat.S_IFREG:
            yield f"{shown(theirs)} speaks of {registry} too, and only one of the two would be read"
    for directory in directories:
        default = directory / _DEFAULT / HOSTS
        if _kind(default) == stat.S_IFREG and _kind(own) != stat.S_IFDIR:
            yield f"{shown(default)} would no longer be read for {registry}"


def _kind(path: Path) -> int | None:
    """Of which kind a file is; None where there is none. Raises OSError where that is not ours to see."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _config_file(where: ConfigHome) -> Path:
    commands = [unit_command("containerd.service", system_folders(where.root), where.root)]
    commands += running_commands("containerd", where.root, 0)
    for words in commands:
        for flag in flags_of(words, "containerd"):
            if flag.name in {"config", "c"} and flag.value.startswith("/"):
                return Path(flag.value)
    return where.etc / "containerd/config.toml"


def _tables(file: Path, seen: set[str]) -> Iterator[Mapping[str, object]]:
    """A file of settings, and those that it imports, which say more than itself, each once.

    Raises OSError, ValueError.
    """
    if (name := os.path.realpath(file)) in seen:
        return
    seen.add(name)
    try:
        written = tomllib.loads(read_text(file))
    except FileNotFoundError:
        return
    yield written
    imports = written.get("imports", [])
    for pattern in imports if isinstance(imports, list) else ():
        base = Path("/") if str(pattern).startswith("/") else file.parent
        for path in sorted(base.glob(str(pattern).lstrip("/"))):
            yield from _tables(path, seen)


def _tables_in(found: object) -> list[Mapping[str, object]]:
    return [one for one in found.values() if isinstance(one, Mapping)] if isinstance(found, Mapping) else []


def _table(written: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """A table within tables; an empty one where anything else stands."""
    found: object = written
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
