"""What Docker has, as values, and how they are read out of the JSON of its command line.

Docker writes null where a list or a table is empty, and leaves out what a version does not know: both are read as
nothing. The environment of a container may hold secrets (k3s's token, among others), so it never shows in a repr, and
what msgspec says of unfit JSON names places, not contents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface

import msgspec

_LAYER = re.compile(r"(?P<layer>[0-9a-f]{12}): (?P<end>Pushed|Layer already exists|Mounted from .*)")


@dataclass(frozen=True, slots=True)
class DockerVersion:
    """Both ends of the connection."""

    client: str
    server: str


@dataclass(frozen=True, slots=True)
class DockerInfo:
    """The daemon."""

    version: str
    operating_system: str
    security_options: tuple[str, ...] = ()
    http_proxy: str = field(default="", repr=False)
    https_proxy: str = field(default="", repr=False)
    """What the daemon pulls by; either may hold a password."""
    no_proxy: str = ""
    mirrors: tuple[str, ...] = ()
    """Where it asks for images of Docker Hub first."""

    @property
    def desktop(self) -> bool:
        """Whether it runs in the virtual machine of Docker Desktop."""
        return "docker desktop" in self.operating_system.lower()

    @property
    def rootless(self) -> bool:
        """Whether it runs as a plain user, and its networks are not this machine's."""
        return any(option.partition(",")[0] == "name=rootless" for option in self.security_options)


@dataclass(frozen=True, slots=True)
class Network:
    """A network, and who is on it."""

    id: str
    name: str
    created: str = ""
    """As in 2026-11-24T06:42:47.123456789Z: compares as text among networks of one daemon."""
    labels: Mapping[str, str] = field(default_factory=dict)
    gateway: str = ""
    """Its IPv4 address; "" where there is none."""
    bridge: str = ""
    """The interface of the machine on which Docker runs."""
    attached: Mapping[str, str] = field(default_factory=dict)
    """Names of *running* containers by their IDs. Docker does not list those that are stopped."""


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A port of a container on an address of the host; "" is every address."""

    address: str
    port: int
    """0: Docker chooses one at each start."""
    inner: str
    """As in 5000/tcp."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container in whichever state."""

    id: str
    name: str
    status: str
    """created, running, paused, restarting, removing, exited or dead. State.Running, which Docker has too, is true for
    one that crashes again and again."""
    image: str = ""
    """As it was named when the container was made."""
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    """IDs by names; of a network that is gone meanwhile, too. The ID is "" until the container was first started."""
    published: tuple[PortBinding, ...] = ()
    mounts: Mapping[str, str] = field(default_factory=dict)
    """Source by path in the container."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    addresses: tuple[str, ...] = ()
    """Its IPv4 addresses, one for each network, while it runs."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image of Docker's own store."""

    id: str
    """As in sha256:…; of its configuration, or of its manifest where containerd keeps Docker's images."""
    tags: tuple[str, ...] = ()
    """Its names, shortened as Docker does."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push has moved."""

    sent: int
    """Layers that the registry did not have."""
    present: int
    """Layers that it had."""


class _Object(msgspec.Struct, rename="pascal"):
    """An object of Docker's JSON: its keys begin with a capital letter."""


class _Component(_Object):
    version: str


class _Version(_Object):
    client: _Component
    server: _Component | None = None


class _RegistryConfig(_Object):
    mirrors: list[str] | None = None


class _Info(_Object):
    server_version: str = ""
    operating_system: str = ""
    security_options: list[str] | None = None
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    registry_config: _RegistryConfig | None = None
    server_errors: list[str] | None = None


class _Subnet(_Object):
    gateway: str = ""


class _Ipam(_Object):
    config: list[_Subnet] | None = None


class _Endpoint(_Object):
    name: str = ""


class _Network(_Object):
    id: str
    name: str
    created: str = ""
    labels: dict[str, str] | None = None
    options: dict[str, str] | None = None
    ipam: _Ipam | None = msgspec.field(default=None, name="IPAM")
    containers: dict[str, _Endpoint] | None = None


class _Binding(_Object):
    host_ip: str = ""
    host_port: str = ""


class _HostConfig(_Object):
    port_bindings: dict[str, list[_Binding] | None] | None = None


class _Attachment(_Object):
    network_id: str = msgspec.field(default="", name="NetworkID")
    ip_address: str = msgspec.field(default="", name="IPAddress")


class _Networking(_Object):
    networks: dict[str, _Attachment | None] | None = None
    ports: dict[str, list[_Binding] | None] | None = None


