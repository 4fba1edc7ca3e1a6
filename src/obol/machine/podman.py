"""podman by its command line, as typed functions.

What it has is read from its JSON, or from a list of names where podman 4.3 has no JSON. An error text is podman's last
lines, without the colours; what a container's environment holds is never part of one.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from obol.errors import DependencyMissing, ObolError, PortTaken
from obol.machine.docker.errors import refused
from obol.machine.tasks import to_its_end

if TYPE_CHECKING:
    from obol.machine.commands import Completed, Lines, Runner
    from obol.machine.scratch import Scratch

T = TypeVar("T")

QUICK = 30.0
SLOW = 120.0
PULL = 3600.0
"""Seconds: to ask, to change something, and to fetch an image over a slow line."""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_PROGRESS = ("time=", "Trying to pull ", "Resolv", "Getting image ", "Copying ", "Writing manifest", "Storing ")
"""How lines begin that are no error, though they are where errors are."""
_STOP_SECONDS = "10"
_SAID = 3
"""Lines of an error that are told."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What podman says of itself."""

    version: tuple[int, ...]
    rootless: bool
    remote: bool
    """Its containers run elsewhere: in a virtual machine, as on macOS."""


class PodContainer(msgspec.Struct, frozen=True, rename="pascal"):
    """A container as the list of pods has it."""

    names: str = ""
    status: str = ""


class Pod(msgspec.Struct, frozen=True, rename="pascal"):
    """A pod."""

    id: str
    name: str
    status: str
    """Created, Running, Degraded, Stopped, Exited, Paused, Dead or Error."""
    labels: dict[str, str] | None = None
    containers: list[PodContainer] | None = None
    infra_id: str = ""

    def label(self, name: str) -> str:
        """One of its labels; "" where it has none such."""
        return (self.labels or {}).get(name, "")

    @property
    def members(self) -> int:
        """How many containers it has, besides the one that holds it together."""
        return max(0, len(self.containers or ()) - bool(self.infra_id))


class PublishedPort(msgspec.Struct, frozen=True):
    """A port of this machine that leads to one of a container."""

    container_port: int
    host_port: int


class PodmanContainer(msgspec.Struct, frozen=True, rename="pascal"):
    """A container."""

    names: list[str]
    image: str
    state: str
    pod: str
    """The ID of its pod."""
    ports: list[PublishedPort] | None = None


class _Subnet(msgspec.Struct, frozen=True):
    gateway: str = ""


class _Network(msgspec.Struct, frozen=True):
    subnets: list[_Subnet] | None = None


class Life(msgspec.Struct, frozen=True):
    """How it goes with a container."""

    restarts: int
    """How often podman started it again because it had ended."""
    started: datetime
    """The last time."""


class _State(msgspec.Struct, frozen=True, rename="pascal"):
    started_at: datetime = datetime.min.replace(tzinfo=UTC)


class _Inspected(msgspec.Struct, frozen=True, rename="pascal"):
    restart_count: int = 0
    state: _State = _State()


class _Version(msgspec.Struct, frozen=True, rename="pascal"):
    version: str


class _Security(msgspec.Struct, frozen=True):
    rootless: bool = False


class _Host(msgspec.Struct, frozen=True, rename="camel"):
    security: _Security = _Security()
    service_is_remote: bool = False


class _Info(msgspec.Struct, frozen=True):
    host: _Host
    version: _Version


