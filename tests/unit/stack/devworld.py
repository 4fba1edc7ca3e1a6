"""A cluster with Deployments and this machine's Docker, behind the `Runner` port; it can stop anybody at any call."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from obol.backends.kubernetes.deployments import KubernetesDeployments
from obol.backends.kubernetes.kubectl import Kubectl
from obol.backends.ports import ClusterState
from obol.caches.containers.engine import ContainerSeen, State
from obol.caches.containers.plan import push_registry
from obol.machine.commands import Completed
from obol.machine.docker.cli import Docker
from obol.stack.hotswap import HotSwap, Prerequisites
from tests.fakes.clock import FakeClock
from tests.fakes.k3d import DONE, FakeMachine, failed
from tests.unit.stack.world import FakeReporter

APP = "sha256:0123456789abcdef" + "0" * 48
"""The ID of `app:dev`."""
PUSHED = "localhost:54103/app:dev-0123456789ab"
RELEASED = "ghcr.io/berriai/litellm:v1"
REMEMBERED = "released-image.obol/"


def deployment(name: str, images: dict[str, str], *, namespace: str = "llm", strong: bool = True) -> dict[str, Any]:
    """One that runs these images, by container; one that is not `strong` never gets ready with another image."""
    metadata = {"name": name, "namespace": namespace, "generation": 1, "annotations": {}, "strong": strong}
    containers = [{"name": container, "image": image} for container, image in images.items()]
    return {"kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": {"containers": containers}}}}


@dataclass
class DevMachine(FakeMachine):
    """Docker with images, a registry with what was pushed, and Deployments."""

    ids: dict[str, str] = field(default_factory=lambda: {"app:dev": APP})
    """Of images of Docker, by name."""
    registry: set[str] = field(default_factory=set)
    deployments: list[dict[str, Any]] = field(default_factory=list)

    def _program(self, argv: tuple[str, ...], stdin: str, *, half: bool) -> Completed:
        match argv:
            case ("docker", "image", "inspect", name):
                return self._inspected(name)
            case ("docker", "tag", id_, name):
                self.ids[name] = id_
            case ("docker", "push", name):
                self.registry.add(name)
                return Completed(0, "aaaaaaaaaaaa: Pushed\nbbbbbbbbbbbb: Layer already exists\n", "")
            case ("docker", "rmi", name):
                self.ids.pop(name, None)
            case ("kubectl", "get", "deployment", name, "--namespace", namespace, *_):
                return Completed(0, next((json.dumps(one) for one in self.named(namespace, name)), ""), "")
            case ("kubectl", "get", *_):
                return Completed(0, json.dumps({"items": [self._judged(one) for one in self.deployments]}), "")
            case ("kubectl", "patch", "deployment", name, "--namespace", namespace, "--type", "strategic", _, patch):
                _merge(self.named(namespace, name)[0], json.loads(patch))
            case _:
                raise AssertionError(argv)
        return DONE

    def named(self, namespace: str, name: str) -> list[dict[str, Any]]:
        """The Deployment of that name, if there is one."""
        wanted = {"namespace": namespace, "name": name}.items()
        return [one for one in self.deployments if wanted <= one["metadata"].items()]

    def image_of(self, name: str, container: int = 0) -> str:
        """What a container of a Deployment in llm is to run."""
        image = self.named("llm", name)[0]["spec"]["template"]["spec"]["containers"][container]["image"]
        assert isinstance(image, str)
        return image

    def remembered(self, name: str) -> dict[str, str]:
        """What is remembered of a Deployment in llm."""
        return dict(self.named("llm", name)[0]["metadata"]["annotations"])

    def _inspected(self, name: str) -> Completed:
        if name not in self.ids:
            return failed(f"Error: No such image: {name}")
        tags = [tag for tag, id_ in self.ids.items() if id_ == self.ids[name]]
        return Completed(0, json.dumps([{"Id": self.ids[name], "RepoTags": tags}]), "")

    def _judged(self, one: dict[str, Any]) -> dict[str, Any]:
        metadata = one["metadata"]
        ready = int(metadata["strong"] or metadata["generation"] == 1)
        counted = {"replicas": 1, "updatedReplicas": ready, "availableReplicas": 1}
        return {**one, "status": {"observedGeneration": metadata["generation"], **counted}}


def _merge(document: dict[str, Any], patch: dict[str, Any]) -> None:
    annotations = document["metadata"]["annotations"]
    annotations |= patch["metadata"]["annotations"]
    document["metadata"]["annotations"] = {key: text for key, text in annotations.items() if text is not None}
    if "spec" in patch:
        wanted = {one["name"]: one["image"] for one in patch["spec"]["template"]["spec"]["containers"]}
        for container in document["spec"]["template"]["spec"]["containers"]:
            container["image"] = wanted.pop(container["name"], container["image"])
        assert not wanted
        document["metadata"]["generation"] += 1


@dataclass
class DevWorld:
    """A stack in development mode."""

    machine: DevMachine
    state: ClusterState = "running"
    registry: State = "running"
    port: int = 54103
    known: Sequence[str] = ("docker.io", "localhost:54103")
    clock: FakeClock = field(default_factory=FakeClock)
    reporter: FakeReporter = field(default_factory=FakeReporter)

    @property
    def stack(self) -> HotSwap:
        """A fresh one, as each command has."""
        ground = Prerequisites(self._seen, self._state, self._mirrors)
        return HotSwap(Docker(self.machine), KubernetesDeployments(self._kubectl), ground)

    async def _seen(self) -> ContainerSeen:
        return ContainerSeen(push_registry(), self.registry, self.port)

    async def _state(self) -> ClusterState:
        return self.state

    async def _mirrors(self) -> Sequence[str]:
        return self.known

    async def _kubectl(self) -> Kubectl:
        return Kubectl(self.machine, self.clock, ("kubectl",), "kubectl --kubeconfig /k")


def dev_world() -> DevWorld:
    """LiteLLM runs with one container, and another Deployment with two."""
    litellm = deployment("litellm", {"litellm": RELEASED})
    pair = deployment("pair", {"web": "nginx:1", "log": "busybox:1"})
    return DevWorld(DevMachine(deployments=[litellm, pair]))
