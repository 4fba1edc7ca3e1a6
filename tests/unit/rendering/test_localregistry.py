from __future__ import annotations

import json

import yaml

from obol.rendering.registries import local_registry_hosting


def test_document() -> None:
    """The ConfigMap is where tools look for it, and says where to push to and how nodes call that."""
    document = json.loads(local_registry_hosting("localhost:40003"))

    assert (document["apiVersion"], document["kind"]) == ("v1", "ConfigMap")
    assert document["metadata"] == {"name": "local-registry-hosting", "namespace": "kube-public"}
    assert list(document["data"]) == ["localRegistryHosting.v1"]
    assert yaml.safe_load(document["data"]["localRegistryHosting.v1"]) == {
        "host": "localhost:40003",
        "hostFromContainerRuntime": "localhost:40003",
    }
