"""One cache container: found running, or started, or made, until it answers.

Docker lets a container that crashes at its start be restarted again and again, and calls that running. So nothing is
trusted but an answer to `/v2/`: the registry in a container gives up at its start if its upstream is out of reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from obol.caches.containers.plan import STORAGE, published_port
from obol.errors import EngineUnresponsive, ObolError, PortTaken, StoreUnusable
from obol.machine.docker.cli import CHANGE_WITHIN
from obol.machine.docker.errors import DockerFailed, DockerNameTaken
from obol.machine.files import failing_as
from obol.machine.polling import Polling
from obol.machine.texts import in_shell, shown
from obol.rendering.names import LOOPBACK, loopback_name

if TYPE_CHECKING:
    from obol.caches.containers.plan import ContainersPlan, RegistryContainer
    from obol.machine.clock import Clock
    from obol.machine.commands import User
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Container, Network
    from obol.machine.ports import PortProbe
    from obol.machine.probe import Probe


_CLEAR_WITHIN = 10 * CHANGE_WITHIN


def make_directory(directory: Path, account: User | None) -> None:
    """Make it and what is missing above it, for `account` where sudo made us root. Raises StoreUnusable."""
    if ":" in str(directory):
        raise StoreUnusable(
            f"{directory} cannot be given to a container",
            why="Docker reads a colon as the end of the path",
            hint="choose another directory for all caches: OBOL_REGISTRY_CACHE_DIR",
        )
    hint = "choose another directory for all caches: OBOL_REGISTRY_CACHE_DIR"
    with failing_as(f"{directory} cannot be used", hint, StoreUnusable):
        for missing in [path for path in (*reversed(directory.parents), directory) if not path.exists()]:
            missing.mkdir(mode=0o755, exist_ok=True)
            if account:
                os.chown(missing, account.uid, account.gid)


async def clear_directory(docker: Docker, directory: Path, image: str) -> str:
    """Remove it with its content; gives a sentence where that did not work, "" where it did.

    Its files are root's, so a plain user removes them as they were written: in a container.
    """
    if await asyncio.to_thread(_cleared, directory):
        return ""
    options = ("--network", "none", "--volume", f"{directory}:{STORAGE}:z", "--entrypoint", "find")
    with contextlib.suppress(ObolError):
        await docker.fetch(image)
        await docker.run_once(image, (STORAGE, "-mindepth", "1", "-delete"), options=options, within=_CLEAR_WITHIN)
    if await asyncio.to_thread(_cleared, directory):
        return ""
    return f"{shown(directory)} cannot be removed by this user: sudo rm -r {in_shell(directory)}"


def _cleared(directory: Path) -> bool:
    """Remove what we may; tells whether nothing is left. A link to elsewhere is not ours to follow."""
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()
    return True


_ATTEMPTS = 4
"""How often a container is made, each time on another port: another program may take ports at this moment."""

ANSWER_WITHIN = 10.0
_LOOK_EVERY = 0.1
"""Seconds."""
_LOG_LINES = 60
"""Lines of the log to look at: a panic is followed by where it happened."""

Deed = Literal["found", "started", "made"]


@dataclass(frozen=True, slots=True)
class ServingContainer:
    """A cache that answers."""

    cache: RegistryContainer
    port: int
    deed: Deed


@dataclass(frozen=True, slots=True)
class ContainerEnvironment:
    """What bringing a container up takes besides Docker."""

    clock: Clock
    probe: PortProbe
    ask: Probe
    """Of a port it tells what answers behind it: Docker's proxy has it open in any case."""

    async def answers(self, port: int) -> bool:
        """Whether a registry answers: https://github.com/opencontainers/distribution-spec, end-1."""
        return await self.ask(port, "/v2/") == 200


def is_over(root: Path, container: Container) -> bool:
    """Whether its content is in a directory of this cache root: names are shared by all who use this Docker."""
    source = PurePosixPath(container.mounts.get(STORAGE, ""))
    # Docker Desktop shows a directory of the host by its path in the virtual machine.
    return str(source.parent).endswith(str(root))


