"""What skopeo and podman are told: ask the engine for docker.io, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The second source is a port of this machine where nobody listens: what the engine does not give, nobody gives.
_REGISTRIES = """\
unqualified-search-registries = []
[[registry]]
prefix = "docker.io"
location = "127.0.0.1:9"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:{port}"
insecure = true
"""

_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def write_registries(workdir: Path, port: int) -> Path:
    """Write registries.conf with the engine's port as the mirror of docker.io; return its path."""
    path = workdir / "registries.conf"
    path.write_text(_REGISTRIES.format(port=port))
    return path


def write_policy(workdir: Path) -> Path:
    """Write a signature policy that asks for no signatures; return its path."""
    path = workdir / "policy.json"
    path.write_text(_POLICY)
    return path
