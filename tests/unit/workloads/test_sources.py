from pathlib import Path
from typing import Any

import pytest
import yaml

from obol.errors import UsageError
from obol.workloads.sources import brought, packaged


def documents() -> list[dict[str, Any]]:
    """All that the stack applies."""
    return [document for manifest in packaged() for document in yaml.safe_load_all(manifest.text)]


def pods() -> list[dict[str, Any]]:
    """The pods of our Deployments."""
    return [document["spec"]["template"]["spec"] for document in documents() if document["kind"] == "Deployment"]


def test_packaged() -> None:
    """The stack's own manifests come with the package."""
    assert [manifest.name for manifest in packaged()] == ["litellm.yaml", "prometheus.yaml"]


def test_packaged_pods_are_careful() -> None:
    """No pod of ours runs as root or may become it, and none asks a registry for what the node has."""
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["imagePullPolicy"] == "IfNotPresent"


def test_packaged_gateway() -> None:
    """LiteLLM listens where its Service and its probes look, and takes its key from a Secret."""
    (container,) = next(pod for pod in pods() if pod["containers"][0]["name"] == "litellm")["containers"]

    assert container["args"] == ["--config", "/app/config.yaml", "--port", "4000"]
    assert container["ports"] == [{"name": "http", "containerPort": 4000}]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/liveliness"
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/readiness"
    assert container["env"][0]["name"] == "LITELLM_MASTER_KEY"
    assert "secretKeyRef" in container["env"][0]["valueFrom"]


def test_packaged_parts_fit() -> None:
    """What a pod mounts is there in its namespace, Services select a pod, and what is scraped is a Service."""
    found = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]): one for one in documents()}
    for (kind, namespace, _name), document in list(found.items()):
        if kind == "Deployment":
            assert ("Namespace", None, namespace) in found
            template = document["spec"]["template"]
            assert template["metadata"]["labels"] == document["spec"]["selector"]["matchLabels"]
            for volume in template["spec"]["volumes"]:
                assert "configMap" not in volume or ("ConfigMap", namespace, volume["configMap"]["name"]) in found
    scraped = yaml.safe_load(found["ConfigMap", "monitoring", "prometheus-config"]["data"]["prometheus.yml"])
    target = scraped["scrape_configs"][0]["static_configs"][0]["targets"][0]
    assert target == "litellm.llm.svc.cluster.local:4000"
    assert found["Service", "llm", "litellm"]["spec"]["ports"][0]["port"] == 4000
    assert found["Service", "monitoring", "prometheus"]["spec"]["ports"][0]["port"] == 9090


def test_brought(tmp_path: Path) -> None:
    """A file is taken whatever its name, a directory gives its manifests by name and nothing below them."""
    (tmp_path / "more").mkdir()
    for name in ("b.yml", "a.yaml", "c.json", "notes.txt", "more/d.yaml"):
        (tmp_path / name).write_text(f"# {name}")

    found = brought([tmp_path / "notes.txt", tmp_path])

    assert [manifest.text for manifest in found] == ["# notes.txt", "# a.yaml", "# b.yml", "# c.json"]
    assert found[0].name == str(tmp_path / "notes.txt")


def test_hidden_files_are_no_manifests(tmp_path: Path) -> None:
    """What we note beside our manifests, and what an editor leaves, is not deployed; one that is named is."""
    for name in ("a.yaml", ".written.json", ".#a.yaml"):
        (tmp_path / name).write_text("{}")

    assert [manifest.name for manifest in brought([tmp_path])] == [str(tmp_path / "a.yaml")]
    assert len(brought([tmp_path / ".written.json"])) == 1


@pytest.mark.parametrize(("name", "why"), [("nothing.yaml", "No such file"), ("empty", ".yaml"), ("odd.yaml", "UTF-8")])
def test_brought_in_vain(tmp_path: Path, name: str, why: str) -> None:
    """A path without a readable manifest is wrong usage, and is named."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd.yaml").write_bytes(b"a: \xff")

    with pytest.raises(UsageError) as caught:
        brought([tmp_path / name])

    assert name in caught.value.what
    assert why in caught.value.why