class ContainerStart:
    """Brings up the containers of one plan on one network."""

    def __init__(
        self, docker: Docker, plan: ContainersPlan, network: Network, environment: ContainerEnvironment
    ) -> None:
        self._docker = docker
        self._plan = plan
        self._network = network
        self._environment = environment
        self._fetching = asyncio.Lock()

    async def bring_up(self, cache: RegistryContainer, found: Container | None, port: int) -> ServingContainer:
        """Make sure that `cache` answers; `port` is for the case that its container has to be made.

        Raises EngineUnresponsive, PortTaken, StoreUnusable and what Docker raises: then it is not to be used.
        """
        if found is None:
            try:
                return await self._answering(cache, await self._make(cache, port), "made")
            except DockerNameTaken:  # another command was faster
                found = await self._look(cache)
        if cache.outdated(found):
            return await self._answering(cache, await self._make_anew(cache, found, port), "made")
        if cache.foreign(found):
            raise _unusable(cache, "it is not obol's, and stands for another registry", f"docker rm -f {cache.name}")
        return await self._use(cache, found, port)

    async def fetch_image(self) -> None:
        """Have the image at hand, through the builtin engine where it runs: then no network is needed."""
        async with self._fetching:
            image = self._plan.image
            await self._docker.fetch(image, through=loopback_name(image, self._plan.loopback))

    async def _use(self, cache: RegistryContainer, found: Container, port: int) -> ServingContainer:
        deed: Deed = "found"
        match found.status:
            case "running":
                pass
            case "restarting":
                raise await self._crashing(cache)
            case "paused":
                raise _unusable(cache, "it is paused", f"docker unpause {cache.name}")
            case _:
                deed = "started"
                if not await self._started(found):
                    return await self._answering(cache, await self._make_anew(cache, found, port), "made")
                found = await self._look(cache)
        if self._network.id not in found.networks.values():
            await self._docker.connect(self._network.id, cache.name)
        return await self._answering(cache, published_port(found), deed)

    async def _started(self, found: Container) -> bool:
        """Start it on networks that are there, among them ours; False if it cannot be started.

        It has to be on ours before: a registry that finds no way to its upstream at its start ends. Raises DockerFailed
        where it cannot be put there, which is no fault of the container.
        """
        there = {"", self._network.id, *(network.id for network in await self._docker.networks())}
        kept = {name: id_ for name, id_ in found.networks.items() if id_ in there}
        try:
            for name in sorted(found.networks.keys() - kept.keys()):
                await self._docker.disconnect(name, found.name)
        except DockerFailed:
            return False
        if self._network.id not in kept.values() and self._network.name not in kept:
            await self._docker.connect(self._network.id, found.name)
        try:
            await self._docker.start(found.name)
        except (DockerFailed, PortTaken):
            return False
        return True

    async def _make_anew(self, cache: RegistryContainer, found: Container, port: int) -> int:
        """Throw it away, and make it over the same directory and, where possible, on the same port.

        Raises EngineUnresponsive for one over another cache root, which may belong to another person.
        """
        if not is_over(self._plan.root, found):
            raise _of_others(cache, found)
        await self._docker.remove_container(cache.name, force=True)
        had = published_port(found)
        return await self._make(cache, had if had and self._environment.probe.is_free(LOOPBACK, had) else port)

    async def _make(self, cache: RegistryContainer, port: int) -> int:
        make_directory(self._plan.directory(cache), self._plan.account)
        await self.fetch_image()
        for attempt in range(_ATTEMPTS):
            chosen = port if port and not attempt else self._spare(cache)
            try:
                return await self._run(cache, chosen)
            except PortTaken:  # since the port was looked at; the container is there nevertheless
                await self._docker.remove_container(cache.name, force=True)
        raise PortTaken(f"the ports for {cache.name} are taken again and again", hint="run the command again")

    def _spare(self, cache: RegistryContainer) -> int:
        try:
            return self._environment.probe.pick_free((LOOPBACK,))
        except OSError as problem:
            raise PortTaken(f"there is no free port for {cache.name}", why=problem.strerror or "") from problem

    async def _run(self, cache: RegistryContainer, port: int) -> int:
        directory = self._plan.directory(cache)
        await self._docker.run(
            cache.spec(image=self._plan.image, network=self._network.name, port=port, directory=directory)
        )
        return port

    async def _answering(self, cache: RegistryContainer, port: int, deed: Deed) -> ServingContainer:
        """Wait until it answers, unless it crashes first."""
        if not port:
            raise _unusable(cache, "it publishes no port", f"docker rm -f {cache.name}")
        async for _ in Polling(self._environment.clock, every=_LOOK_EVERY, within=ANSWER_WITHIN):
            if await self._environment.answers(port):
                return ServingContainer(cache, port, deed)
            if (await self._look(cache)).status != "running":
                raise await self._crashing(cache)
        why = f"it has not answered on port {port} for {ANSWER_WITHIN:g} seconds"
        raise _unusable(cache, why, f"docker logs {cache.name}")

    async def _look(self, cache: RegistryContainer) -> Container:
        found = await self._docker.container(cache.name)
        if found is None:
            raise _unusable(cache, "another program removed it")
        return found

    async def _crashing(self, cache: RegistryContainer) -> EngineUnresponsive:
        said = (await self._docker.logs(cache.name, lines=_LOG_LINES)).strip().splitlines()
        # The image `registry` panics, ours ends with an error; after either comes more.
        reasons = [line for line in said if line.startswith(("panic: ", "error: "))]
        last = (reasons or said or ["it says nothing"])[-1]
        return _unusable(cache, f"it ends as soon as it is started: {last}", f"docker logs {cache.name}")


def _of_others(cache: RegistryContainer, found: Container) -> EngineUnresponsive:
    source = found.mounts.get(STORAGE) or "no directory of the host"
    return EngineUnresponsive(
        f"{cache.name} cannot be used",
        why=f"it keeps its content in {source}, so obol does not make it anew",
        hint=f"if you do not need it, `docker rm -f {cache.name}`: the next start makes a new one",
    )


def _unusable(cache: RegistryContainer, why: str, command: str = "") -> EngineUnresponsive:
    return EngineUnresponsive(f"{cache.name} cannot be used", why=why, hint=f"`{command}`" if command else "")
