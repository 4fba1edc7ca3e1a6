"""k3d by its command line: versions, clusters, and an error of its own for each way in which it fails.

Its exit code is always 0 or 1, so what is there is read from its JSON. That JSON holds the tokens of all
clusters: only what is needed is decoded, and nothing of it gets into an error. Logs have colours even in a pipe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from obol.backends.ports import Node
from obol.errors import DependencyMissing, ObolError, PortTaken
from obol.machine.commands import check_version, masked, plain
from obol.machine.docker.errors import NoAddressPool, ports_named, refused

if TYPE_CHECKING:
    from obol.machine.commands import Completed, Runner

OLDEST = (5, 6)
QUICK = 30.0
START = 300.0
CREATE = 1800.0
"""Seconds: to ask, to start or to stop, and to create a cluster, which may fetch images."""

_INSTALL = "install k3d 5.6 or later: https://k3d.io/stable/#installation"
_PROBLEM = re.compile(r"(?:ERRO|FATA)\[\d+\]\s*(?P<text>.*)")
_ABOUT_ITSELF = ("Failed to create cluster >>> Rolling Back", "Cluster creation FAILED")


class NameTaken(ObolError):
    """There is a cluster of that name."""


class NetworkGone(ObolError):
    """A network that the cluster is on was removed."""


class HostPortTaken(PortTaken):
    """A port of this machine that was to lead to a cluster is another program's."""

    def __init__(self, what: str, *, why: str = "", hint: str = "", ports: frozenset[int] = frozenset()) -> None:
        super().__init__(what, why=why, hint=hint)
        self.ports = ports
        """Those that k3d names; none where it does not say."""


@dataclass(frozen=True, slots=True)
class Version:
    """Which k3d this is."""

    text: str

    @property
    def released(self) -> bool:
        """Whether it is a release, and not one that a person has built."""
        return re.match(r"v?\d+\.\d+", self.text) is not None

    @property
    def image_tag(self) -> str:
        """The tag of the images that k3d runs beside the nodes; one that was built by hand runs the latest."""
        return self.text.removeprefix("v") if self.released else "latest"


class _Binding(msgspec.Struct, frozen=True, rename="pascal"):
    host_port: str = ""


class _State(msgspec.Struct, frozen=True, rename="pascal"):
    running: bool = False


class _Node(msgspec.Struct, frozen=True, rename="camel"):
    role: str
    name: str = ""
    port_mappings: dict[str, list[_Binding] | None] | None = None
    state: _State = msgspec.field(name="State", default_factory=_State)


class _Network(msgspec.Struct, frozen=True):
    name: str = ""


class Cluster(msgspec.Struct, frozen=True, rename="camel"):
    """A cluster as `k3d cluster list` has it, as far as it matters here."""

    name: str
    nodes: list[_Node] | None = None
    servers_running: int = 0
    servers_count: int = 0
    network: _Network | None = None

    @property
    def runs(self) -> bool:
        """Whether all of it runs: the servers, and the load balancer through which they are reached."""
        balancers = [node.state.running for node in self.nodes or () if node.role == "loadbalancer"]
        return 0 < self.servers_count == self.servers_running and bool(balancers) and all(balancers)

    @property
    def stopped(self) -> bool:
        """Whether none of it runs."""
        return not any(node.state.running for node in self.nodes or ())

    @property
    def members(self) -> tuple[Node, ...]:
        """Its nodes; k3d has others beside them, for images."""
        return tuple(
            Node(one.name, one.role, one.state.running)
            for one in self.nodes or ()
            if one.role in {"server", "agent", "loadbalancer"}
        )

    @property
    def network_name(self) -> str:
        """The network that its nodes are on; "" where k3d does not know."""
        return self.network.name if self.network is not None else ""

    @property
    def host_ports(self) -> frozenset[int]:
        """Every port of this machine that leads to it."""
        mapped = (one for node in self.nodes or () for one in (node.port_mappings or {}).values())
        return frozenset(int(one.host_port) for all_ in mapped for one in all_ or () if one.host_port.isdecimal())

    def host_port(self, port: int) -> int | None:
        """The port of this machine that leads to one of the ingress; the smallest, if there are several."""
        mapped = ((node.port_mappings or {}).get(f"{port}/tcp") or () for node in self.nodes or ())
        ports = [int(one.host_port) for bindings in mapped for one in bindings if one.host_port.isdecimal()]
        return min(ports, default=None)


class _Versions(msgspec.Struct, frozen=True):
    k3d: str


