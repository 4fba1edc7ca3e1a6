"""obol-net: the one Docker network of all our clusters.

A network for each cluster, as k3d makes by default, is leaked by k3d whenever a cache is on it, and Docker has room for
about thirty. This one is made once and outlives the clusters, so its gateway is known before there is a node, caches
stay where they are, and k3d, which did not make it, does not try to remove it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from obol.machine.docker.errors import DockerFailed, DockerNameTaken

if TYPE_CHECKING:
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Network

NAME = "obol-net"
LABEL = "obol.network"
SHARED = "shared"


async def ensure_network(docker: Docker) -> Network:
    """Find the network, or make it; safe for several who do so at once. Raises NoAddressPool, DockerFailed."""
    if (found := await find_network(docker)) is not None:
        return found
    with suppress(DockerNameTaken):  # another command was faster
        await docker.create_network(NAME, labels={LABEL: SHARED})
    if (found := await find_network(docker)) is not None:
        return found
    raise DockerFailed(f"the Docker network {NAME} was made, and is not there", hint="run the command again")


async def find_network(docker: Docker) -> Network | None:
    """Look for the network; None where there is none.

    Old versions of Docker make two networks of one name for two who ask at once, and then refuse to use either. All
    who look agree to keep the oldest, and remove the others.
    """
    found = sorted(await docker.networks(name=f"^{NAME}$"), key=lambda network: (network.created, network.id))
    for twin in found[1:]:
        if is_ours(twin) and not twin.attached:
            with suppress(DockerFailed):
                await docker.remove_network(twin.id)
    return found[0] if found else None


def is_ours(network: Network) -> bool:
    """Whether we made it; one that a person made under this name is used, but never removed."""
    return network.labels.get(LABEL) == SHARED


async def remove_network(docker: Docker) -> bool:
    """Remove the network, unless a container, running or stopped, still needs it; tells whether it is gone by us."""
    found = await find_network(docker)
    if found is None or not is_ours(found) or found.attached:
        return False
    if await docker.containers(network=found.id):
        return False
    try:
        return await docker.remove_network(found.id)
    except DockerFailed:  # a container has come meanwhile
        return False
