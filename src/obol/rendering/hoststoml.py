"""hosts.toml: where containerd looks for the images of one registry, in a directory named like it.

https://github.com/containerd/containerd/blob/main/docs/hosts.md. The registry itself is the server, which is asked when
no host serves, so that a cache which is not there costs no image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.rendering.quoting import basic_string

if TYPE_CHECKING:
    from obol.rendering.registries import Mirror

_SERVERS = {"docker.io": "registry-1.docker.io"}
"""Where a registry is that does not answer at the name of its images."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Files that containerd takes for the registry itself where there is no hosts.toml, by their paths."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    """Each a certificate and its key."""


def hosts_toml(mirror: Mirror, trust: Trust | None = None) -> str:
    """Render the file of one registry. Raises ValueError where TOML cannot hold a path."""
    lines = [
        "# Written by `obol cache config containerd --write`; --undo removes it.",
        f"server = {basic_string(f'https://{_SERVERS.get(mirror.registry, mirror.registry)}')}",
    ]
    if trust is not None and trust.authorities:
        lines.append(f"ca = [{', '.join(map(basic_string, trust.authorities))}]")
    if trust is not None and trust.clients:
        pairs = (f"[{basic_string(certificate)}, {basic_string(key)}]" for certificate, key in trust.clients)
        lines.append(f"client = [{', '.join(pairs)}]")
    lines += ["", f"[host.{basic_string(mirror.endpoint)}]", 'capabilities = ["pull", "resolve"]']
    return "\n".join(lines) + "\n"