class K3d:
    """The k3d of this machine. Methods raise ObolError for what it refuses, DependencyMissing where it is missing.

    `loud` runs what changes a cluster, whose log is for everybody; lists and kubeconfigs hold keys, and never go there.
    """

    def __init__(self, runner: Runner, loud: Runner | None = None) -> None:
        self._runner = runner
        self._loud = loud or runner

    async def version(self) -> Version:
        """Ask which one it is. Raises DependencyMissing for one that is too old."""
        done = await self._run("version", "-o", "json")
        try:
            found = msgspec.json.decode(done.stdout, type=_Versions).k3d
        except msgspec.DecodeError:
            found = ""  # those that have no JSON for it are years old
        if not found:
            raise DependencyMissing("k3d of this machine is too old", hint=_INSTALL)
        check_version("k3d", found, OLDEST, hint=_INSTALL)
        return Version(found)

    async def cluster(self, name: str) -> Cluster | None:
        """Look at a cluster; None where there is none."""
        done = await self._must("k3d cannot list clusters", "cluster", "list", "-o", "json")
        try:
            clusters = msgspec.json.decode(done.stdout, type=list[Cluster])
        except msgspec.DecodeError:
            raise ObolError("k3d lists clusters in a way that we do not understand", hint=_INSTALL) from None
        return next((cluster for cluster in clusters if cluster.name == name), None)

    async def create(self, arguments: Sequence[str]) -> None:
        """Make a cluster. Raises NameTaken, HostPortTaken, NoAddressPool besides."""
        await self._change("k3d could not create the cluster", *arguments, limit=CREATE)

    async def start(self, name: str) -> None:
        """Start what does not run of a cluster. Raises HostPortTaken besides."""
        await self._change("k3d could not start the cluster", "cluster", "start", name)

    async def stop(self, name: str) -> None:
        """Stop a cluster; its nodes keep their images."""
        await self._change("k3d could not stop the cluster", "cluster", "stop", name)

    async def delete(self, name: str) -> None:
        """Remove a cluster; none there is fine."""
        await self._change("k3d could not remove the cluster", "cluster", "delete", name)

    async def kubeconfig(self, name: str) -> str:
        """The kubeconfig of a cluster: with a key in it."""
        done = await self._must("k3d gives no kubeconfig for the cluster", "kubeconfig", "get", name)
        return done.stdout

    async def _must(self, what: str, *arguments: str) -> Completed:
        return _succeeded(what, await self._run(*arguments))

    async def _change(self, what: str, *arguments: str, limit: float = START) -> None:
        _succeeded(what, await self._run(*arguments, limit=limit, by=self._loud))

    async def _run(self, *arguments: str, limit: float = QUICK, by: Runner | None = None) -> Completed:
        try:
            return await (by or self._runner).run(["k3d", *arguments], timeout=limit)
        except DependencyMissing as problem:
            raise DependencyMissing("k3d is not installed", why=problem.why, hint=_INSTALL) from problem


def _succeeded(what: str, done: Completed) -> Completed:
    if done.code:
        raise _failed(what, plain(done.stderr), done.code)
    return done


def _taken(why: str, ports: frozenset[int]) -> HostPortTaken:
    numbers = " or ".join(map(str, sorted(ports)))
    named = f"port {numbers}" if numbers else "a port"
    hint = "stop what holds it (see `docker ps` and `ss -ltnp`), then run `obol stack up` again"
    return HostPortTaken(f"{named} of this machine is taken", why=why, hint=hint, ports=ports)


def _failed(what: str, said: str, code: int) -> ObolError:
    """Tell apart why k3d failed: by itself, or because of Docker, which it lets have its say."""
    said = masked(said)
    problems = [found["text"] for found in map(_PROBLEM.search, said.splitlines()) if found]
    telling = [text for text in problems if not text.startswith(_ABOUT_ITSELF)]
    why = "; ".join(dict.fromkeys(telling or problems or said.splitlines()[-1:])) or f"exit code {code}"
    match refused("k3d", said):
        case (DependencyMissing() | NoAddressPool()) as trouble:
            return trouble
        case PortTaken():
            return _taken(why, ports_named(said))
    if "a cluster with that name already exists" in said:
        hint = "another `obol stack up` may be at work: wait for it, then run `obol stack up` again"
        return NameTaken("there is a cluster of that name already", why=why, hint=hint)
    if "network" in said and "not found" in said:
        hint = "run `obol stack purge`, then `obol stack up`: its images come from the caches"
        return NetworkGone(what, why=f"the network that it was in is gone ({why})", hint=hint)
    return ObolError(what, why=why, hint="see what `k3d cluster list` and `docker ps -a` say, then repeat the command")
