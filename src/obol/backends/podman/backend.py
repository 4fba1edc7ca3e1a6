"""The stack's pods by `podman kube play`: no daemon, no Kubernetes.

What runs is known by a label with the stack's id, and what it was made of by a label with a digest: pods that are as
they should be are left alone, others are replaced, those of other stacks are never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends import masterkey
from obol.backends.podman.publishing import HeldPort, on_free_ports, publish
from obol.backends.podman.pulls import pull_missing
from obol.backends.podman.ready import Readiness
from obol.backends.ports import Deployed, Details, Up, Workload, never, no_caches
from obol.errors import ObolError, UsageError
from obol.machine import ports as machine_ports
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner, check_version
from obol.machine.files import make_private_directory
from obol.machine.podman import Podman
from obol.machine.probe import status_on_loopback
from obol.machine.regular import read_text, write_atomically
from obol.machine.scratch import Scratch
from obol.rendering import kubernetes
from obol.rendering.mirrors import registries_conf
from obol.rendering.names import LOOPBACK, STACK_LABEL
from obol.rendering.podman import (
    DIGEST_LABEL,
    WORKLOAD_LABEL,
    PlayedPod,
    PodmanStack,
    Port,
    images_of,
    ports_of,
    prefix,
    render,
)

if TYPE_CHECKING:
    from obol.backends.podman.publishing import Published
    from obol.backends.ports import BackendEnvironment, BackendName, ClusterSpec, ClusterState, Step, Watch
    from obol.machine.clock import Clock
    from obol.machine.podman import Installation, Pod
    from obol.machine.ports import PortProbe
    from obol.machine.probe import Probe
    from obol.rendering.podman import Played
    from obol.workloads.sources import ManifestFile

RUNNING = frozenset({"Running", "Degraded"})
"""States of a pod in which containers of it run, and its ports are held."""
OLDEST = (4, 3)
GATEWAY_WORKLOAD, MONITORING_WORKLOAD = "litellm", "prometheus"


@dataclass(frozen=True, slots=True)
class PodmanEnvironment:
    """How the backend sees this machine."""

    clock: Clock
    ports: PortProbe = machine_ports
    probe: Probe = status_on_loopback
    listen: Callable[[str], Awaitable[str | None]] = no_caches
    """Makes a registry cache answer on an address of this machine; gives host:port, or None where it does not."""


class PodmanBackend:
    """Stacks as pods of this user's podman; `config` is the directory of the stack."""

    name: BackendName = "podman"

    def __init__(self, podman: Podman, config: Path, around: PodmanEnvironment) -> None:
        self._podman = podman
        self._config = config
        self._folder = config / "podman"
        self._registries = config / "registries.conf"
        self._around = around
        self._readiness = Readiness(podman, self._folder, around.clock, around.probe)
        self._installation: Installation | None = None

    async def check(self) -> None:
        """Look whether podman can be used. Raises DependencyMissing, ObolError."""
        installed = await self._installed()
        check_version(
            "podman",
            ".".join(map(str, installed.version)),
            OLDEST,
            why="`podman kube play` is used as it is since 4.3",
            hint="install podman 4.3 or later: https://podman.io/docs/installation",
        )

    async def authorise(self) -> None:
        """Pods are the person's own."""

    async def state(self, stack_id: str) -> ClusterState:
        """Tell whether pods of this stack are there, and run."""
        pods = await self._podman.pods(_label(stack_id))
        if not pods:
            return "absent"
        return "running" if any(pod.status in RUNNING for pod in pods) else "stopped"

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        """Write down the mirrors for podman, and have the network; pods are started by `apply`."""
        installed = await self._installed()
        make_private_directory(self._folder)
        self._podman.sweep()
        if spec.mirrors and installed.remote:
            step.note("podman runs in a virtual machine, which does not reach the caches: it pulls images directly.")
        elif spec.mirrors:
            write_atomically(self._registries, registries_conf(spec.mirrors).encode())
        step("network")
        await self._podman.network(spec.name, _label(spec.stack_id))
        return Up(created=not await self._podman.pods(_label(spec.stack_id)))

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        """Make the pods as the manifests say, and wait until they answer.

        Raises UsageError for manifests that cannot be used, ObolError; what runs by then is left running.
        """
        documents = kubernetes.read((manifest.name, manifest.text) for manifest in manifests)
        key = masterkey.master_key(spec.config)
        secrets = {(masterkey.NAMESPACE, masterkey.SECRET): {masterkey.ENTRY: key}}
        caches = await self._cache_targets(spec, step)

        def rendered(published: Published) -> Played:
            stack = PodmanStack(spec.stack_id, str(self._folder), published.ports, secrets, key, caches)
            return render(documents, stack)

        async def choose(refused: Collection[int]) -> Published:
            held = await self._held(spec.stack_id)
            return publish(ports_of(documents), held, self._around.ports, refused)

        published = await on_free_ports(choose, lambda chosen: self._bring(spec, rendered(chosen), step))
        played = rendered(published)
        step.tell(published.notes)
        if played.left_out:
            step.note(f"podman has nothing for these, so obol leaves them out: {', '.join(played.left_out)}.")
        await self._readiness.wait(played, step, key)
        if MONITORING_WORKLOAD in (urls := dict(_urls(played.pods))):
            step.note(f"Prometheus answers on {urls[MONITORING_WORKLOAD]}.")
        return Deployed(urls.get(GATEWAY_WORKLOAD) or next(iter(urls.values()), ""))

    async def lacking(self, stack_id: str, images: Sequence[str]) -> Collection[str]:
        """Those images that podman does not have; none where it does not reach the caches. Raises ObolError."""
        del stack_id  # all stacks of a person have one store
        if (await self._installed()).remote:
            return ()
        return [image for image in images if not await self._podman.has_image(image)]

    async def details(self, stack_id: str) -> Details:
        """Look at the pods: how many of their containers run, and whether and where they answer. Raises ObolError."""
        label = _label(stack_id)
        pods, containers = await asyncio.gather(self._podman.pods(label), self._podman.containers(label))

        async def seen(pod: Pod) -> Workload:
            own = [one for one in containers if one.pod == pod.id]
            run = [one for one in own if one.state == "running"]
            name = pod.label(WORKLOAD_LABEL) or pod.name
            why = await self._readiness.trouble(name, [one.names[0] for one in own]) if run else ""
            ports = [port.host_port for one in own for port in one.ports or ()] if run else []
            url = f"http://{LOOPBACK}:{ports[0]}" if ports and not why else ""
            return Workload(name, max(0, len(run) - bool(why)), pod.members, why, url)

        found = await asyncio.gather(*map(seen, pods))
        return Details(workloads=tuple(sorted(found, key=lambda workload: workload.name)))

    async def down(self, stack_id: str) -> None:
        """Stop the pods; images, volumes and secrets stay. Raises ObolError."""
        await self._podman.stop(await self._podman.pods(_label(stack_id)))

    async def purge(self, stack_id: str, *, images: bool) -> None:
        """Remove what belongs to this stack; with `images`, also those that no other pod uses. Raises ObolError.

        The files that say which images these are go last, so that an interrupted purge can be repeated.
        """
        podman, label, named = self._podman, _label(stack_id), prefix(stack_id)
        used = {container.image for container in await podman.containers(label)}
        for path in self._folder.glob("*.yaml"):
            with contextlib.suppress(UsageError):  # a person has changed it
                used |= images_of(read_text(path))
        await podman.remove(await podman.pods(label))
        await podman.remove_secrets(await podman.secrets(named))
        await podman.remove_volumes(await podman.volumes(named))
        await podman.remove_networks(label)
        for image in sorted(used) if images else ():
            await podman.remove_image(image)
        self._registries.unlink(missing_ok=True)
        podman.sweep()
        if self._folder.is_dir():
            shutil.rmtree(self._folder)

    async def _held(self, stack_id: str) -> dict[Port, HeldPort]:
        """The ports that pods of this stack have, or had when they were stopped."""
        pods = {pod.id: pod for pod in await self._podman.pods(_label(stack_id))}
        return {
            Port(pods[container.pod].label(WORKLOAD_LABEL), published.container_port): HeldPort(
                published.host_port, pods[container.pod].status in RUNNING
            )
            for container in await self._podman.containers(_label(stack_id))
            if container.pod in pods
            for published in container.ports or ()
        }

    async def _cache_targets(self, spec: ClusterSpec, step: Step) -> tuple[str, ...]:
        """Where Prometheus can ask the caches for their figures."""
        if not spec.mirrors:
            return ()
        installed = await self._installed()
        if installed.rootless or installed.remote:
            step.note("Prometheus cannot ask the caches for figures: pods of a plain user do not reach loopback.")
            return ()
        gateway = await self._podman.network(spec.name, _label(spec.stack_id))
        with contextlib.suppress(ObolError):  # figures are no reason to fail
            if gateway and (target := await self._around.listen(gateway)):
                return (target,)
        return ()

    async def _bring(self, spec: ClusterSpec, played: Played, watch: Watch) -> None:
        """Start what is as it should be, replace the rest. Images are fetched before anything is taken away."""
        present = {pod.name: pod for pod in await self._podman.pods(_label(spec.stack_id))}
        changed = [pod for pod in played.pods if not await self._kept(pod, present.get(pod.name))]
        if not changed:
            return
        images = dict.fromkeys(image for pod in changed for image in pod.images)
        if spec.mirrors and not (await self._installed()).remote:
            with self._told(spec) as registries:
                await pull_missing(self._podman, images, registries, watch, spec.died)
        else:
            await pull_missing(self._podman, images, None, watch, never)
        for secret in played.secrets:
            await self._podman.create_secret(secret.name, secret.payload)
        for pod in changed:
            watch(f"{pod.workload}: starting")
            await self._replace(spec.name, pod, present.get(pod.name))

    async def _kept(self, pod: PlayedPod, present: Pod | None) -> bool:
        """Whether a pod is there as it should be; it runs then."""
        if present is None or present.label(DIGEST_LABEL) != pod.digest or present.members != len(pod.containers):
            return False
        if self._mark(pod).exists():
            return False
        if present.status == "Running":
            return True
        with self._marked(pod):
            return await self._podman.start(present)

    async def _replace(self, network: str, pod: PlayedPod, present: Pod | None) -> None:
        if present is not None:
            await self._podman.remove([present])
        there = set(await self._podman.volumes(""))
        await self._podman.remove_volumes([name for name in pod.volumes if name in there])
        for file in pod.files:
            path = self._folder / file.path.removeprefix(f"{self._folder}/")
            # Any user that the container runs as has to read it; the directory above is for us alone.
            path.parent.mkdir(mode=0o755, exist_ok=True)
            write_atomically(path, file.text.encode(), 0o644)
        path = self._folder / f"{pod.workload}.yaml"
        write_atomically(path, pod.text.encode())
        with self._marked(pod):
            await self._podman.play(path, network)

    def _mark(self, pod: PlayedPod) -> Path:
        return self._folder / f"{pod.workload}.starting"

    @contextlib.contextmanager
    def _marked(self, pod: PlayedPod) -> Iterator[None]:
        """A command that finds the mark knows that no other saw podman end what it was doing for this pod.

        The pod may say that it runs then, and not answer: podman makes the way to it after the container.
        """
        mark = self._mark(pod)
        mark.touch()
        yield
        mark.unlink()

    @contextlib.contextmanager
    def _told(self, spec: ClusterSpec) -> Iterator[Path]:
        """The configuration for the pulls of this `up`: with its own mirrors, which are not to be asked afterwards."""
        if not spec.own:
            yield self._registries
            return
        path = self._folder / "pulling.conf"
        write_atomically(path, registries_conf([*spec.own, *spec.mirrors]).encode())
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _installed(self) -> Installation:
        if self._installation is None:
            self._installation = await self._podman.installation()
        return self._installation


def _label(stack_id: str) -> str:
    return f"{STACK_LABEL}={stack_id}"


def _urls(pods: Iterable[PlayedPod]) -> Iterator[tuple[str, str]]:
    """Where workloads answer: each on the port of its readiness probe, or on its first."""
    for pod in pods:
        port = pod.ports.get(pod.check.port) if pod.check else next(iter(pod.ports.values()), None)
        if port is not None:
            yield pod.workload, f"http://{LOOPBACK}:{port}"


def build(around: BackendEnvironment) -> PodmanBackend:
    """Make the backend for this machine."""
    scratch = Scratch(around.config / "podman" / "pulls", around.environ.get("TMPDIR", ""))
    loud = SystemRunner(around.lines) if around.lines is not None else None
    podman = Podman(SystemRunner(), around.environ, loud, around.note, scratch)
    return PodmanBackend(podman, around.config, PodmanEnvironment(SystemClock(), listen=around.listen))
