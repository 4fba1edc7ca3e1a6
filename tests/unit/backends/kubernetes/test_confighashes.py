from __future__ import annotations

from typing import Any

import pytest
import yaml

from obol.backends.kubernetes.confighashes import ANNOTATION, restarting
from obol.rendering.podman import CACHE_TARGETS
from obol.workloads.sources import Manifest, packaged

POD = """\
      containers:
        - name: app
          envFrom: [{{configMapRef: {{name: {ref}}}}}]
          env: [{{name: KEY, valueFrom: {{secretKeyRef: {{name: {secret}, key: k}}}}}}]
      volumes:
        - name: a
          configMap: {{name: {volume}}}
        - name: b
          projected: {{sources: [{{configMap: {{name: {projected}}}}}, {{secret: {{name: other-secret}}}}]}}
        - name: c
          secret: {{secretName: third}}
"""


def config(text: str, name: str = "app", kind: str = "ConfigMap", entry: str = "config.yaml") -> str:
    """A ConfigMap or a Secret."""
    return f"kind: {kind}\nmetadata: {{name: {name}, namespace: llm}}\ndata: {{{entry}: '{text}'}}\n"


def workload(kind: str = "Deployment", **names: str) -> str:
    """A workload that takes its configuration from what is named."""
    given = {"ref": "x", "secret": "x", "volume": "x", "projected": "x"} | names
    head = f"kind: {kind}\nmetadata: {{name: app, namespace: llm}}\nspec:\n  template:\n    spec:\n"
    return head + POD.format(**given)


def marks(*texts: str) -> list[str | None]:
    """The hash in each workload of a manifest of these documents."""
    manifest = Manifest("mine.yaml", "---\n".join(texts))
    found: list[str | None] = []
    for document in yaml.safe_load_all(restarting((manifest,))[0].text):
        if "spec" in document:
            metadata: dict[str, Any] = document["spec"]["template"].get("metadata") or {}
            found.append((metadata.get("annotations") or {}).get(ANNOTATION))
    return found


@pytest.mark.parametrize("place", ["ref", "volume", "projected"])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_what_a_pod_reads(place: str, kind: str) -> None:
    """A workload is another one when a ConfigMap that it names says something else, and only then."""
    one = marks(config("a"), workload(kind, **{place: "app"}))

    assert one != [None]
    assert marks(config("a"), workload(kind, **{place: "app"})) == one
    assert marks(config("b"), workload(kind, **{place: "app"})) != one
    assert marks(config("a"), config("c", name="other"), workload(kind, **{place: "app"})) == one


def test_secrets() -> None:
    """Secrets count as well, in the environment and in volumes."""
    for name, names in (("app", {"secret": "app"}), ("other-secret", {}), ("third", {})):
        one = marks(config("a", name, "Secret"), workload(**names))
        assert one != [None]
        assert marks(config("b", name, "Secret"), workload(**names)) != one
        assert name == "app" or marks(config("a", name), workload(**names)) == [None]


def test_nothing_to_mark() -> None:
    """A workload whose configuration is not among the manifests stays as it is, byte for byte."""
    manifest = Manifest("mine.yaml", f"# mine\n{config('a')}---\n{workload(volume='elsewhere')}")

    assert restarting((manifest,)) == (manifest,)
    assert restarting((Manifest("empty.yaml", "# nothing\n"),)) == (Manifest("empty.yaml", "# nothing\n"),)


def test_other_namespaces() -> None:
    """What has the same name elsewhere is another one."""
    assert marks(config("a").replace("llm", "web"), workload(volume="app")) == [None]


def test_what_is_read_again() -> None:
    """What the program reads again by itself restarts nothing."""
    one = marks(config("a", entry=CACHE_TARGETS), workload(volume="app"))

    assert marks(config("b", entry=CACHE_TARGETS), workload(volume="app")) == one


def test_across_files() -> None:
    """A ConfigMap may be in another file than who reads it, and annotations of one's own stay."""
    theirs = workload(volume="app").replace("    spec:", "    metadata: {annotations: {mine: yes}}\n    spec:", 1)

    untouched, changed = restarting((Manifest("a.yaml", config("a")), Manifest("b.yaml", theirs)))

    assert untouched.text == config("a")
    annotations = yaml.safe_load(changed.text)["spec"]["template"]["metadata"]["annotations"]
    assert annotations.keys() == {"mine", ANNOTATION}


def test_the_models_of_the_gateway() -> None:
    """Adding a model to our own manifest restarts LiteLLM, and nothing else."""
    before = restarting(packaged())
    changed = [
        Manifest(one.name, one.text.replace("model_list: []", "model_list: [{model_name: x}]")) for one in packaged()
    ]

    after = restarting(changed)

    assert [one.text.count(ANNOTATION) for one in before] == [1, 1]
    assert [a.text == b.text for a, b in zip(after, before, strict=True)] == [False, True]
