import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from obol.backends.kubernetes.kubectl import Kubectl, kubectl_for, kubectl_of_node, secret
from obol.backends.kubernetes.rollouts import Deployment
from obol.errors import ObolError
from tests.fakes.clock import FakeClock
from tests.fakes.runner import FakeRunner

NODE = "k3d-obol-stack-calm-otter-server-0"
KUBECONFIG = Path("/config/kubeconfig.yaml")
LITELLM, PROMETHEUS = Deployment("llm", "litellm"), Deployment("monitoring", "prometheus")


async def chosen(runner: FakeRunner, clock: FakeClock | None = None) -> Kubectl:
    """The kubectl that is chosen on a machine."""
    environ = {"PATH": "/bin", "KUBECONFIG": "/home/me/.kube/config"}
    clock = clock or FakeClock()
    otherwise = kubectl_of_node(runner, clock, NODE)
    return await kubectl_for(runner, clock, environ=environ, kubeconfig=KUBECONFIG, otherwise=otherwise)


def listing(*, ready: int, reason: str = "") -> str:
    """What kubectl says of LiteLLM and Prometheus, of which the first is not ready or both are."""
    items: list[dict[str, Any]] = [
        {
            "kind": "Deployment",
            "metadata": {"name": one.name, "namespace": one.namespace, "generation": 1},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": one.name}}},
            "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available},
        }
        for one, available in ((LITELLM, ready), (PROMETHEUS, 1))
    ]
    if reason:
        waiting = {"state": {"waiting": {"reason": reason, "message": "Back-off pulling image"}}}
        metadata = {"name": "litellm-1", "namespace": "llm", "labels": {"app": "litellm"}}
        items.append({"kind": "Pod", "metadata": metadata, "spec": {}, "status": {"containerStatuses": [waiting]}})
    return json.dumps({"items": items})


async def test_of_this_machine() -> None:
    """The kubectl of this machine is told of the cluster by its environment, not by the person's own kubeconfig."""
    runner = FakeRunner()

    await (await chosen(runner)).apply("litellm.yaml", "kind: Namespace\n")

    assert runner.lines == ["kubectl version --client", "kubectl apply -f -"]
    assert runner.ran[1].stdin == "kind: Namespace\n"
    assert runner.ran[1].env == {"PATH": "/bin", "KUBECONFIG": "/config/kubeconfig.yaml"}


@pytest.mark.parametrize("broken", [False, True])
async def test_of_the_node(broken: bool) -> None:
    """Where this machine has no kubectl, or one that does not work, the node's own is used."""
    runner = FakeRunner() if broken else FakeRunner(missing={"kubectl"})
    runner.script("kubectl", code=126)

    await (await chosen(runner)).apply("litellm.yaml", "kind: Namespace\n")

    assert runner.lines[-1] == f"docker exec -i {NODE} kubectl apply -f -"
    assert runner.ran[-1].stdin == "kind: Namespace\n"
    assert runner.ran[-1].env is None


async def test_refused() -> None:
    """A manifest that the cluster refuses is named, with kubectl's last words, but for those that are to be hidden."""
    runner = FakeRunner()
    runner.script("kubectl", "apply", code=1, stderr='patch: {"data": "sk-1"}\nfor: "STDIN": sk-1 is invalid\n')

    with pytest.raises(ObolError) as caught:
        await (await chosen(runner)).apply("mine.yaml", "x", hidden=("sk-1",))

    assert str(caught.value) == 'the cluster does not take mine.yaml: for: "STDIN": … is invalid'
    assert "left running" in caught.value.hint


async def test_apply_to_a_young_cluster() -> None:
    """An API that has only just come up may refuse for a moment; a refusal that goes on is an error after all."""
    runner, clock = FakeRunner(), FakeClock()
    runner.script("kubectl", "apply", code=1, stderr="The connection was refused: connection refused")
    runner.script("kubectl", "apply", code=1, stderr="the server is currently unable to handle the request")
    runner.script("kubectl", "apply")

    await (await chosen(runner, clock)).apply("mine.yaml", "x")

    assert clock.sleeps == [3, 3]
    runner = FakeRunner()
    runner.script("kubectl", "apply", code=1, stderr="connection refused")
    with pytest.raises(ObolError, match=r"does not take mine\.yaml: connection refused"):
        await (await chosen(runner, clock)).apply("mine.yaml", "x")
    assert clock.sleeps == [3] * 5


async def test_wait() -> None:
    """All Deployments are watched by one call, and each has a line when something has changed."""
    runner, clock = FakeRunner(), FakeClock()
    runner.script("kubectl", "get", stdout=listing(ready=0, reason="ContainerCreating"))
    runner.script("kubectl", "get", stdout=listing(ready=0, reason="ContainerCreating"))
    runner.script("kubectl", "get", code=1, stderr="connection refused")
    runner.script("kubectl", "get", stdout=listing(ready=0, reason="ErrImagePull"))
    runner.script("kubectl", "get", stdout=listing(ready=1))
    lines: list[str] = []

    await (await chosen(runner, clock)).wait([LITELLM, PROMETHEUS], lines.append)

    assert lines == [
        "litellm: 0 of 1 ready",
        "prometheus: ready",
        "litellm: 0 of 1 ready (ErrImagePull)",
        "litellm: ready",
    ]
    assert set(runner.lines[1:]) == {"kubectl get deployments,pods --all-namespaces -o json"}
    assert clock.sleeps == [1, 1, 1, 1]


