from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest
import yaml

from obol.backends.kubernetes.confighashes import restarting
from obol.backends.kubernetes.deploying import announce, deploy, gateway, scraping
from obol.backends.kubernetes.kubectl import Kubectl
from obol.backends.ports import Deployed
from obol.errors import ObolError, UsageError
from obol.rendering.kubernetes import encode
from obol.rendering.registries import Mirror
from obol.workloads.sources import Manifest, packaged
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import FakeMachine

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "litellm-master-key"
OTHER = Manifest("mine.yaml", "kind: ConfigMap\nmetadata: {name: mine}\n")


def kubectl(machine: FakeMachine) -> Kubectl:
    """The kubectl of a machine."""
    return Kubectl(machine, FakeClock(), ("kubectl",), "kubectl", {"PATH": "/bin"})


class Answers:
    """A `Probe` that gives one answer after another; the last one stays."""

    def __init__(self, *answers: int | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, str]] = []

    async def __call__(self, port: int, path: str) -> int | None:
        """Remember, and answer."""
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
        await deploy(kubectl(machine), tmp_path, [*packaged(), Manifest("mine.yaml", "a: [")], lambda _: None)

    assert machine.ran == []


@pytest.mark.parametrize(("port", "url"), [(80, "http://localhost"), (8080, "http://localhost:8080")])
async def test_gateway(port: int, url: str) -> None:
    """It is waited until the gateway itself answers by the ingress; the usual port is not told."""
    by, probe, lines = kubectl(FakeMachine()), Answers(None, 404, 502, 200), list[str]()

    assert await gateway(by, packaged(), port, probe, lines.append) == Deployed(url)

    assert probe.asked == [(port, "/health/readiness")] * 4
    assert lines == [f"waiting for {url}"]


@pytest.mark.parametrize(("status", "said"), [(None, "does not answer there"), (404, "says 404 there")])
async def test_ingress_does_not_come(status: int | None, said: str) -> None:
    """An ingress that does not lead to the gateway is a note with how to look: the stack itself is up."""
    deployed = await gateway(kubectl(FakeMachine()), packaged(), 80, Answers(status), lambda _: None)

    assert deployed.url == "http://localhost"
    assert said in deployed.notes[0]
    assert "kubectl -n kube-system get pods" in deployed.notes[0]


@pytest.mark.parametrize(("manifests", "port"), [(packaged(), None), ([OTHER], 80)])
async def test_no_gateway(manifests: list[Manifest], port: int | None) -> None:
    """Without a gateway, or a port that leads to it, there is no address."""
    probe = Answers(200)

    assert await gateway(kubectl(FakeMachine()), manifests, port, probe, lambda _: None) == Deployed("")
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
    manifest = Manifest("mine.yaml", "---\n---\nkind: ConfigMap\n---\nkind: ConfigMap\ndata: {caches.json: x}\n")

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
