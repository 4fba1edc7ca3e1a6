"""registries.conf: where podman, skopeo and buildah look for images."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.rendering.quoting import basic_string

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obol.rendering.registries import Mirror


def registries_conf(mirrors: Iterable[Mirror]) -> str:
    """Render the file: each registry has its mirror asked first, and itself after it.

    containers-registries.conf(5). A JSON string is a basic string of TOML.
    """
    lines = ["# Written by obol at each `obol stack up`.", "unqualified-search-registries = []"]
    return "\n".join([*lines, *_tables(mirrors)]) + "\n"


def registries_drop_in(mirrors: Iterable[Mirror]) -> str:
    """Render a file for registries.conf.d, which says nothing but the mirrors.

    containers-registries.conf.d(5): the [[registry]] tables of all files add up; one of the same name replaces those of
    earlier files.
    """
    opening = "# Written by `obol cache config podman --write`; --undo removes it."
    return "\n".join([opening, *_tables(mirrors)]) + "\n"


def registries_configured(text: str, *, drop_in: bool = False) -> frozenset[str]:
    """The names for which a file has a [[registry]] table, or is of the first version and has settings for.

    Raises ValueError for a file that podman does not read: that is no TOML, or mixes the versions.
    """
    written = tomllib.loads(text)
    tables, first = written.get("registry", []), written.get("registries", {})
    if first and drop_in:
        raise ValueError("it is in version 1 of the format, which podman refuses in registries.conf.d")
    if first and (tables or "unqualified-search-registries" in written):
        raise ValueError("it mixes the versions 1 and 2 of the format, which podman refuses")
    if first:
        return _first_version(first)
    if not isinstance(tables, list):
        return frozenset()
    named = (table.get("prefix") or table.get("location") for table in tables if isinstance(table, dict))
    return frozenset(name for name in named if isinstance(name, str))


def _first_version(written: object) -> frozenset[str]:
    """The registries that [registries.insecure] and [registries.block] name; a search list says nothing of them."""
    tables = [written.get(name) for name in ("insecure", "block")] if isinstance(written, dict) else []
    lists = [table.get("registries") for table in tables if isinstance(table, dict)]
    return frozenset(name for names in lists if isinstance(names, list) for name in names if isinstance(name, str))


def _tables(mirrors: Iterable[Mirror]) -> list[str]:
    """A table for each registry, with its mirrors in their order."""
    by_registry: dict[str, list[str]] = {}
    for mirror in mirrors:
        url = urlsplit(mirror.endpoint)
        location = basic_string(url.netloc + url.path.rstrip("/"))
        insecure = str(url.scheme == "http").lower()
        own = by_registry.setdefault(basic_string(mirror.registry), [])
        own += ["[[registry.mirror]]", f"location = {location}", f"insecure = {insecure}"]
    lines = []
    for name, own in by_registry.items():
        lines += ["", "[[registry]]", f"prefix = {name}", f"location = {name}", *own]
    return lines
