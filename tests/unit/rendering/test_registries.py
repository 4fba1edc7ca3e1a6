import json
from pathlib import Path

import pytest
import yaml

from obol.rendering.registries import Mirror, local_registry_hosting, registries_yaml

GOLDEN = Path(__file__).parents[2] / "golden" / "registries"

BUILTIN = (
    Mirror("docker.io", "http://172.18.0.1:54100"),
    Mirror("ghcr.io", "http://172.18.0.1:54101"),
    Mirror("quay.io", "http://172.18.0.1:54102"),
)
CONTAINERS = (
    Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000"),
    Mirror("ghcr.io", "http://k3d-obol-ghcr-io.localhost:5000"),
    Mirror("quay.io", "http://k3d-obol-quay-io.localhost:5000"),
)
PUSH = Mirror("localhost:54103", "http://k3d-obol-local.localhost:5000", takes_pushes=True)


@pytest.mark.parametrize(
    ("name", "mirrors"),
    [
        ("builtin", BUILTIN),
        ("builtin-development", (*BUILTIN, PUSH)),
        ("containers", CONTAINERS),
        ("containers-development", (*CONTAINERS, PUSH)),
    ],
)
def test_golden(name: str, mirrors: tuple[Mirror, ...]) -> None:
    """The file of either engine is known to the byte; the push registry of development mode comes last."""
    assert registries_yaml(mirrors) == (GOLDEN / f"{name}.yaml").read_text()


def test_one_endpoint_each() -> None:
    """What k3s reads is one endpoint for each registry, in the order that was given."""
    read = yaml.safe_load(registries_yaml((PUSH, *BUILTIN)))

    expected = {mirror.registry: {"endpoint": [mirror.endpoint]} for mirror in (PUSH, *BUILTIN)}
    assert read == {"mirrors": expected}
    assert list(read["mirrors"]) == ["localhost:54103", "docker.io", "ghcr.io", "quay.io"]


def test_none() -> None:
    """Without mirrors the file is valid, and says nothing."""
    assert yaml.safe_load(registries_yaml(())) == {"mirrors": {}}


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
