"""Docker by its command line, which honours the contexts and credential helpers that a person has set up.

Answers are read from JSON. A command that fails raises one of `machine.docker.errors`; the methods say only what they
raise beyond these: DependencyMissing without a `docker` program, DockerNotRunning, DockerForbidden, DockerFailed, and
ObolError for a command that did not end in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from obol.errors import DependencyMissing
from obol.machine.commands import plain
from obol.machine.docker import values
from obol.machine.docker.errors import DockerAbsent, DockerFailed, refused

if TYPE_CHECKING:
    from obol.machine.commands import Completed, Runner
    from obol.machine.docker.values import Container, DockerInfo, DockerVersion, Image, Network, Pushed

T = TypeVar("T")

ASK_WITHIN = 10.0
CHANGE_WITHIN = 60.0
PULL_WITHIN = 1800.0
PUSH_WITHIN = 1800.0
"""Seconds."""

CANNOT_RUN = frozenset({125, 126, 127})
"""Exit codes of `docker run` that are not its program's: https://docs.docker.com/engine/containers/run/#exit-status."""

_JSON = ("--format", "{{json .}}")


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container is to be made of; what is not said is Docker's default."""

    name: str
    image: str
    network: str = ""
    publish: tuple[str, ...] = ()
    """As in 127.0.0.1:54100:5000."""
    volumes: tuple[str, ...] = ()
    """As in /a/directory:/path/in/the/container:z."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Seen by everybody who may list processes: no secrets."""
    labels: Mapping[str, str] = field(default_factory=dict)
    restart: str = ""

    def options(self) -> tuple[str, ...]:
        """The options of `docker run` that say so."""
        single = (("--name", self.name), ("--network", self.network), ("--restart", self.restart))
        repeated = (
            ("--publish", self.publish),
            ("--volume", self.volumes),
            ("--env", _pairs(self.environment)),
            ("--label", _pairs(self.labels)),
        )
        return (
            *(word for option, value in single if value for word in (option, value)),
            *(word for option, values in repeated for value in values for word in (option, value)),
        )