async def test_wait_for_nothing() -> None:
    """Manifests without a Deployment are nothing to wait for."""
    runner = FakeRunner()

    await (await chosen(runner)).wait([], print)

    assert len(runner.ran) == 1


@pytest.mark.parametrize(("reason", "file"), [("ImagePullBackOff", "/me/app.yaml"), ("", "")])
async def test_wait_in_vain(reason: str, file: str) -> None:
    """After half an hour it is told what is not ready and why, how to look, and that the cluster is left running."""
    runner, clock = FakeRunner(missing={"kubectl"}), FakeClock()
    runner.script("docker", stdout=listing(ready=0, reason=reason))

    with pytest.raises(ObolError) as caught:
        await (await chosen(runner, clock)).wait([replace(LITELLM, manifest=file), PROMETHEUS], lambda _: None)

    assert caught.value.what == "litellm is not ready after 30 minutes"
    why = "pod litellm-1: ImagePullBackOff: Back-off pulling image"
    assert caught.value.why == (why if reason else "its pods are not there yet, or do not answer their probes")
    at = f" and at {file}, which litellm is made of" if file else ""
    assert f"`docker exec {NODE} kubectl -n llm describe pods`{at}, mend it" in caught.value.hint
    assert "left running" in caught.value.hint
    assert sum(clock.sleeps) == 1800


async def test_nothing_is_ever_listed() -> None:
    """An API that is gone for good is told as all workloads not being ready."""
    runner = FakeRunner()
    runner.script("kubectl", "get", code=1, stderr="connection refused")

    with pytest.raises(ObolError, match="litellm and prometheus are not ready"):
        await (await chosen(runner)).wait([LITELLM, PROMETHEUS], lambda _: None)


def test_secret() -> None:
    """A Secret has its values in base64."""
    document = json.loads(secret("llm", "litellm-keys", {"master-key": "sk-1"}))

    assert document["metadata"] == {"name": "litellm-keys", "namespace": "llm"}
    assert base64.b64decode(document["data"]["master-key"]) == b"sk-1"


async def test_read() -> None:
    """A command is run for its answer; one that fails without a word is told by its exit code."""
    runner = FakeRunner()
    runner.script("kubectl", "get", stdout="{}")
    runner.script("kubectl", "get", code=7)
    kubectl = await chosen(runner)

    assert await kubectl.read("it cannot be had", "get", "x") == "{}"
    with pytest.raises(ObolError, match=r"^it cannot be had: exit code 7$") as caught:
        await kubectl.read("it cannot be had", "get", "x")
    assert "`kubectl --kubeconfig /config/kubeconfig.yaml get nodes`" in caught.value.hint


async def test_images() -> None:
    """An image is there when every node has it; nothing is known of a cluster that does not answer."""
    runner = FakeRunner()
    runner.script("kubectl", "get", stdout="a:1 b:1 b@sha256:1\nb:1 c:1\n")
    runner.script("kubectl", "get", code=1)
    kubectl = await chosen(runner)

    assert await kubectl.images() == {"b:1"}
    assert await kubectl.images() == frozenset()


async def test_what_may_be_shown() -> None:
    """What the cluster says to a manifest goes to the loud runner, unless there is a secret in it."""
    quiet, loud = FakeRunner(), FakeRunner()
    quiet.script("kubectl", "get", stdout='{"items": []}')
    environ = {"PATH": "/bin"}
    otherwise = kubectl_of_node(quiet, FakeClock(), NODE)
    kubectl = await kubectl_for(
        quiet, FakeClock(), environ=environ, kubeconfig=KUBECONFIG, otherwise=otherwise, loud=loud
    )

    await kubectl.apply("a namespace", "kind: Namespace")
    await kubectl.apply("the key", "kind: Secret", hidden=("sesame",))
    await kubectl.wait((), lambda _line: None)

    assert [ran.stdin for ran in loud.ran] == ["kind: Namespace"]
    assert [ran.stdin for ran in quiet.ran if "apply" in ran.argv] == ["kind: Secret"]


async def test_what_is_deployed() -> None:
    """It is asked in one call, and a cluster that does not tell is an error with its words."""
    runner = FakeRunner()
    runner.script("kubectl", "get", stdout=listing(ready=1))
    runner.script("kubectl", "get", code=1, stderr="\nconnection refused\n")
    kubectl = await chosen(runner)

    found, _prometheus = await kubectl.deployed()
    assert (found.deployment.name, found.ready) == ("litellm", 1)
    with pytest.raises(ObolError, match="connection refused"):
        await kubectl.deployed()


async def test_one_value() -> None:
    """A value of an object is asked for by its path; what cannot be told is nothing."""
    runner = FakeRunner()
    runner.script("kubectl", "get", "service", stdout="10.43.7.8\n")
    runner.script("kubectl", "get", "service", code=1, stdout="rubbish")
    kubectl = await chosen(runner)

    assert await kubectl.get("service", "litellm", "llm", ".spec.clusterIP") == "10.43.7.8"
    assert await kubectl.get("service", "litellm", "llm", ".spec.clusterIP") == ""
    assert runner.lines[-1] == "kubectl get service litellm --namespace llm -o jsonpath={.spec.clusterIP}"