class Podman:
    """The podman of this user. Methods raise ObolError for what podman refuses, unless they say otherwise.

    `loud` runs what takes long and whose output people may see. `note` takes what is waited for after a first
    Ctrl-C.
    """

    def __init__(
        self,
        runner: Runner,
        environ: Mapping[str, str],
        loud: Runner | None = None,
        note: Lines | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        self._runner = runner
        self._note = note
        self._speaking = loud or runner
        self._quiet = () if loud else ("--quiet",)
        self._environ = environ
        self._scratch = scratch

    def sweep(self) -> None:
        """Remove what pulls that were killed have left. Call it only where no other command of the stack runs."""
        if self._scratch is not None:
            self._scratch.sweep()

    async def installation(self) -> Installation:
        """Ask what it is. Raises DependencyMissing where it is not installed."""
        try:
            done = await self._run("info", "--format", "json")
        except DependencyMissing as problem:
            raise DependencyMissing(
                "podman is not installed",
                why=problem.why,
                hint="install podman 4.3 or later: https://podman.io/docs/installation",
            ) from problem
        if done.code:
            raise ObolError(
                "podman does not answer",
                why=_said(done),
                hint="see what `podman info` says; where it runs in a virtual machine: podman machine start",
            )
        info = _decode(done, _Info)
        numbers = re.match(r"\d+(?:\.\d+)*", info.version.version)
        version = tuple(map(int, numbers[0].split("."))) if numbers else ()
        return Installation(version, info.host.security.rootless, info.host.service_is_remote)

    async def pods(self, label: str) -> list[Pod]:
        """The pods that have a label, given as key=value."""
        return await self._listed("pod", "ps", "--filter", f"label={label}", "--format", "json", of=list[Pod])

    async def containers(self, label: str) -> list[PodmanContainer]:
        """The containers that have a label, running or not; those that hold pods together have none."""
        return await self._listed(
            "ps", "--all", "--filter", f"label={label}", "--format", "json", of=list[PodmanContainer]
        )

    async def lives(self, containers: Sequence[str]) -> list[Life]:
        """When these containers were started, and how often again; none where one is not there (any more)."""
        done = await self._run("container", "inspect", *containers)
        seen = [] if done.code else _decode(done, list[_Inspected])
        return [Life(one.restart_count, one.state.started_at) for one in seen]

    async def logs(self, container: str, lines: int) -> list[str]:
        """The last lines that a container has written; none where there is no such container."""
        done = await self._run("logs", "--tail", str(lines), container)
        return [] if done.code else _ANSI.sub("", done.stdout + done.stderr).splitlines()[-lines:]

    async def has_image(self, reference: str) -> bool:
        """Whether an image is here."""
        return (await self._run("image", "exists", reference)).code == 0

    async def pull(self, reference: str, registries: Path | None) -> None:
        """Fetch an image, by the mirrors of a registries.conf where one is given."""
        env = dict(self._environ)
        if registries:
            env["CONTAINERS_REGISTRIES_CONF"] = str(registries)
        argv = ["podman", "pull", *self._quiet, reference]
        with self._scratch.directory() if self._scratch else nullcontext() as layers:
            if layers is not None:  # else podman takes /var/tmp, and leaves there what it has, where it is ended
                env["TMPDIR"] = str(layers)
            done = await self._speaking.run(argv, env=env, timeout=PULL)
        _accept(f"{reference} cannot be pulled", done)

    async def remove_image(self, reference: str) -> bool:
        """Remove an image that no container uses; False where one does, or there is none."""
        return (await self._run("rmi", reference, limit=SLOW)).code == 0

    async def play(self, path: Path, network: str) -> None:
        """Create and start what a file of manifests says; its images are here."""
        what = f"podman cannot start {path.stem}"
        await self._change(what, "kube", "play", "--network", network, str(path))

    async def start(self, pod: Pod) -> bool:
        """Start a pod that was stopped; False where that does not work any more."""
        return (await self._whole(self._run("pod", "start", pod.id, limit=SLOW))).code == 0

    async def stop(self, pods: Sequence[Pod]) -> None:
        """Stop pods; they keep all that they have."""
        if pods:
            ids = [pod.id for pod in pods]
            await self._change("podman cannot stop the pods", "pod", "stop", "--time", _STOP_SECONDS, *ids)

    async def remove(self, pods: Sequence[Pod]) -> None:
        """Remove pods with their containers; running ones are stopped."""
        if pods:
            ids = [pod.id for pod in pods]
            what = "podman cannot remove the pods"
            await self._change(what, "pod", "rm", "--force", "--time", _STOP_SECONDS, *ids)

    async def secrets(self, prefix: str) -> list[str]:
        """The names of secrets that begin so."""
        return await self._names(prefix, "secret", "ls", "--format", "{{.Name}}")

    async def create_secret(self, name: str, payload: str) -> None:
        """Keep a secret, in place of one of that name. It goes through standard input."""
        await self._run("secret", "rm", name)
        await self._must("podman cannot keep a secret", "secret", "create", name, "-", stdin=payload)

    async def remove_secrets(self, names: Sequence[str]) -> None:
        """Remove secrets."""
        if names:
            await self._must("podman cannot remove secrets", "secret", "rm", *names)

    async def volumes(self, prefix: str) -> list[str]:
        """The names of volumes that begin so."""
        return await self._names(prefix, "volume", "ls", "--format", "{{.Name}}")

    async def remove_volumes(self, names: Sequence[str]) -> None:
        """Remove volumes, with what is in them."""
        if names:
            await self._must("podman cannot remove volumes", "volume", "rm", *names)

    async def network(self, name: str, label: str) -> str:
        """Have a network of this name; answers with the address of this machine in it, "" where it has none."""
        found = await self._run("network", "inspect", name)
        if found.code:
            await self._run("network", "create", "--label", label, name)
            found = await self._must(f"podman cannot create the network {name}", "network", "inspect", name)
        subnets = next(iter(_decode(found, list[_Network])), _Network()).subnets or ()
        return next((subnet.gateway for subnet in subnets if subnet.gateway), "")

    async def remove_networks(self, label: str) -> None:
        """Remove the networks that have a label."""
        done = await self._must(
            "podman cannot list networks", "network", "ls", "--filter", f"label={label}", "--format", "{{.Name}}"
        )
        if names := done.stdout.split():
            await self._must("podman cannot remove networks", "network", "rm", *names)

    async def _names(self, prefix: str, *arguments: str) -> list[str]:
        done = await self._must(f"`podman {arguments[0]} ls` failed", *arguments)
        return [name for name in done.stdout.split() if name.startswith(prefix)]

    async def _listed(self, *arguments: str, of: type[T]) -> T:
        done = await self._must(f"`podman {' '.join(arguments[:2])}` failed", *arguments)
        found: T = _decode(done, of)
        return found

    async def _must(self, what: str, *arguments: str, stdin: str = "") -> Completed:
        return _accept(what, await self._run(*arguments, stdin=stdin))

    async def _change(self, what: str, *arguments: str) -> None:
        work = self._speaking.run(["podman", *arguments], env=dict(self._environ), timeout=SLOW)
        _accept(what, await self._whole(work))

    async def _whole(self, work: Coroutine[Any, Any, Completed]) -> Completed:
        """Change pods, to the end: a podman that is killed leaves rules for ports behind that lead to dead addresses.

        Podman forgets them then, so the next pod with such a port cannot be reached until the machine is restarted.
        """

        def waits() -> None:
            if self._note is not None:
                self._note("Waiting for podman to end what it does. Another Ctrl-C leaves ports of pods unusable.")

        return await to_its_end(work, name="podman", waits=waits)

    async def _run(self, *arguments: str, stdin: str = "", limit: float = QUICK) -> Completed:
        return await self._runner.run(["podman", *arguments], stdin=stdin, env=dict(self._environ), timeout=limit)


def _accept(what: str, done: Completed) -> Completed:
    if done.code:
        why = _said(done)
        raise (PortTaken if isinstance(refused("podman", done.stderr), PortTaken) else ObolError)(what, why=why)
    return done


def _said(done: Completed) -> str:
    """Podman's own words about a failure: its last line may only count what the lines before it tell."""
    lines = [line.strip() for line in _ANSI.sub("", done.stderr).splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if not line.startswith(_PROGRESS)]
    return "; ".join((errors or lines)[-_SAID:]) or f"exit code {done.code}"


def _decode(done: Completed, kind: Any) -> Any:
    try:
        return msgspec.json.decode(done.stdout.strip() or "[]", type=kind)
    except msgspec.DecodeError as problem:
        raise ObolError("podman answers in a way that we do not understand", why=str(problem)) from None
