"""What a cluster of k3d needs of Docker that nothing else does: a file of a node, and what was left of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.errors import DependencyMissing
from obol.machine.docker.cli import ASK_WITHIN, CHANGE_WITHIN, Docker
from obol.machine.docker.errors import DockerFailed, refused
from obol.rendering.k3d import ARCHIVE_ROOT, NODE_REGISTRIES, mirrors_in, node_archive

if TYPE_CHECKING:
    from obol.machine.commands import Completed, Runner

CLUSTER_LABEL = "k3d.cluster"
"""k3d marks with it all that belongs to a cluster."""


class NodeDocker:
    """Docker as the host of nodes. Methods raise what those of `machine.docker` do."""

    def __init__(self, runner: Runner, docker: Docker) -> None:
        self._runner = runner
        self._docker = docker

    async def mirrors(self, node: str) -> dict[str, tuple[str, ...]]:
        """The endpoints of each registry that a node, running or not, was told of; nothing where it was not told."""
        done = await self._run("cp", f"{node}:{NODE_REGISTRIES}", "-", within=ASK_WITHIN)
        if done.code == 0:
            return mirrors_in(done.stdout)
        problem = refused("docker cp", done.stderr)
        if isinstance(problem, DependencyMissing):
            raise problem
        return {}  # it has no such file

    async def write_registries(self, node: str, registries: str) -> None:
        """Give a node its registries.yaml, which it reads when it starts.

        In a tar, because Docker makes the directories that a member of one needs; a node may not have them yet.
        """
        done = await self._run("cp", "-", f"{node}:{ARCHIVE_ROOT}", stdin=node_archive(registries))
        if done.code:
            raise refused("docker cp", done.stderr)

    async def addresses(self, cluster: str) -> frozenset[str]:
        """The addresses of a cluster's running containers, on all their networks."""
        containers = await self._docker.containers(labels=(f"{CLUSTER_LABEL}={cluster}",))
        running = [one for one in containers if one.status == "running"]
        return frozenset(address for one in running for address in one.addresses)

    async def has_remains(self, cluster: str) -> bool:
        """Whether there is a container of a cluster."""
        return bool(await self._docker.containers(labels=(f"{CLUSTER_LABEL}={cluster}",)))

    async def remove_remains(self, cluster: str) -> None:
        """Remove what k3d left of a cluster: containers, volumes, and the network that bears its name.

        What cannot be removed stays; a caller that needs to know looks afterwards.
        """
        label = f"{CLUSTER_LABEL}={cluster}"
        if containers := await self._docker.containers(labels=(label,)):
            # Volumes too: a node keeps its images in one that has no name.
            await self._run("rm", "--force", "--volumes", *(one.id for one in containers))
        listed = await self._run("volume", "ls", "--quiet", "--filter", f"label={label}", within=ASK_WITHIN)
        if volumes := listed.stdout.split():
            await self._run("volume", "rm", "--force", *volumes)
        for network in await self._docker.networks(name=f"^k3d-{cluster}$"):
            try:
                await self._docker.remove_network(network.id)
            except DockerFailed:  # a container is on it: it is reclaimed when none is any more
                continue

    async def rejoin(self, cluster: str, network: str) -> bool:
        """Put the stopped containers of a cluster on a network that was removed and made anew since; tells whether any.

        `docker network prune` removes a network whose containers are all stopped. They know it by its ID, so that they
        could not be started any more, and a new network of the same name does not help by itself.
        """
        there = await self._docker.networks(name=f"^{network}$")
        ids = {"", *(one.id for one in there)}
        members = await self._docker.containers(labels=(f"{CLUSTER_LABEL}={cluster}",))
        lost = [one for one in members if one.networks.get(network, "") not in ids]
        for one in lost if there else ():
            await self._docker.disconnect(network, one.name)
            await self._docker.connect(there[0].id, one.name)
        return bool(lost and there)

    async def _run(self, *command: str, stdin: str = "", within: float = CHANGE_WITHIN) -> Completed:
        return await self._runner.run(("docker", *command), stdin=stdin, timeout=within)