class _State(_Object):
    status: str


class _Config(_Object):
    image: str = ""
    labels: dict[str, str] | None = None
    env: list[str] | None = None


class _Mount(_Object):
    source: str = ""
    destination: str = ""


class _Container(_Object):
    id: str
    name: str
    state: _State
    config: _Config
    host_config: _HostConfig
    network_settings: _Networking
    mounts: list[_Mount] | None = None


class _Image(_Object):
    id: str
    repo_tags: list[str] | None = None


class _Listed(_Object):
    id: str = msgspec.field(name="ID")


def read_version(text: str) -> DockerVersion:
    """Read `docker version`; "" for a server that has not answered. Raises msgspec.DecodeError, as all of these."""
    found = msgspec.json.decode(text, type=_Version)
    return DockerVersion(found.client.version, found.server.version if found.server else "")


def read_info(text: str) -> tuple[DockerInfo, tuple[str, ...]]:
    """Read `docker info`: the daemon, and what it complains of."""
    found = msgspec.json.decode(text, type=_Info)
    info = DockerInfo(
        found.server_version,
        found.operating_system,
        tuple(found.security_options or ()),
        found.http_proxy,
        found.https_proxy,
        found.no_proxy,
        tuple((found.registry_config.mirrors if found.registry_config else None) or ()),
    )
    return info, tuple(found.server_errors or ())


def read_networks(text: str) -> tuple[Network, ...]:
    """Read `docker network inspect`."""
    return tuple(_network(found) for found in msgspec.json.decode(text, type=list[_Network]))


def read_containers(text: str) -> tuple[Container, ...]:
    """Read `docker container inspect`."""
    return tuple(_container(found) for found in msgspec.json.decode(text, type=list[_Container]))


def read_images(text: str) -> tuple[Image, ...]:
    """Read `docker image inspect`."""
    return tuple(
        Image(found.id, tuple(found.repo_tags or ())) for found in msgspec.json.decode(text, type=list[_Image])
    )


def read_pushed(text: str) -> Pushed:
    """Read what `docker push` has said about each layer at last, into a pipe; one that is mounted is not sent."""
    ends = {found["layer"]: found["end"] for found in map(_LAYER.fullmatch, text.splitlines()) if found}
    sent = sum(end == "Pushed" for end in ends.values())
    return Pushed(sent, len(ends) - sent)


def read_ids(text: str) -> tuple[str, ...]:
    """Read the IDs out of a listing that has an object on each line."""
    return tuple(msgspec.json.decode(line, type=_Listed).id for line in text.splitlines() if line.strip())


def _network(found: _Network) -> Network:
    gateways = (subnet.gateway for subnet in (found.ipam.config or () if found.ipam else ()))
    return Network(
        id=found.id,
        name=found.name,
        created=found.created,
        labels=found.labels or {},
        gateway=_first_ipv4(gateways),
        bridge=(found.options or {}).get("com.docker.network.bridge.name") or f"br-{found.id[:12]}",
        attached={id_: endpoint.name for id_, endpoint in (found.containers or {}).items()},
    )


def _first_ipv4(addresses: Iterable[str]) -> str:
    """Old versions of Docker write the gateway with the length of its subnet's prefix."""
    for address in filter(None, addresses):
        try:
            found = ip_interface(address).ip
        except ValueError:
            continue
        if found.version == 4:
            return str(found)
    return ""


def _container(found: _Container) -> Container:
    wanted = found.host_config.port_bindings or {}
    real = found.network_settings.ports or {}
    attachments = found.network_settings.networks or {}
    pairs = (entry.partition("=") for entry in found.config.env or ())
    return Container(
        id=found.id,
        name=found.name.removeprefix("/"),
        status=found.state.status,
        image=found.config.image,
        labels=found.config.labels or {},
        networks={name: attachment.network_id if attachment else "" for name, attachment in attachments.items()},
        published=tuple(
            # What Docker chose is known while it runs only; what was asked for is always.
            PortBinding(binding.host_ip, _number(binding.host_port), inner)
            for inner, bindings in wanted.items()
            for binding in real.get(inner) or bindings or ()
        ),
        mounts={mount.destination: mount.source for mount in found.mounts or ()},
        environment={name: value for name, _, value in pairs},
        addresses=tuple(one.ip_address for one in attachments.values() if one is not None and one.ip_address),
    )


def _number(port: str) -> int:
    """A range of ports is not one yet."""
    return int(port) if port.isdecimal() else 0
