"""What k3d is told, and what is read of a node's files: argument vectors and texts, no I/O.

Everything is on k3d's command line rather than in a configuration file of its own, whose format changes with k3d. All
clusters share one network of Docker that is there before them: k3d leaves such a network alone, so none can leak.

Every port is published with an address, the one of the API too: without one, k3d and Docker listen on all of them.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import yaml

from obol.rendering.names import HOME_LABEL, LOOPBACK, STACK_LABEL

DATA = "/data"
"""Where nodes see the stack's data directory."""

HTTP, HTTPS = 80, 443
WANTED_PORTS = ((80, HTTP), (8080, HTTP), (443, HTTPS), (8443, HTTPS))
"""Ports of this machine, and the ports of the ingress that they lead to."""

BOOT_SECONDS = 300
"""How long k3d gives a cluster to come up before it takes everything back."""

ARCHIVE_ROOT = "/etc"
NODE_REGISTRIES = f"{ARCHIVE_ROOT}/rancher/k3s/registries.yaml"
"""Where k3s looks for its mirrors, each time it starts."""

_OPEN_FILES = 26677
_FEATURE_GATES = "feature-gates=KubeletInUserNamespace=true"
_K3S_ARGUMENTS = (
    # Otherwise one large image holds up all others.
    "--kubelet-arg=serialize-image-pulls=false",
    f"--kubelet-arg={_FEATURE_GATES}",
    f"--kube-apiserver-arg={_FEATURE_GATES}",
)


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of this machine that leads to one of the ingress."""

    host: int
    ingress: int


@dataclass(frozen=True, slots=True)
class Creation:
    """A cluster that is to be made: one server, and a load balancer before it."""

    name: str
    stack_id: str
    image: str
    """The k3s that nodes run."""
    data: str
    """The absolute path of the stack's data directory."""
    network: str
    """One that is there: k3d leaves it alone then."""
    ports: tuple[PortMapping, ...]
    api_port: int
    """The port of this machine where the cluster's API is."""
    registries: str = ""
    """The path of a registries.yaml; "" for a cluster that pulls directly."""
    home: str = ""
    """The mark of the stack's directory, if it is to be found by it."""


def node_name(cluster: str) -> str:
    """The container of the one server of a cluster."""
    return f"k3d-{cluster}-server-0"


def create_arguments(creation: Creation) -> tuple[str, ...]:
    """What to tell k3d, without its own name."""
    mirrors = ("--registry-config", creation.registries) if creation.registries else ()
    return (
        *("cluster", "create", creation.name),
        *("--servers", "1", "--agents", "0", "--image", creation.image),
        *("--network", creation.network, *mirrors),
        *("--api-port", f"{LOOPBACK}:{creation.api_port}"),
        *_repeated("--port", (f"{LOOPBACK}:{port.host}:{port.ingress}@loadbalancer" for port in creation.ports)),
        *("--volume", f"{escaped(creation.data)}:{DATA}@all"),
        *_repeated("--k3s-arg", (f"{argument}@server:*" for argument in _K3S_ARGUMENTS)),
        *("--runtime-label", f"{STACK_LABEL}={creation.stack_id}@all"),
        *(("--runtime-label", f"{HOME_LABEL}={creation.home}@all") if creation.home else ()),
        *("--runtime-ulimit", f"nofile={_OPEN_FILES}:{_OPEN_FILES}"),
        # The person's own kubeconfig is none of our business.
        *("--kubeconfig-update-default=false", "--kubeconfig-switch-context=false"),
        *("--wait", "--timeout", f"{BOOT_SECONDS}s"),
    )


def escaped(path: str) -> str:
    """A path as k3d takes it: what follows an @ would be a choice of nodes."""
    return path.replace("@", r"\@")


def publish(busy: Collection[int], spare: Callable[[], int]) -> tuple[PortMapping, ...]:
    """Choose the ports of this machine: those of WANTED_PORTS that are not busy.

    Where none is left for a port of the ingress, `spare` gives one.
    """
    chosen = [PortMapping(host, ingress) for host, ingress in WANTED_PORTS if host not in busy]
    for ingress in (HTTP, HTTPS):
        if all(port.ingress != ingress for port in chosen):
            chosen.append(PortMapping(beside(chosen, spare), ingress))
    return tuple(chosen)


def beside(published: Iterable[PortMapping], spare: Callable[[], int]) -> int:
    """The first port that `spare` gives and that is not published yet; nothing listens on these before k3d does."""
    taken = {port.host for port in published}
    while (host := spare()) in taken:
        pass
    return host


def node_archive(registries: str) -> str:
    """A tar, to be unpacked in ARCHIVE_ROOT, with a registries.yaml; as text, which it is as long as that is ASCII."""
    data = registries.encode()
    member = tarfile.TarInfo(NODE_REGISTRIES.removeprefix(f"{ARCHIVE_ROOT}/"))
    member.size, member.mode = len(data), 0o600
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue().decode()


def mirrors_in(archive: str) -> dict[str, tuple[str, ...]]:
    """The endpoints of each registry by a registries.yaml that came out of a node in a tar.

    Nothing for an archive or a file that cannot be read: then k3s cannot use it either.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive.encode())) as unpacked:
            files = [unpacked.extractfile(member) for member in unpacked if member.isfile()]
            mirrors = yaml.safe_load(files[0] or b"")["mirrors"]
        return {str(name): tuple(map(str, mirror["endpoint"])) for name, mirror in mirrors.items()}
    except (tarfile.TarError, yaml.YAMLError, UnicodeError, LookupError, TypeError, AttributeError, ValueError):
        return {}


def on_loopback(kubeconfig: str) -> str:
    """A kubeconfig that names an address one can connect to, also of a cluster whose API listens on all of them."""
    return kubeconfig.replace("https://0.0.0.0:", f"https://{LOOPBACK}:")


def _repeated(flag: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in (flag, value))
