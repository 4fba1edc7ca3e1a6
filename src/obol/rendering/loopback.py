"""The name of an image at a cache on loopback, for clients whose own mirrors are not ours to set.

The host's Docker is such a client: it pulls k3s itself, the tools of k3d and the image of the cache containers, and
asks the registries directly. It takes 127.0.0.0/8 for a registry without TLS, so this name needs no setting of its.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.oci.errors import OciError
from obol.oci.references import ImageReference

if TYPE_CHECKING:
    from collections.abc import Mapping


LOOPBACK = "127.0.0.1"
"""The only address of this machine on which anything of a stack listens, beside those of its own networks."""


def loopback_name(image: str, ports: Mapping[str, int]) -> str:
    """Name `image` at the cache of its registry, by the loopback port of each.

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
