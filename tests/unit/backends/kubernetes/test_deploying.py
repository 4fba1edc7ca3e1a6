import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from obol.backends.kubernetes.deploying import ANNOTATION, announce, deploy, gateway, restarting, scraping
from obol.backends.kubernetes.kubectl import Kubectl
from obol.backends.ports import Deployed, Step
from obol.errors import ObolError, UsageError
from obol.rendering.kubernetes import encode
from obol.rendering.podman import CACHE_TARGETS
from obol.rendering.registries import Mirror
from obol.workloads.sources import ManifestFile, packaged
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import FakeMachine

KEY_FILE = "litellm-master-key"
OTHER = ManifestFile("mine.yaml", "kind: ConfigMap\nmetadata: {name: mine}\n")


def kubectl(machine: FakeMachine) -> Kubectl:
    """The kubectl of a machine."""
    return Kubectl(machine, FakeClock(), ("kubectl",), "kubectl", {"PATH": "/bin"})


class Answers:
    """A `Probe` that gives one answer after another; the last one stays."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, str]] = []

    async def __call__(self, port: int, path: str) -> int | None:
        self.asked.append((port, path))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_deploy(tmp_path: Path) -> None:
    """Namespaces come first, then the key, then the manifests as they are; then it is waited for the Deployments."""
    machine, lines = FakeMachine(), list[str]()

    await deploy(kubectl(machine), tmp_path, packaged(), lines.append)

    sent = [ran.stdin for ran in machine.ran]
    assert machine.lines[:-1] == ["kubectl apply -f -"] * 5
    assert ['"kind": "Namespace"' in text for text in sent[:2]] == [True, True]
    assert '"kind": "Secret"' in sent[2]
    assert sent[3:5] == [manifest.text for manifest in restarting(packaged())]
    assert lines == ["applying litellm.yaml", "applying prometheus.yaml", "litellm: ready", "prometheus: ready"]


async def test_the_key(tmp_path: Path) -> None:
    """The key is made once, kept for us alone, and is what the cluster gets."""
    machine = FakeMachine()

    for _ in range(2):
        await deploy(kubectl(machine), tmp_path, packaged(), lambda _: None)

    key = (tmp_path / KEY_FILE).read_text().strip()
    assert key.startswith("sk-")
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert machine.ran[2].stdin == machine.ran[8].stdin
    assert machine.applied["Secret", "litellm-keys"]["data"] == {"master-key": encode(key)}
    assert machine.applied["Secret", "litellm-keys"]["metadata"]["namespace"] == "llm"


async def test_the_key_stays_hidden(tmp_path: Path) -> None:
    """The key is in no argument vector, environment, line or error, plain or as a Secret has it."""
    machine, lines = FakeMachine(), list[str]()
    await deploy(kubectl(machine), tmp_path, packaged(), lines.append)
    key = (tmp_path / KEY_FILE).read_text().strip()
    for _ in range(2):
        machine.script("kubectl", "apply")
    machine.script("kubectl", "apply", code=1, stderr=f"cannot patch {encode(key)} with {key}")

    with pytest.raises(ObolError, match="cannot patch … with …") as caught:
        await deploy(kubectl(machine), tmp_path, packaged(), lines.append)

    told = [*machine.lines, *(str(ran.env) for ran in machine.ran), *lines, str(caught.value), caught.value.hint]
    assert not any(word in text for text in told for word in (key, encode(key)))


async def test_without_a_gateway(tmp_path: Path) -> None:
    """Manifests without the gateway's namespace need no key."""
    machine = FakeMachine()

    await deploy(kubectl(machine), tmp_path, [OTHER], lambda _: None)

    assert list(machine.applied) == [("ConfigMap", "mine")]
    assert not (tmp_path / KEY_FILE).exists()


async def test_no_manifest(tmp_path: Path) -> None:
    """A manifest that cannot be read is told before anything is applied."""
    machine = FakeMachine()

    with pytest.raises(UsageError, match=r"mine\.yaml"):
        await deploy(kubectl(machine), tmp_path, [*packaged(), ManifestFile("mine.yaml", "a: [")], lambda _: None)

    assert machine.ran == []


@pytest.mark.parametrize(("port", "url"), [(80, "http://localhost"), (8080, "http://localhost:8080")])
async def test_gateway(port: int, url: str) -> None:
    """It is waited until the gateway itself answers by the ingress; the usual port is not told."""
    by, probe, lines = kubectl(FakeMachine()), Answers(None, 404, 502, 200), list[str]()

    assert await gateway(by, packaged(), port, probe, Step(lines.append)) == Deployed(url)

    assert probe.asked == [(port, "/health/readiness")] * 4
    assert lines == [f"waiting for {url}"]


@pytest.mark.parametrize(("status", "said"), [(None, "does not answer there"), (404, "says 404 there")])
async def test_ingress_does_not_come(status: int | None, said: str) -> None:
    """An ingress that does not lead to the gateway is a note with how to look: the stack itself is up."""
    step = Step(print)
    deployed = await gateway(kubectl(FakeMachine()), packaged(), 80, Answers(status), step)

    assert deployed.url == "http://localhost"
    assert said in step.notes[0]
    assert "kubectl -n kube-system get pods" in step.notes[0]


@pytest.mark.parametrize(("manifests", "port"), [(packaged(), None), ([OTHER], 80)])
async def test_no_gateway(manifests: list[ManifestFile], port: int | None) -> None:
    """Without a gateway, or a port that leads to it, there is no address."""
    probe = Answers(200)

    assert await gateway(kubectl(FakeMachine()), manifests, port, probe, Step(print)) == Deployed("")
    assert probe.asked == []


