"""Stacks as clusters of k3d: k3s in Docker.

Every step looks first at what is there, so that it can be repeated after an interruption at any point. What cannot be
seen is whether a cluster that is there was made to its end: a file says so while one is being made.

A node learns its mirrors when it is made. One that learned others than are wanted now is stopped, given these, and
started again, so that no cluster pulls past the caches, or asks caches that are not there, without a word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from obol.backends.k3d.cli import HostPortTaken, K3d, NameTaken, NetworkGone
from obol.backends.k3d.hostimages import HostImages
from obol.backends.k3d.node import NodeDocker
from obol.backends.k3d.ports import choose, holder_of
from obol.backends.kubernetes.api import Access, api_status, wait_for_api
from obol.backends.kubernetes.deploying import GATEWAY, announce, deploy, gateway, ingress_url, scraping
from obol.backends.kubernetes.kubectl import kubectl_for, kubectl_of_node
from obol.backends.ports import Details, Up, Workload
from obol.errors import ObolError
from obol.machine import ports as machine_ports
from obol.machine.clock import SystemClock
from obol.machine.commands import SystemRunner, check_version
from obol.machine.docker.cli import Docker
from obol.machine.docker.errors import DockerFailed
from obol.machine.files import failing_as
from obol.machine.ports import listens
from obol.machine.probe import status_on_loopback
from obol.machine.regular import read_text, write_atomically
from obol.rendering.k3d import HTTP, Creation, create_arguments, node_name, on_loopback
from obol.rendering.names import stack_name
from obol.rendering.registries import registries_yaml
from obol.workloads import k3s

if TYPE_CHECKING:
    from obol.backends.k3d.cli import Cluster
    from obol.backends.k3d.ports import Chosen
    from obol.backends.kubernetes.api import ApiProbe
    from obol.backends.kubernetes.kubectl import Kubectl
    from obol.backends.ports import BackendEnvironment, BackendName, ClusterSpec, ClusterState, Deployed, Step
    from obol.machine.clock import Clock
    from obol.machine.commands import Runner
    from obol.machine.ports import PortProbe
    from obol.machine.probe import Probe
    from obol.workloads.sources import ManifestFile

REGISTRIES, KUBECONFIG, BEING_MADE = "registries.yaml", "kubeconfig.yaml", ".k3d-being-made"
"""Files in the directory of the stack; the last holds the name of a cluster for as long as it is being made."""

OLDEST_DOCKER = (20, 10)
CREATIONS = 5
"""How often a cluster is tried to be made, each time on other ports."""


@dataclass(frozen=True, slots=True)
class K3dEnvironment:
    """How the backend sees this machine."""

    environ: Mapping[str, str]
    """What kubectl gets, besides the kubeconfig."""
    network: Callable[[], Awaitable[str]]
    """Makes sure that the network of all clusters is there, and gives its name."""
    clock: Clock = field(default_factory=SystemClock)
    ports: PortProbe = machine_ports
    listens: Callable[[int], bool] = listens
    probe: Probe = status_on_loopback
    api: ApiProbe = api_status
    home: str = ""
    """The mark of the stack's directory; see `rendering.names`."""
    loud: Runner | None = None
    """Runs commands whose output may be shown to people; see `SystemRunner`."""


