import json
from typing import Any

import pytest

from obol.backends.kubernetes.rollouts import Deployment, Rollout, applied, deployed, rollouts
from obol.errors import ObolError, UsageError
from obol.workloads.sources import ManifestFile, packaged

LITELLM = Deployment("llm", "litellm")


def deployment(**status: int) -> dict[str, Any]:
    """One as kubectl lists it."""
    return {
        "kind": "Deployment",
        "metadata": {"name": "litellm", "namespace": "llm", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "litellm"}}},
        "status": status,
    }


def pod(**fields: Any) -> dict[str, Any]:
    """One of its pods."""
    metadata = {"name": "litellm-1", "namespace": "llm", "labels": {"app": "litellm", "pod-template-hash": "x"}}
    return {"kind": "Pod", "metadata": {**metadata, **fields.pop("metadata", {})}, "spec": {}, "status": fields}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    """A container that waits."""
    return {"name": "c", "state": {"waiting": {"reason": reason, **({"message": message} if message else {})}}}


def judged(*items: dict[str, Any]) -> Rollout:
    """How far LiteLLM is by a listing."""
    (found,) = rollouts(json.dumps({"kind": "List", "items": items}), [LITELLM])
    return found


def test_packaged() -> None:
    """The stack's own manifests bring two namespaces, two Deployments, and an Ingress to the gateway."""
    found = applied(packaged())

    assert found.namespace_names == {"llm", "monitoring"}
    assert [json.loads(text)["kind"] for text in found.namespaces] == ["Namespace", "Namespace"]
    assert found.deployments == (LITELLM, Deployment("monitoring", "prometheus"))
    assert found.ingresses == {"litellm"}


def test_lists_and_odd_documents() -> None:
    """Lists are looked into; what has no kind, no name or no namespace is no reason to fail."""
    text = (
        "kind: List\nitems:\n- kind: Deployment\n  metadata: {name: a}\n- 3\n---\n---\nkind: Namespace\n---\n- 1\n---\n"
        "kind: Ingress\nspec: {defaultBackend: {service: {name: b}}}\n"
    )

    found = applied([ManifestFile("m", text)])

    assert found.deployments == (Deployment("default", "a"),)
    assert found.deployments[0].manifest == "m"
    assert found.ingresses == {"b"}
    assert found.namespace_names == {""}


def test_not_yaml() -> None:
    """A manifest that cannot be read is named."""
    with pytest.raises(UsageError, match=r"the manifest mine\.yaml cannot be used"):
        applied([ManifestFile("mine.yaml", "a: [")])


@pytest.mark.parametrize(
    ("status", "done", "ready"),
    [
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True, 1),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, False, 0),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}, False, 0),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 2}, False, 1),
        ({"observedGeneration": 2, "replicas": 1, "availableReplicas": 1}, False, 0),
        ({"observedGeneration": 2, "replicas": 1, "availableReplicas": 0}, False, 0),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1}, False, 0),
        ({}, False, 0),
    ],
)
def test_how_far(status: dict[str, int], done: bool, ready: int) -> None:
    """A Deployment is done when the cluster has seen it, its new pods are ready, and no old one is left.

    Pods of the version before are not counted as ready, although they serve on.
    """
    assert (judged(deployment(**status)).done, judged(deployment(**status)).ready) == (done, ready)


def test_not_there_yet() -> None:
    """A Deployment that the cluster does not list is not done; one that is done has one thing to say."""
    assert str(Rollout(LITELLM, 1, 1, done=True)) == "litellm: ready"
    assert judged(pod()) == Rollout(LITELLM)
    assert str(Rollout(LITELLM)) == "litellm: 0 of 1 ready"


def test_reasons() -> None:
    """Why its pods are not ready is told in a word each, and in full with the pod's name."""
    found = judged(
        deployment(observedGeneration=2, replicas=1, updatedReplicas=1),
        pod(
            initContainerStatuses=[waits("PodInitializing")],
            containerStatuses=[waits("ImagePullBackOff", "Back-off pulling\n image x")],
            conditions=[{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}],
        ),
    )

    assert str(found) == "litellm: 0 of 1 ready (ImagePullBackOff)"
    assert found.details == (
        "pod litellm-1: PodInitializing",
        "pod litellm-1: ImagePullBackOff: Back-off pulling image x",
    )


def test_crashing() -> None:
    """A container that ends again and again is told with how it ended, a pod without a place to run by a condition."""
    crashing = {**waits("CrashLoopBackOff"), "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}

    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no memory"}

    assert judged(deployment(), pod(containerStatuses=[crashing])).reasons == ("CrashLoopBackOff", "OOMKilled")
    found = judged(deployment(), pod(conditions=[condition]))
    assert found.details == ("pod litellm-1: Unschedulable: no memory",)


def test_others_pods() -> None:
    """Pods of others, and those that are going, do not matter."""
    stuck = [waits("ImagePullBackOff")]
    found = judged(
        deployment(),
        pod(metadata={"labels": {"app": "other"}}, containerStatuses=stuck),
        pod(metadata={"namespace": "other"}, containerStatuses=stuck),
        pod(metadata={"labels": None}, containerStatuses=stuck),
        pod(metadata={"deletionTimestamp": "2026-09-21T14:13:20Z"}, containerStatuses=stuck),
        pod(containerStatuses=[{"name": "c", "state": {"running": {"startedAt": "2026-09-21T14:13:20Z"}}}]),
    )

    assert found.reasons == ()


@pytest.mark.parametrize("listing", ["", "error", '{"items": [{"kind": 1}]}'])
def test_no_listing(listing: str) -> None:
    """What is no listing is an error."""
    with pytest.raises(ObolError, match="do not understand"):
        rollouts(listing, [LITELLM])


def test_all_that_is_deployed() -> None:
    """Everything is told but for one namespace, and what is no listing is refused."""
    own = deployment(observedGeneration=2, replicas=1, updatedReplicas=1, availableReplicas=1)
    system = {**own, "metadata": {"name": "coredns", "namespace": "kube-system"}}
    listing = json.dumps({"kind": "List", "items": [own, pod(), system]})

    assert deployed(listing, without="kube-system") == (Rollout(LITELLM, 1, 1, done=True),)
    with pytest.raises(ObolError):
        deployed("no JSON", without="")