BUILTIN = (Mirror("docker.io", "http://172.30.0.1:54100"), Mirror("ghcr.io", "http://172.30.0.1:54101"))
CONTAINERS = (Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000"),)


@pytest.mark.parametrize(
    ("mirrors", "targets"),
    [
        (BUILTIN, ["172.30.0.1:54100"]),
        (CONTAINERS + BUILTIN[1:], ["172.30.0.1:54101"]),
        ((Mirror("docker.io", "http://host.docker.internal:54100"),), ["host.docker.internal:54100"]),
    ],
)
def test_scraping(mirrors: tuple[Mirror, ...], targets: list[str]) -> None:
    """Prometheus is told where the caches' figures are: once for each process, and not of those that have none."""
    litellm, prometheus = scraping(packaged(), mirrors)

    before, after = (list(yaml.safe_load_all(text)) for text in (packaged()[1].text, prometheus.text))
    config = next(document for document in before if document["kind"] == "ConfigMap")
    config["data"]["caches.json"] = json.dumps([{"targets": targets}])
    assert after == before
    assert litellm == packaged()[0]
    assert prometheus.name == "prometheus.yaml"


@pytest.mark.parametrize("mirrors", [(), CONTAINERS])
def test_nothing_to_scrape(mirrors: tuple[Mirror, ...]) -> None:
    """Without such a cache the manifests stay as they are."""
    assert scraping(packaged(), mirrors) == packaged()


def test_odd_documents() -> None:
    """What is no ConfigMap of ours is nothing to change, and an empty document none to fail at."""
    manifest = ManifestFile("mine.yaml", "---\n---\nkind: ConfigMap\n---\nkind: ConfigMap\ndata: {caches.json: x}\n")

    (changed,) = scraping([manifest], BUILTIN)

    assert [document.get("data") for document in yaml.safe_load_all(changed.text)] == [
        None,
        {"caches.json": '[{"targets": ["172.30.0.1:54100"]}]'},
    ]


async def test_announce() -> None:
    """Tools are told of the registry to push into by its name on this machine, and of nothing where there is none."""
    machine = FakeMachine()
    cache = Mirror("docker.io", "http://172.18.0.1:54100")

    await announce(kubectl(machine), [cache])
    assert machine.lines == []

    await announce(
        kubectl(machine), [cache, Mirror("localhost:40003", "http://k3d-obol-local.localhost:5000", takes_pushes=True)]
    )
    told = yaml.safe_load(machine.applied["ConfigMap", "local-registry-hosting"]["data"]["localRegistryHosting.v1"])
    assert told["host"] == "localhost:40003"


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
    manifest = ManifestFile("mine.yaml", "---\n".join(texts))
    found: list[str | None] = []
    for document in yaml.safe_load_all(restarting((manifest,))[0].text):
        if "spec" in document:
            metadata: dict[str, Any] = document["spec"]["template"].get("metadata") or {}
            found.append((metadata.get("annotations") or {}).get(ANNOTATION))
    return found


@pytest.mark.parametrize("place", ["ref", "volume", "projected"])
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_what_a_pod_reads(place: str, kind: str) -> None:
    """A workload is another one when a ConfigMap that it names says something else, and only then.

    What has the same name in another namespace does not count, nor what the program reads again by itself.
    """
    one = marks(config("a"), workload(kind, **{place: "app"}))

    assert one != [None]
    assert marks(config("a"), workload(kind, **{place: "app"})) == one
    assert marks(config("b"), workload(kind, **{place: "app"})) != one
    assert marks(config("a"), config("c", name="other"), workload(kind, **{place: "app"})) == one
    assert marks(config("a").replace("llm", "web"), workload(kind, **{place: "app"})) == [None]
    read = [marks(config(text, entry=CACHE_TARGETS), workload(kind, **{place: "app"})) for text in "ab"]
    assert read[0] == read[1]


def test_secrets() -> None:
    """Secrets count as well, in the environment and in volumes."""
    for name, names in (("app", {"secret": "app"}), ("other-secret", {}), ("third", {})):
        one = marks(config("a", name, "Secret"), workload(**names))
        assert one != [None]
        assert marks(config("b", name, "Secret"), workload(**names)) != one
        assert name == "app" or marks(config("a", name), workload(**names)) == [None]


def test_nothing_to_mark() -> None:
    """A workload whose configuration is not among the manifests stays as it is, byte for byte."""
    manifest = ManifestFile("mine.yaml", f"# mine\n{config('a')}---\n{workload(volume='elsewhere')}")

    assert restarting((manifest,)) == (manifest,)
    assert restarting((ManifestFile("empty.yaml", "# nothing\n"),)) == (ManifestFile("empty.yaml", "# nothing\n"),)


def test_across_files() -> None:
    """A ConfigMap may be in another file than who reads it, and annotations of one's own stay."""
    theirs = workload(volume="app").replace("    spec:", "    metadata: {annotations: {mine: yes}}\n    spec:", 1)

    untouched, changed = restarting((ManifestFile("a.yaml", config("a")), ManifestFile("b.yaml", theirs)))

    assert untouched.text == config("a")
    annotations = yaml.safe_load(changed.text)["spec"]["template"]["metadata"]["annotations"]
    assert annotations.keys() == {"mine", ANNOTATION}


def test_the_models_of_the_gateway() -> None:
    """Adding a model to our own manifest restarts LiteLLM, and nothing else."""
    before = restarting(packaged())
    changed = [
        ManifestFile(one.name, one.text.replace("model_list: []", "model_list: [{model_name: x}]"))
        for one in packaged()
    ]

    after = restarting(changed)

    assert [one.text.count(ANNOTATION) for one in before] == [1, 1]
    assert [a.text == b.text for a, b in zip(after, before, strict=True)] == [False, True]
