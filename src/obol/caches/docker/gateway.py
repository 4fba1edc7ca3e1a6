"""The way of nodes to the builtin engine: the gateway of obol-net, which is an address of this machine.

The engine listens on loopback, where no container can reach it, and obol has it listen on the gateway too: never on all
addresses. Where Docker runs in a virtual machine the gateway is an address of that machine, and its name for ours leads
to our loopback. A name would do elsewhere as well, but k3d writes it into a node after k3s has started, and it is lost
with the node's next restart.

Obol tries from inside the network whether nodes get there before it configures any: a firewall that drops packets would
cost containerd 30 seconds for each request of each pull.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import structs

from obol.caches.containers.container import make_directory
from obol.caches.reachable import EVERYWHERE, LOOPBACK, Substitute, not_ours, recall, remember, settle
from obol.errors import EngineNotRunning, ObolError, PortTaken, StoreUnusable
from obol.machine import ports
from obol.machine.commands import last_line, plain
from obol.machine.docker.cli import CANNOT_RUN
from obol.machine.docker.errors import DockerFailed
from obol.registry.control.api import Listener
from obol.rendering.names import loopback_name
from obol.rendering.registries import Mirror

if TYPE_CHECKING:
    from obol.caches.builtin.process import BuiltinEngine
    from obol.caches.containers.plan import ContainersPlan
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Network
    from obol.machine.ports import PortProbe
    from obol.registry.control.api import EngineStatus


Firewall = Literal["ufw", "firewalld", ""]


def active_firewall(root: Path = Path("/")) -> Firewall:
    """Name the firewall that is switched on; "" where none of those we know is, or it cannot be told."""
    try:
        settings = (root / "etc/ufw/ufw.conf").read_text(errors="replace")
    except OSError:
        settings = ""
    if any(line.strip().lower() == "enabled=yes" for line in settings.splitlines()):
        return "ufw"
    return "firewalld" if "firewalld" in _programs(root / "proc") else ""


def opening(firewall: Firewall, bridge: str, ports: Sequence[int]) -> str:
    """The command that lets containers on `bridge` reach these ports of the host, and no other peer."""
    match firewall:
        case "ufw":
            return f"sudo ufw allow in on {bridge} to any port {_joined(ports, ':')} proto tcp"
        case "firewalld":
            # Docker puts its bridges into a zone of its own.
            wanted = _joined(ports, "-").split(",")
            return f"sudo firewall-cmd --zone=docker {' '.join(f'--add-port={span}/tcp' for span in wanted)}"
        case _:
            match = f"-m multiport --dports {_joined(ports, ':')}"
            return f"sudo iptables -I INPUT -i {bridge} -p tcp {match} -j ACCEPT"


def _joined(ports: Sequence[int], between: str) -> str:
    """Write ports that follow each other as a range: 54100:54102,54110."""
    spans: list[tuple[int, int]] = []
    for port in sorted(set(ports)):
        if spans and spans[-1][1] == port - 1:
            spans[-1] = (spans[-1][0], port)
        else:
            spans.append((port, port))
    return ",".join(str(first) if first == last else f"{first}{between}{last}" for first, last in spans)


def _programs(proc: Path) -> frozenset[str]:
    names = set()
    for path in proc.glob("[0-9]*/comm"):
        try:
            names.add(path.read_text(errors="replace").strip())
        except OSError:  # it has ended
            continue
    return frozenset(names)


HOST_OF_VM = "host.docker.internal"

_PATIENCE = 3
"""Seconds for a container to get an answer."""
_KILLED = 128
"""The exit code of a program that a signal ended is above it."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Where nodes may find the engine, as far as the host can tell."""

    network: Network
    mirrors: tuple[Mirror, ...]
    ports: tuple[int, ...]
    """Those of the endpoints."""
    loopback: Mapping[str, int]
    """By registry: where this machine itself finds the engine."""
    on_gateway: bool = False
    """Whether the gateway is an address of this machine."""
    substitutes: tuple[Substitute, ...] = ()
    """Ports of the gateway that differ from those on loopback, because these are taken there."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Nodes get there."""

    offer: Offer


@dataclass(frozen=True, slots=True)
class Unreached:
    """Nodes do not get there."""

    offer: Offer
    missed: tuple[Mirror, ...]
    why: str
    firewall: Firewall = ""
    remedy: str = ""
    """A command; "" where there is none for this."""
    imageless: bool = False
    """The image to try it with cannot be had: nothing is known of the way, and there will be no node either."""

    def __str__(self) -> str:
        """One line for a person."""
        if self.imageless:
            return f"obol could not try the way to the registry caches: {self.why}"
        endpoint = self.missed[0].endpoint
        told = f"the builtin cache engine cannot be reached from Docker's network {self.offer.network.name}"
        told += f" ({endpoint}: {self.why})"
        if self.remedy:
            told += f"; {self.firewall or 'a firewall'} may be in the way, and this opens it: {self.remedy}"
        return told


@dataclass(frozen=True, slots=True)
class _Missed:
    """A mirror that a container does not reach."""

    mirror: Mirror
    why: str
    tried: bool
    """False: it may be reachable; the attempt itself has failed."""


