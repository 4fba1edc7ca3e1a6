import json
from typing import Any

import pytest

from obol.backends.kubernetes.deployments import REMEMBERED, Change, Found, KubernetesDeployments
from obol.backends.kubernetes.kubectl import Kubectl
from obol.backends.kubernetes.rollouts import Deployment
from obol.errors import ObolError
from tests.fakes.clock import FakeClock
from tests.fakes.runner import FakeRunner

LITELLM = Deployment("llm", "litellm")


@pytest.fixture
def runner() -> FakeRunner:
    """What kubectl runs on."""
    return FakeRunner()


@pytest.fixture
def deployments(runner: FakeRunner) -> KubernetesDeployments:
    """The unit under test."""
    choices = iter([Kubectl(runner, FakeClock(), ("kubectl",), "kubectl --kubeconfig /k")])

    async def choose() -> Kubectl:
        return next(choices)

    return KubernetesDeployments(choose)


def shown(annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """LiteLLM as kubectl shows it."""
    containers = [{"name": "litellm", "image": "litellm:v1", "ports": []}, {"name": "log", "image": "busybox:1"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "litellm", "namespace": "llm", **({"annotations": annotations} if annotations else {})},
        "spec": {"replicas": 1, "template": {"metadata": {}, "spec": {"containers": containers}}},
        "status": {"conditions": []},
    }


async def test_find(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """A Deployment has containers in their order, and what is remembered of them; other annotations are not ours."""
    annotations = {f"{REMEMBERED}litellm": "litellm:v0", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    runner.script("kubectl", "get", stdout=json.dumps(shown(annotations)))

    found = await deployments.find(LITELLM)

    assert found == Found(LITELLM, {"litellm": "litellm:v1", "log": "busybox:1"}, {"litellm": "litellm:v0"})
    assert runner.lines == ["kubectl get deployment litellm --namespace llm --ignore-not-found -o json"]


async def test_find_nothing(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """One that is not there is None, as kubectl says nothing then."""
    assert await deployments.find(LITELLM) is None


async def test_swapped(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """Only those are listed of which something is remembered, wherever they are."""
    other = shown({f"{REMEMBERED}log": "busybox:0"})
    runner.script("kubectl", "get", stdout=json.dumps({"items": [shown(), other]}))

    (found,) = await deployments.swapped()

    assert found.remembered == {"log": "busybox:0"}
    assert runner.lines == ["kubectl get deployments --all-namespaces -o json"]


async def test_change(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """Images and what is remembered go into one request; forgetting is null, and leaves the containers alone."""
    await deployments.change(LITELLM, [Change("litellm", "app:1", "litellm:v1"), Change("log", None, None)])
    await deployments.change(LITELLM, [Change("log", None, None)])

    beginning = ("kubectl", "patch", "deployment", "litellm", "--namespace", "llm", "--type", "strategic", "--patch")
    assert [ran.argv[:-1] for ran in runner.ran] == [beginning, beginning]
    assert [json.loads(ran.argv[-1]) for ran in runner.ran] == [
        {
            "metadata": {"annotations": {f"{REMEMBERED}litellm": "litellm:v1", f"{REMEMBERED}log": None}},
            "spec": {"template": {"spec": {"containers": [{"name": "litellm", "image": "app:1"}]}}},
        },
        {"metadata": {"annotations": {f"{REMEMBERED}log": None}}},
    ]


async def test_refused(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """What the cluster refuses is told by kubectl's last words."""
    runner.script("kubectl", "patch", code=1, stderr="Warning: old\nError from server (Forbidden): no\n")

    with pytest.raises(ObolError, match=r"^llm/litellm cannot be changed: Error from server \(Forbidden\): no$"):
        await deployments.change(LITELLM, [Change("litellm", "app:1", "litellm:v1")])


async def test_strange_answer(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """An answer that is not understood is an error."""
    runner.script("kubectl", "get", stdout="what?")

    with pytest.raises(ObolError, match="in a way that we do not understand"):
        await deployments.find(LITELLM)


async def test_wait_in_vain(deployments: KubernetesDeployments, runner: FakeRunner) -> None:
    """A rollout is waited for as long as a pod may need to start, and what else can be done is said."""
    runner.script("kubectl", "get", stdout='{"items": []}')

    with pytest.raises(ObolError, match="litellm is not ready after 5 minutes") as caught:
        await deployments.wait([LITELLM], lambda _line: None, then="or go back")

    assert caught.value.hint == "look with `kubectl --kubeconfig /k -n llm describe pods`, or go back"