class Docker:
    """The daemon that the command line talks to. `loud` runs what takes long and may be shown to people."""

    def __init__(self, runner: Runner, loud: Runner | None = None) -> None:
        self._runner = runner
        self._loud = loud

    async def version(self) -> DockerVersion:
        """Ask for the versions of both ends; tells soonest whether Docker can be used."""
        found = await self._read(values.read_version, "version", *_JSON)
        if not found.server:
            raise refused("docker version", "Cannot connect to the Docker daemon")
        return found

    async def info(self) -> DockerInfo:
        """Ask where and how the daemon runs."""
        found, complaints = await self._read(values.read_info, "info", *_JSON)
        if complaints:  # old clients exit with 0 then
            raise refused("docker info", "\n".join(complaints))
        return found

    async def networks(self, *, name: str = "", label: str = "") -> tuple[Network, ...]:
        """List networks, and who is on them; `name` is a regular expression, `label` a key or key=value."""
        filters = (("name", name), ("label", label))
        listed = await self._list("network", "ls", "--no-trunc", filters=filters)
        return await self._inspect(values.read_networks, "network", listed)

    async def create_network(self, name: str, *, labels: Mapping[str, str] | None = None) -> str:
        """Make a bridge network; gives its ID. Raises DockerNameTaken, NoAddressPool.

        Two who do so at the same moment may both succeed: old versions of Docker look for the name, then create.
        """
        return await self._change("network", "create", *_labelled(labels), name)

    async def remove_network(self, network: str) -> bool:
        """Remove a network on which no container is; False where there is none. By ID where names may be shared."""
        return await self._unless_absent("network", "rm", network)

    async def connect(self, network: str, container: str) -> None:
        """Put a container on one more network."""
        await self._change("network", "connect", network, container)

    async def disconnect(self, network: str, container: str) -> bool:
        """Take a container off a network, by name where the network is gone. False where it was not on it.

        Never by force: that would leave the stopped container's own record of the network as it is.
        """
        try:
            return await self._unless_absent("network", "disconnect", network, container)
        except DockerFailed as problem:
            if "is not connected" in problem.why:
                return False
            raise

    async def containers(self, *, labels: Sequence[str] = (), network: str = "") -> tuple[Container, ...]:
        """List containers in whichever state; `labels` are keys or key=value, all of which must be there.

        One that is removed in the meantime is left out.
        """
        filters = (*(("label", label) for label in labels), ("network", network))
        listed = await self._list("ps", "--all", "--no-trunc", filters=filters)
        return await self._inspect(values.read_containers, "container", listed)

    async def publishing(self, port: int) -> tuple[Container, ...]:
        """List the running containers that publish a port of the host."""
        listed = await self._list("ps", "--no-trunc", filters=(("publish", str(port)),))
        return await self._inspect(values.read_containers, "container", listed)

    async def container(self, name: str) -> Container | None:
        """Look at one container, by name or ID; None where there is none."""
        return next(iter(await self._inspect(values.read_containers, "container", (name,))), None)

    async def run(self, spec: ContainerSpec) -> str:
        """Make a container, whose image is there, and start it; gives its ID.

        Raises DockerNameTaken, PortTaken, DockerAbsent. Where it cannot be started it has been made nevertheless.
        """
        return await self._change("run", "--detach", "--pull", "never", *spec.options(), spec.image)

    async def run_once(
        self, image: str, arguments: Sequence[str], *, options: Sequence[str] = (), within: float = CHANGE_WITHIN
    ) -> Completed:
        """Run a program in a container that is removed with it; any exit code is an answer, CANNOT_RUN too."""
        return await self._answer("run", "--rm", *options, image, *arguments, within=within)

    async def start(self, container: str) -> None:
        """Start a stopped container. Raises PortTaken, DockerAbsent (also where a network that it is on is gone)."""
        await self._change("start", container)

    async def stop(self, container: str) -> bool:
        """Stop a container; False where there is none."""
        return await self._unless_absent("stop", container)

    async def remove_container(self, container: str, *, force: bool = False) -> bool:
        """Remove a container, a running one too by `force`; False where there is none. Named volumes stay."""
        return await self._unless_absent("rm", *(("--force",) if force else ()), container)

    async def logs(self, container: str, *, lines: int = 20) -> str:
        """Read the last lines that a container wrote, on both of its streams."""
        completed = await self._answer("logs", "--tail", str(lines), container, within=ASK_WITHIN)
        return plain(completed.stdout + completed.stderr)

    async def has_image(self, reference: str) -> bool:
        """Whether an image is in Docker's own store."""
        completed = await self._run(("image", "inspect", "--format", "{{.Id}}", reference), within=ASK_WITHIN)
        if completed.code == 0:
            return True
        problem = refused("docker image inspect", completed.stderr)
        if isinstance(problem, DockerAbsent):
            return False
        raise problem

    async def image(self, name: str) -> Image | None:
        """Look at an image of Docker's own store, by reference or ID; None where it is not there."""
        return next(iter(await self._inspect(values.read_images, "image", (name,))), None)

    async def pull(self, reference: str) -> None:
        """Pull an image. Raises DockerAbsent where the registry does not have it."""
        quiet = ("--quiet",) if self._loud is None else ()
        completed = await self._run(("pull", *quiet, reference), within=PULL_WITHIN, by=self._loud)
        if completed.code:
            raise refused("docker pull", completed.stderr)

    async def tag(self, source: str, target: str) -> None:
        """Give an image one more name."""
        await self._change("tag", source, target)

    async def untag(self, name: str) -> bool:
        """Take a name off an image; False where there is none. With its last name an image is removed."""
        return await self._unless_absent("rmi", name)

    async def push(self, reference: str) -> Pushed:
        """Push an image to the registry in its name; layers that the registry has already are not sent."""
        return values.read_pushed(await self._change("push", reference, within=PUSH_WITHIN))

    async def fetch(self, reference: str, *, through: str = "") -> None:
        """Make an image be there, from wherever it can be had.

        `through` is its name at a mirror on this machine, as in 127.0.0.1:54100/library/registry:3. It is asked first
        and without any doubt being raised: a Docker in a virtual machine cannot reach it.
        """
        if not await self.has_image(reference):
            await self.obtain(reference, through=through)

    async def obtain(self, reference: str, *, through: str = "") -> None:
        """Pull an image that is not there; see `fetch`."""
        if through:
            with suppress(DockerFailed):
                await self.pull(through)
                await self.tag(through, reference)
                await self.untag(through)
                return
        await self.pull(reference)

    async def _list(self, *command: str, filters: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        chosen = (word for key, value in filters if value for word in ("--filter", f"{key}={value}"))
        return await self._read(values.read_ids, *command, *chosen, *_JSON)

    async def _inspect(self, reader: Callable[[str], tuple[T, ...]], kind: str, names: Sequence[str]) -> tuple[T, ...]:
        """Look at several objects. Those that are gone are left out, which Docker tells by its exit code and words."""
        if not names:
            return ()
        command = (kind, "inspect", *names)
        completed = await self._run(command, within=ASK_WITHIN)
        if completed.code:
            problem = refused(f"docker {kind} inspect", completed.stderr)
            if not isinstance(problem, DockerAbsent):
                raise problem
            return _decoded(reader, command, completed.stdout or "[]")
        return _decoded(reader, command, completed.stdout)

    async def _read(self, reader: Callable[[str], T], *command: str) -> T:
        return _decoded(reader, command, (await self._done(command, within=ASK_WITHIN)).stdout)

    async def _change(self, *command: str, within: float = CHANGE_WITHIN) -> str:
        return (await self._done(command, within=within)).stdout.strip()

    async def _unless_absent(self, *command: str) -> bool:
        try:
            await self._change(*command)
        except DockerAbsent:
            return False
        return True

    async def _done(self, command: tuple[str, ...], *, within: float) -> Completed:
        completed = await self._run(command, within=within)
        if completed.code:
            raise refused(_shown(command), completed.stderr)
        return completed

    async def _answer(self, *command: str, within: float) -> Completed:
        """Any exit code is an answer, unless there is no program or no daemon to give it."""
        completed = await self._run(command, within=within)
        if completed.code:
            problem = refused(_shown(command), completed.stderr)
            if isinstance(problem, DependencyMissing):
                raise problem
        return completed

    async def _run(self, command: Sequence[str], *, within: float, by: Runner | None = None) -> Completed:
        try:
            return await (by or self._runner).run(("docker", *command), timeout=within)
        except DependencyMissing as problem:
            raise DependencyMissing(
                "Docker is not installed",
                why=problem.what,
                hint="install Docker Engine or Docker Desktop: https://docs.docker.com/get-docker/",
            ) from problem


def _pairs(table: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in table.items())


def _labelled(labels: Mapping[str, str] | None) -> tuple[str, ...]:
    return tuple(word for pair in _pairs(labels or {}) for word in ("--label", pair))


def _shown(command: Sequence[str]) -> str:
    """The command without what it was given, which may be long or not for everybody's eyes."""
    words = command[:2] if command[0] in {"network", "image", "container"} else command[:1]
    return " ".join(("docker", *words))


def _decoded(reader: Callable[[str], T], command: Sequence[str], text: str) -> T:
    try:
        return reader(text)
    except (msgspec.DecodeError, ValueError) as problem:
        raise DockerFailed(
            f"`{_shown(command)}` answers in a way that we do not understand",
            why=str(problem),
            hint="Docker 20.10 or newer is needed; `docker version` tells which one this is",
        ) from problem
