"""What a k3s on this machine itself is told: the text of its configuration file, no I/O.

Its pods ask the API at the address that the node advertises, and that cannot be loopback: a server which listens only
there has no working DNS. So the node gets a bridge of its own, on which nothing else is. Everything of k3s that listens
at all does so there or on loopback: other machines have no way to it, and a machine without a network, or with another
one each day, has the same node as ever. https://docs.k3s.io/installation/airgap#default-network-route does likewise,
and https://github.com/k3s-io/k3s/issues/11338 tells of a node that listens on such an interface alone.

All options are those of https://docs.k3s.io/cli/server and https://docs.k3s.io/cli/agent.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from obol.rendering.names import LOOPBACK, STACK_LABEL, stack_name

BRIDGE = "obol-k3s"
ADDRESS = "203.0.113.254"
"""Of TEST-NET-3, which is in no network that a machine can be in (RFC 5737)."""
NETWORK = f"{ADDRESS}/31"
CACHES = "127.54.0.1"
"""Of this machine's loopback: where the node alone asks the registry caches. It reads that once, and other
clients have 127.0.0.1, so what it was given can be told from what they were given."""
SERVICES = "10.43.0.0/16"
"""Addresses of Services, those that k3s has anyway."""

API, KUBELET = 6443, 10250
"""Ports that every Kubernetes node on a machine wants."""

_DISABLED = (
    "traefik",
    # It would publish ports of Services on all addresses of the machine.
    "servicelb",
    "local-storage",
)
_NAMES = (LOOPBACK, "localhost", "obol.stack")
_KUBELET = (
    # Otherwise one large image holds up all others.
    "serialize-image-pulls=false",
    # Shares of a disk mean nothing where a file system says that it has a size of 0.
    "eviction-hard=imagefs.available<1Gi,nodefs.available<1Gi,memory.available<100Mi",
    "eviction-soft=imagefs.available<2Gi,nodefs.available<2Gi,memory.available<200Mi",
    "eviction-soft-grace-period=imagefs.available=1m,nodefs.available=1m,memory.available=30s",
)


@dataclass(frozen=True, slots=True)
class Server:
    """A k3s that is to run."""

    stack_id: str
    data: str
    """The absolute path of the directory that is k3s's alone."""
    registries: str = ""
    """The path of a registries.yaml; "" for a node without caches."""


def server_config(server: Server) -> str:
    """Render the file for `k3s server --config`."""
    settings = {
        "data-dir": server.data,
        "node-name": stack_name(server.stack_id),
        "node-label": [f"{STACK_LABEL}={server.stack_id}"],
        "bind-address": ADDRESS,
        "https-listen-port": API,
        "advertise-address": ADDRESS,
        "node-ip": ADDRESS,
        "service-cidr": SERVICES,
        "tls-san": list(_NAMES),
        "flannel-iface": BRIDGE,
        # There is one node: nothing has to be carried to another, so nothing has to listen for it.
        "flannel-backend": "host-gw",
        "disable": list(_DISABLED),
        "kubelet-arg": list(_KUBELET),
        # A Service of type NodePort is a port of this machine: of the bridge alone.
        "kube-proxy-arg": [f"nodeport-addresses={ADDRESS}/32"],
        # Named here, because it is at home in /etc, where another k3s may have its own.
        **({"private-registry": server.registries} if server.registries else {}),
    }
    head = f"# Written by obol for the stack {server.stack_id}, anew by each `obol stack up`.\n"
    return head + yaml.safe_dump(settings, sort_keys=False, width=120, allow_unicode=True)


def data_in(config: str) -> str:
    """The data directory that a configuration file names; "" where it names none that is k3s's alone."""
    try:
        data = yaml.safe_load(config)["data-dir"]
    except (yaml.YAMLError, LookupError, TypeError):
        return ""
    return data if isinstance(data, str) and data.startswith("/") and data.endswith("/k3s") else ""
