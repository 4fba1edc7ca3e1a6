"""What a cluster is told of registries.

registries.yaml says where the containerd of a k3s node looks for images before it asks their registry itself:
https://docs.k3s.io/installation/private-registry. Only the top key `mirrors` is written, and one endpoint for each
registry: k3s adds the registry itself as the last one, so that a cache which is not there costs no image. A ConfigMap
tells tools such as Tilt and Skaffold of the registry to push into:
https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from obol.rendering.quoting import basic_string


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where nodes get the images of one registry from."""

    registry: str
    """As it stands in references: docker.io, ghcr.io, localhost:54103."""
    endpoint: str
    """As in http://172.18.0.1:54100: plain HTTP, without a path."""
    takes_pushes: bool = False
    """It is the registry of development mode, which people push into under the same name."""


def registries_yaml(mirrors: Sequence[Mirror]) -> str:
    """Render the file, in the order of `mirrors`."""
    if not mirrors:
        return "mirrors: {}\n"
    return "mirrors:\n" + "".join(
        f"  {basic_string(mirror.registry)}:\n    endpoint:\n      - {mirror.endpoint}\n" for mirror in mirrors
    )


def local_registry_hosting(host: str) -> str:
    """Render the ConfigMap for a registry that this machine and the nodes know by the same name, as in localhost:54103.

    Pods do not know it by any name, so `hostFromClusterNetwork` is left out: "tools inside the cluster should assume
    the local registry is not available to them".
    """
    said = f"host: {json.dumps(host)}\nhostFromContainerRuntime: {json.dumps(host)}\n"
    metadata = {"name": "local-registry-hosting", "namespace": "kube-public"}
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"localRegistryHosting.v1": said},
    }
    return json.dumps(document)
