"""What podman, skopeo and buildah go by besides the file that we write: containers-registries.conf(5).

The [[registry]] tables of all files add up, and one of the same name replaces those of earlier files. So another table
for a registry that we mirror is an error, and nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from obol.machine.regular import read_text
from obol.machine.texts import shown
from obol.rendering.mirrors import registries_configured

if TYPE_CHECKING:
    from obol.caches.clients.files import ConfigHome

DROP_IN = "obol.conf"
_FOLDER = "containers/registries.conf.d"
_FILE_VARIABLES = ("CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH")
FOLDER_VARIABLE = "CONTAINERS_REGISTRIES_CONF_DIR"


def folders(where: ConfigHome) -> tuple[Path, ...]:
    """Where a drop-in belongs.

    Programs until 2025 look for a person's files in ~/.config, also where `XDG_CONFIG_HOME` names another directory;
    newer ones look in that one.
    """
    if where.given is not None:
        return (where.given,)
    if (named := _named(where, FOLDER_VARIABLE)) is not None:
        return (named,)
    if not where.per_user:
        return (where.etc / _FOLDER,)
    return tuple(dict.fromkeys((where.home / ".config" / _FOLDER, where.config / _FOLDER)))


def conflicts(mirrored: Collection[str], where: ConfigHome) -> Iterator[str]:
    """Where other files speak of the same registries, or cannot be read, so that podman does not start either."""
    for path, main in _others(where):
        try:
            theirs = registries_configured(read_text(path), drop_in=not main)
        except (OSError, ValueError, RecursionError) as problem:
            yield f"{shown(path)} cannot be read: {getattr(problem, 'strerror', None) or problem}"
            continue
        for name in sorted(theirs & frozenset(mirrored)):
            yield f"{shown(path)} has a [[registry]] for {name}"


def narrower(mirrored: Collection[str], where: ConfigHome) -> Iterator[str]:
    """What is said of a part of a registry elsewhere: its images do not come through the caches."""
    for path, main in _others(where):
        try:
            theirs = registries_configured(read_text(path), drop_in=not main)
        except (OSError, ValueError, RecursionError):
            continue
        for name in sorted(theirs):
            if any(name.startswith(f"{registry}/") for registry in mirrored):
                yield f"{shown(path)} has a [[registry]] for {name}: its images do not come through the caches."


def _others(where: ConfigHome) -> list[tuple[Path, bool]]:
    """All files that podman would read besides ours, and whether they are main files."""
    main: list[Path] = []
    drop_ins = list(folders(where))
    if where.given is not None:
        main.append(where.given.with_name("registries.conf"))
    elif (named := next(filter(None, (_named(where, name) for name in _FILE_VARIABLES)), None)) is not None:
        main.append(named)
    else:
        main += [folder.with_name("registries.conf") for folder in drop_ins]
    machine = where.etc / _FOLDER
    if where.per_user and where.given is None and not any(_there(path) for path in main):
        # podman reads none of the machine's files for a person who has a registries.conf.
        main.append(machine.with_name("registries.conf"))
        drop_ins.append(machine)
    listed = [(path, True) for path in main]
    listed += [(path, False) for folder in drop_ins for path in _configurations(folder)]
    return [(path, kind) for path, kind in listed if path.name != DROP_IN and _there(path)]


def _configurations(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.conf")) if _there(folder) else []


def _there(path: Path) -> bool:
    """What may not be looked at is not there for podman either, which runs as we do."""
    return os.path.exists(path)  # noqa: PTH110 - the other one raises


def _named(where: ConfigHome, variable: str) -> Path | None:
    text = where.environ.get(variable, "")
    return type(where.home)(text) if text.startswith("/") else None
