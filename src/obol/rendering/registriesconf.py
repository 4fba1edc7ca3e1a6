"""registries.conf: where podman, skopeo and buildah look for images."""

from __future__ import annotations

import json
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
    for mirror in mirrors:
        url = urlsplit(mirror.endpoint)
        name, location = json.dumps(mirror.registry), json.dumps(url.netloc + url.path.rstrip("/"))
        lines += ["", "[[registry]]", f"prefix = {name}", f"location = {name}"]
        lines += ["[[registry.mirror]]", f"location = {location}", f"insecure = {json.dumps(url.scheme == 'http')}"]
    return "\n".join(lines) + "\n"
