"""registries.conf: where podman, skopeo and buildah look for images."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

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


def registries_configured(text: str) -> frozenset[str]:
    """The names for which a file has a [[registry]] table. Raises ValueError for a file that is no TOML."""
    tables = tomllib.loads(text).get("registry", [])
    if not isinstance(tables, list):
        return frozenset()
    named = (table.get("prefix") or table.get("location") for table in tables if isinstance(table, dict))
    return frozenset(name for name in named if isinstance(name, str))


def _tables(mirrors: Iterable[Mirror]) -> list[str]:
    lines = []
    for mirror in mirrors:
        url = urlsplit(mirror.endpoint)
        name, location = json.dumps(mirror.registry), json.dumps(url.netloc + url.path.rstrip("/"))
        lines += ["", "[[registry]]", f"prefix = {name}", f"location = {name}"]
        lines += ["[[registry.mirror]]", f"location = {location}", f"insecure = {json.dumps(url.scheme == 'http')}"]
    return lines
