"""What a stack is called by what runs it, and what an image is called at a cache on loopback."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from obol.oci.errors import OciError
from obol.oci.references import ImageReference

STACK_LABEL = "obol.cluster-id"
HOME_LABEL = "obol.home"
"""By it a cluster is found whose stack has lost its name; see `home_mark`."""
LOOPBACK = "127.0.0.1"
"""The only address of this machine on which anything of a stack listens, beside those of its own networks."""


def stack_name(stack_id: str) -> str:
    """The name of its cluster, network or node, and what the names of its other parts begin with."""
    return f"obol-stack-{stack_id}"


def home_mark(machine: str, config: str) -> str:
    """What stands for the configuration directory of a stack, by its absolute path, on one of many machines.

    Several machines may use one Docker, and on each of them the directory may be called the same.
    """
    return hashlib.sha256(f"{machine}\0{config}".encode(errors="surrogateescape")).hexdigest()[:24]


def loopback_name(image: str, ports: Mapping[str, int]) -> str:
    """Name `image` at the cache of its registry, by the loopback port of each: for clients whose mirrors are not ours.

    The host's Docker is one: it pulls k3s, the tools of k3d and the image of the cache containers, and asks the
    registries directly. It takes 127.0.0.0/8 for a registry without TLS, so this name needs no setting of its.

    "" where its registry has no cache, and for an image that is named by its digest: Docker can give a pulled image
    another tag, but not another digest's name.
    """
    try:
        reference = ImageReference.parse(image)
    except OciError:
        return ""
    port = ports.get(reference.registry)
    if port is None or reference.tag is None or reference.digest is not None:
        return ""
    return f"{LOOPBACK}:{port}/{reference.repository}:{reference.tag}"
