"""The ConfigMap by which a cluster tells tools such as Tilt and Skaffold of the registry to push into.

https://github.com/kubernetes/enhancements/tree/master/keps/sig-cluster-lifecycle/generic/1755-communicating-a-local-registry
"""

from __future__ import annotations

import json


def local_registry_hosting(host: str) -> str:
    """Render it for a registry that this machine and the nodes know by the same name, as in localhost:54103.

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