class GatewayMirrors:
    """Makes the running builtin engine one that nodes can reach."""

    def __init__(
        self,
        docker: Docker,
        caches: BuiltinEngine,
        plan: ContainersPlan,
        *,
        is_here: Callable[[str], bool] = ports.is_ours,
        probe: PortProbe = ports,
        firewall: Callable[[], Firewall] = active_firewall,
    ) -> None:
        """Of `plan` it is used where ports are remembered, and whose that is."""
        self._docker = docker
        self._caches = caches
        self._memory = plan.gateway_memory
        self._account = plan.account
        self._is_here = is_here
        self._probe = probe
        self._firewall = firewall

    async def offer(self, network: Network) -> Offer:
        """Have the engine listen where nodes can find it; safe to repeat.

        Raises EngineNotRunning, EngineUnresponsive, PortTaken where the gateway has no free port at all.
        """
        running = await asyncio.to_thread(self._caches.status)
        if running is None:
            raise EngineNotRunning("the cache engine is not running", hint="start it: `obol cache start`")
        loopback = loopback_ports(running.status)
        info = await self._docker.info()
        # A virtual machine or a rootless Docker may number its networks as this machine numbers its own.
        foreign = info.desktop or info.rootless or not network.gateway
        if foreign or not self._is_here(network.gateway):
            return _offered(network, HOST_OF_VM, loopback, loopback)
        chosen, substitutes = await asyncio.to_thread(self._listen, running.status, network.gateway, loopback)
        return replace(_offered(network, network.gateway, chosen, loopback), on_gateway=True, substitutes=substitutes)

    async def try_from_inside(
        self, offer: Offer, image: str, watch: Callable[[str], None] | None = None
    ) -> Reached | Unreached:
        """Ask each mirror for `/v2/` from a container on the network; `image` has a `wget`, as k3s has.

        An image that is not there is fetched, through the engine where that works; `watch` takes a line about it.
        """
        try:
            if not await self._docker.has_image(image):
                if watch is not None:
                    watch(f"pulling what k3d itself needs: {image}")
                await self._docker.obtain(image, through=loopback_name(image, offer.loopback))
        except DockerFailed as problem:
            return Unreached(offer, offer.mirrors, str(problem), imageless=True)
        tried = await asyncio.gather(*(self._try(offer.network, mirror, image) for mirror in offer.mirrors))
        missed = [found for found in tried if found is not None]
        if not missed:
            return Reached(offer)
        mirrors = tuple(found.mirror for found in missed)
        if not offer.on_gateway or not all(found.tried for found in missed):
            return Unreached(offer, mirrors, missed[0].why)
        firewall = self._firewall()
        return Unreached(offer, mirrors, missed[0].why, firewall, opening(firewall, offer.network.bridge, offer.ports))

    def _listen(
        self, status: EngineStatus, gateway: str, loopback: Mapping[str, int]
    ) -> tuple[dict[str, int], tuple[Substitute, ...]]:
        """Have every registry served on the gateway, on its loopback port where that is free."""
        served: dict[str, int] = {}
        for own in status.listeners:
            if own.address in {gateway, *EVERYWHERE} and served.get(own.registry) != loopback.get(own.registry):
                served[own.registry] = own.port
        remembered = recall(self._memory)
        missing = [Listener(name, gateway, port) for name, port in loopback.items() if name not in served]
        settled = settle(missing, remembered, self._probe)
        substitutes = {one.registry: not_ours(one, status.pid) for one in settled}
        for wanted in missing:
            known = substitutes.get(wanted.registry)
            port = self._open(structs.replace(wanted, port=known.port) if known else wanted)
            served[wanted.registry] = port
            if port != wanted.port:
                holder = known.holder if known else ""
                substitutes[wanted.registry] = Substitute(wanted.registry, wanted.port, port, holder)
        self._remember(remembered | substitutes, served)
        return {name: served[name] for name in loopback}, tuple(substitutes.values())

    def _open(self, wanted: Listener) -> int:
        try:
            return self._caches.listen(wanted).port
        except PortTaken:  # since we looked
            return self._caches.listen(structs.replace(wanted, port=0)).port

    def _remember(self, known: Mapping[str, Substitute], served: Mapping[str, int]) -> None:
        used = [substitute for name, substitute in known.items() if served.get(name) == substitute.port]
        with contextlib.suppress(
            OSError, StoreUnusable
        ):  # then the next engine may get other ports, and nodes are rewired
            if used:
                make_directory(self._memory, self._account)
            remember(self._memory, used)

    async def _try(self, network: Network, mirror: Mirror, image: str) -> _Missed | None:
        """Have a container ask for an answer."""
        # Docker may give every container the proxy of its user's settings, which k3d's nodes do not get.
        options = ("--network", network.name, "--env", "http_proxy=", "--entrypoint", "wget")
        arguments = ("-q", "-T", str(_PATIENCE), "-O", "/dev/null", f"{mirror.endpoint}/v2/")
        try:
            completed = await self._docker.run_once(image, arguments, options=options)
        except ObolError as problem:
            return _Missed(mirror, f"it cannot be tried: {problem}", tried=False)
        if completed.code == 0:
            return None
        why = last_line(plain(completed.stderr), f"wget failed with {completed.code}").removeprefix("wget: ")
        if completed.code in CANNOT_RUN or completed.code > _KILLED:
            return _Missed(mirror, f"it cannot be tried: {why}", tried=False)
        return _Missed(mirror, why, tried=True)


def _offered(network: Network, host: str, chosen: Mapping[str, int], loopback: Mapping[str, int]) -> Offer:
    mirrors = tuple(Mirror(registry, f"http://{host}:{port}") for registry, port in chosen.items())
    return Offer(network, mirrors, tuple(chosen.values()), loopback)


def loopback_ports(status: EngineStatus) -> dict[str, int]:
    """The port of each registry by which this machine reaches the engine, in the engine's own order."""
    reachable = (own for own in status.listeners if own.address in {*LOOPBACK, *EVERYWHERE})
    return {own.registry: own.port for own in reachable}
