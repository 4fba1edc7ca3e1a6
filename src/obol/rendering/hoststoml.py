"""hosts.toml: where containerd looks for the images of one registry, in a directory named like it.

https://github.com/containerd/containerd/blob/main/docs/hosts.md. The registry itself is the server, which is asked when
no host serves, so that a cache which is not there costs no image.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from obol.rendering.registries import Mirror

_SERVERS = {"docker.io": "registry-1.docker.io"}
"""Where a registry is that does not answer at the name of its images."""


def hosts_toml(mirror: Mirror) -> str:
    """Render the file of one registry. A JSON string is a basic string of TOML."""
    server = f"https://{_SERVERS.get(mirror.registry, mirror.registry)}"
    return (
        "# Written by `obol cache config containerd --write`; --undo removes it.\n"
        f"server = {json.dumps(server)}\n"
        "\n"
        f"[host.{json.dumps(mirror.endpoint)}]\n"
        'capabilities = ["pull", "resolve"]\n'
    )