class K3dBackend:
    """Clusters of the k3d of this machine; `config` is the directory of the stack."""

    name: BackendName = "k3d"

    def __init__(self, runner: Runner, config: Path, around: K3dEnvironment) -> None:
        self._runner = runner
        self._docker = Docker(runner, around.loud)
        self._node = NodeDocker(runner, self._docker)
        self._k3d = K3d(runner, around.loud)
        self._images = HostImages(self._docker, around.environ)
        self._config = config
        self._around = around

    async def check(self) -> None:
        """Look whether Docker and k3d can be used. Raises DependencyMissing, ObolError."""
        server = (await self._docker.version()).server
        hint = "install a newer one: https://docs.docker.com/get-docker/"
        check_version("Docker", server, OLDEST_DOCKER, why="k3d needs 20.10 or later", hint=hint)
        await self._k3d.version()

    async def authorise(self) -> None:
        """A person who may use Docker may do it all."""

    async def state(self, stack_id: str) -> ClusterState:
        """Tell whether the cluster is there, and runs. Raises ObolError."""
        cluster = await self._k3d.cluster(stack_name(stack_id))
        if cluster is None:
            return "absent"
        return "running" if cluster.runs else "stopped"

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        """Make the cluster, or start it, and wait until its API answers. Raises ObolError, NoAddressPool, PortTaken."""
        cluster = await self._k3d.cluster(spec.name)
        if cluster is not None and (not cluster.servers_count or (self._was_being_made(spec) and not cluster.runs)):
            step("removing what an interrupted start has left")
            await self._remove(spec.name)
            cluster = None
        await (self._create(spec, step) if cluster is None else self._revive(spec, cluster, step))
        self._being_made.unlink(missing_ok=True)
        step("waiting for the cluster's API")
        kubeconfig = on_loopback(await self._k3d.kubeconfig(spec.name))
        self._write(KUBECONFIG, kubeconfig)
        await wait_for_api(Access.of(kubeconfig), self._around.clock, self._around.api)
        return Up(created=cluster is None)

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        """Bring the manifests to the cluster and wait until their Deployments are ready.

        Raises ObolError, UsageError; the cluster is left running.
        """
        kubectl = await self.kubectl(spec.stack_id)
        await deploy(kubectl, self._config, scraping(manifests, spec.mirrors), step)
        await announce(kubectl, spec.mirrors)
        cluster = await self._k3d.cluster(spec.name)
        port = cluster.host_port(HTTP) if cluster is not None else None
        return await gateway(kubectl, manifests, port, self._around.probe, step)

    async def kubectl(self, stack_id: str) -> Kubectl:
        """The kubectl for a cluster that runs. Raises ObolError."""
        return await kubectl_for(
            self._runner,
            self._around.clock,
            environ=self._around.environ,
            kubeconfig=self._config / KUBECONFIG,
            otherwise=kubectl_of_node(self._runner, self._around.clock, node_name(stack_name(stack_id))),
            loud=self._around.loud,
        )

    async def mirrors(self, stack_id: str) -> Mapping[str, Sequence[str]]:
        """The endpoints of each registry that the nodes were told of. Raises ObolError."""
        return await self._node.mirrors(node_name(stack_name(stack_id)))

    async def addresses(self, stack_id: str) -> frozenset[str]:
        """The addresses from which the nodes ask. Raises ObolError."""
        return await self._node.addresses(stack_name(stack_id))

    async def lacking(self, stack_id: str, images: Sequence[str]) -> Collection[str]:
        """Those images that a node of the cluster may still ask for: all, where it does not run. Raises ObolError."""
        cluster = await self._k3d.cluster(stack_name(stack_id))
        if cluster is None or not cluster.runs:
            return images
        there = await (await self.kubectl(stack_id)).images()
        return [image for image in images if image not in there]

    async def details(self, stack_id: str) -> Details:
        """Look at nodes and Deployments. Raises ObolError."""
        cluster = await self._k3d.cluster(stack_name(stack_id))
        if cluster is None or not cluster.runs:
            return Details(cluster.members if cluster is not None else ())
        kubectl = await self.kubectl(stack_id)
        port = cluster.host_port(HTTP)
        url = ingress_url(port) if port is not None else ""
        return Details(
            cluster.members,
            tuple(
                Workload(
                    one.deployment.name,
                    one.ready,
                    one.wanted,
                    ", ".join(one.reasons),
                    url if one.deployment == GATEWAY and one.done else "",
                )
                for one in await kubectl.deployed()
            ),
        )

    async def down(self, stack_id: str) -> None:
        """Stop the cluster; its nodes keep their images. None there is fine. Raises ObolError."""
        cluster = await self._k3d.cluster(stack_name(stack_id))
        if cluster is not None and not cluster.stopped:
            await self._k3d.stop(cluster.name)

    async def purge(self, stack_id: str, *, images: bool) -> None:
        """Remove the cluster and what belongs to it. None there is fine. Raises ObolError where it is still there."""
        del images  # a node's go with the node
        await self._remove(stack_name(stack_id))
        for name in (KUBECONFIG, REGISTRIES, BEING_MADE):
            (self._config / name).unlink(missing_ok=True)

    async def _remove(self, name: str) -> None:
        """Let k3d remove a cluster, and Docker what k3d leaves. Raises what k3d said if that did not help either."""
        problem: ObolError | None = None
        try:
            await self._k3d.delete(name)
        except ObolError as failed:
            problem = failed
        await self._node.remove_remains(name)
        if problem is not None and await self._node.has_remains(name):
            raise problem

    async def _create(self, spec: ClusterSpec, step: Step) -> None:
        registries = self._write_registries(spec) if spec.mirrors else ""
        data = self._data_directory(spec)
        # Docker has no mirrors, as nodes have: its images come by the caches where these can be had.
        await self._images.obtain(await self._k3d.version(), spec.loopback if spec.mirrors else {}, step)
        network = await self._around.network()
        refused: frozenset[int] = frozenset()
        problem = ""
        for _ in range(CREATIONS):
            chosen = self._chosen(refused)
            ports = (chosen.ingress, chosen.api)
            creation = Creation(
                spec.name, spec.stack_id, k3s.NODE_IMAGE, data, network, *ports, registries, self._around.home
            )
            step("creating the cluster once more, on other ports" if refused else "creating the cluster")
            if (taken := await self._make(creation)) is None:
                step.tell([one.note(await self._holder(one.port)) for one in chosen.taken])
                return
            # Another program was faster. Where k3d does not say with which of them, none is tried again.
            refused |= (taken.ports & chosen.all) or chosen.all
            problem = taken.why
        raise HostPortTaken(
            "the ports that were free for the cluster were taken again and again",
            why=problem,
            hint="wait until other commands that take ports have ended, then run `obol stack up` again",
        )

    async def _holder(self, port: int) -> str:
        return await holder_of(self._docker, self._around.ports, port)

    def _chosen(self, refused: frozenset[int]) -> Chosen:
        try:
            return choose(self._around.ports, self._around.listens, refused)
        except OSError as problem:
            raise HostPortTaken("no port is free for the cluster", why=problem.strerror or "") from problem

    async def _make(self, creation: Creation) -> HostPortTaken | None:
        """Have k3d make the cluster; gives why it could not, where nothing is left of it and other ports may do."""
        self._write(BEING_MADE, f"{creation.name}\n")
        try:
            await self._k3d.create(create_arguments(creation))
        except NameTaken:
            self._being_made.unlink(missing_ok=True)  # it is another's: nothing of it is ours to remove
            raise
        except ObolError as problem:
            with contextlib.suppress(ObolError):  # what k3d said matters more; the next `up` removes what is left
                await self._node.remove_remains(creation.name)
                if not await self._node.has_remains(creation.name):
                    self._being_made.unlink(missing_ok=True)
                    if isinstance(problem, HostPortTaken):
                        return problem
            raise await self._images.explained(problem) from problem
        return None

    async def _revive(self, spec: ClusterSpec, cluster: Cluster, step: Step) -> None:
        """Start a cluster that does not run, and have its nodes know the mirrors that are wanted now."""
        if spec.mirrors:
            self._write_registries(spec)
        wanted = {mirror.registry: (mirror.endpoint,) for mirror in spec.mirrors}
        known = await self._node.mirrors(node_name(spec.name))
        if known != wanted:
            if not cluster.stopped:
                step("stopping the cluster, to tell it where the registry caches are")
                await self._k3d.stop(spec.name)
            step.note(await self._rewire(spec, has_mirrors=bool(known)))
        if spec.mirrors and (theirs := cluster.network_name) not in {"", await self._around.network()}:
            step.note(
                f"The cluster was made on the network {theirs}, where the registry caches may not be reached: "
                "`obol stack purge` and `obol stack up` make one that uses them."
            )
        if known != wanted or not cluster.runs:
            step("starting the cluster")
            await self._start(cluster, step)

    async def _start(self, cluster: Cluster, step: Step) -> None:
        """Start it, on a new network of ours if the one that it was on was removed meanwhile.

        Its ports are those that it was made with, so one that is taken meanwhile has to be given back.
        """
        try:
            try:
                await self._k3d.start(cluster.name)
            except NetworkGone:
                if not await self._rejoin(cluster.name):
                    raise
                await self._k3d.start(cluster.name)
                step.note("The network of the cluster had been removed: the cluster is on a new one now.")
        except HostPortTaken as problem:
            taken = problem.ports & cluster.host_ports
            holders = [await self._holder(port) for port in sorted(taken)]
            by = f" by {' and '.join(dict.fromkeys(filter(None, holders)))}" if any(holders) else ""
            raise HostPortTaken(
                f"{problem.what}{by}",
                why=f"the cluster was made with it ({problem.why})",
                hint="stop what holds it, and run `obol stack up` again; or `obol stack purge` and `obol stack up` make"
                " the cluster on ports that are free: its data stays, and its images come from the caches",
                ports=problem.ports,
            ) from problem

    async def _rejoin(self, name: str) -> bool:
        with contextlib.suppress(DockerFailed):
            return await self._node.rejoin(name, await self._around.network())
        return False

    async def _rewire(self, spec: ClusterSpec, *, has_mirrors: bool) -> str:
        """Tell a node, which is stopped, of the mirrors; answers with what to tell the person."""
        try:
            await self._node.write_registries(node_name(spec.name), _registries(spec))
        except ObolError as problem:
            now = "asks registry caches that are not there any more" if has_mirrors else "pulls images directly"
            return f"The cluster {now} ({problem}): `obol stack purge` and `obol stack up` make one that does not."
        if not spec.mirrors:
            return "The cluster had been told of registry caches: it was restarted, and pulls images directly now."
        if has_mirrors:
            return "The registry caches are elsewhere now: the cluster was restarted to find them."
        return "The cluster had been made without registry caches: it was restarted, and uses them now."

    def _data_directory(self, spec: ClusterSpec) -> str:
        """Make the directory that the nodes see. Raises ObolError."""
        path = spec.data.absolute()
        if ":" in str(path):
            raise ObolError(
                f"the data directory {path} cannot be given to a container",
                why="Docker takes what follows the colon in its name for something else",
                hint="set OBOL_DATA_DIR to another one",
            )
        with failing_as(f"the data directory {path} cannot be made"):
            path.mkdir(parents=True, exist_ok=True)
        return str(path)

    @property
    def _being_made(self) -> Path:
        return self._config / BEING_MADE

    def _was_being_made(self, spec: ClusterSpec) -> bool:
        try:
            return read_text(self._being_made).strip() == spec.name
        except (OSError, UnicodeError):
            return False

    def _write_registries(self, spec: ClusterSpec) -> str:
        self._write(REGISTRIES, _registries(spec))
        return str(self._config / REGISTRIES)

    def _write(self, name: str, text: str) -> None:
        """Write a file of ours for us alone. Raises ObolError."""
        path = self._config / name
        with failing_as(f"{path} cannot be written", "look at the permissions of that directory"):
            self._config.mkdir(mode=0o755, parents=True, exist_ok=True)
            write_atomically(path, text.encode())


def _registries(spec: ClusterSpec) -> str:
    return registries_yaml(spec.mirrors)


def build(around: BackendEnvironment) -> K3dBackend:
    """Make the backend for this machine."""
    loud = SystemRunner(around.lines) if around.lines is not None else None
    return K3dBackend(
        SystemRunner(), around.config, K3dEnvironment(around.environ, around.network, home=around.mark, loud=loud)
    )
