"""Deployments of a cluster for hot-swapping: which images they run, and running another one in place of a container.

What a container ran before is kept at the Deployment, in an annotation for each container: it is there for everybody
who works on the cluster, lives as long as the Deployment, and is written by the very request that changes the image.
So there is no moment at which an image is swapped and it is not known what it replaced.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import msgspec

from obol.backends.kubernetes.rollouts import Deployment
from obol.errors import ObolError

if TYPE_CHECKING:
    from obol.backends.kubernetes.kubectl import Kubectl
    from obol.backends.ports import Watch

_Kind = TypeVar("_Kind")

REMEMBERED = "released-image.obol/"
"""With the name of a container: the annotation. A name after the slash may have 63 characters, as a container's may:
https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/#syntax-and-character-set."""

ROLLED_OUT_WITHIN = 300.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """A Deployment as it is now."""

    deployment: Deployment
    images: Mapping[str, str]
    """By container, in their order."""
    remembered: Mapping[str, str] = field(default_factory=dict)
    """By container: what ran before it was swapped."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one container."""

    container: str
    image: str | None
    """None: it runs on as it is."""
    remember: str | None
    """The image to go back to; None: forget it."""


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    annotations: dict[str, str] | None = None


class _Container(msgspec.Struct, frozen=True):
    name: str
    image: str = ""


class _Pod(msgspec.Struct, frozen=True):
    containers: list[_Container]


class _Template(msgspec.Struct, frozen=True):
    spec: _Pod


class _Spec(msgspec.Struct, frozen=True):
    template: _Template


class _Item(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec


class _List(msgspec.Struct, frozen=True):
    items: list[_Item]


class KubernetesDeployments:
    """Deployments by kubectl, which is chosen when it is first needed. Methods raise ObolError."""

    def __init__(self, choose: Callable[[], Awaitable[Kubectl]]) -> None:
        self._choose = choose
        self._chosen: Kubectl | None = None

    async def find(self, deployment: Deployment) -> Found | None:
        """Look at one; None where there is none, nor perhaps its namespace."""
        where = ("--namespace", deployment.namespace, "--ignore-not-found", "-o", "json")
        kubectl = await self._kubectl()
        text = await kubectl.read(f"obol cannot look at {deployment}", "get", "deployment", deployment.name, *where)
        return _found(_decoded(text, _Item)) if text.strip() else None

    async def swapped(self) -> tuple[Found, ...]:
        """Look at all of which something is remembered."""
        kubectl = await self._kubectl()
        text = await kubectl.read(
            "Deployments cannot be listed", "get", "deployments", "--all-namespaces", "-o", "json"
        )
        return tuple(found for found in map(_found, _decoded(text, _List).items) if found.remembered)

    async def change(self, deployment: Deployment, changes: Sequence[Change]) -> None:
        """Have containers run other images, and remember or forget what they ran before: all at once or nothing."""
        kubectl = await self._kubectl()
        options = ("--namespace", deployment.namespace, "--type", "strategic", "--patch", _patch(changes))
        await kubectl.read(f"{deployment} cannot be changed", "patch", "deployment", deployment.name, *options)

    async def wait(self, deployments: Sequence[Deployment], watch: Watch, *, then: str) -> None:
        """Wait until the pods are as the Deployments say; `then` says what else can be done where they never are."""
        await (await self._kubectl()).wait(deployments, watch, within=ROLLED_OUT_WITHIN, then=then)

    async def _kubectl(self) -> Kubectl:
        self._chosen = self._chosen or await self._choose()
        return self._chosen


def _patch(changes: Sequence[Change]) -> str:
    """A strategic merge patch: containers are merged by their names, and null takes an annotation away."""
    annotations = {REMEMBERED + change.container: change.remember for change in changes}
    patch: dict[str, object] = {"metadata": {"annotations": annotations}}
    if containers := [{"name": one.container, "image": one.image} for one in changes if one.image is not None]:
        patch["spec"] = {"template": {"spec": {"containers": containers}}}
    return json.dumps(patch, separators=(",", ":"))


def _found(item: _Item) -> Found:
    annotations = item.metadata.annotations or {}
    remembered = {key.removeprefix(REMEMBERED): text for key, text in annotations.items() if key.startswith(REMEMBERED)}
    images = {container.name: container.image for container in item.spec.template.spec.containers}
    return Found(Deployment(item.metadata.namespace, item.metadata.name), images, remembered)


def _decoded(text: str, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as problem:
        raise ObolError("kubectl shows Deployments in a way that we do not understand", why=str(problem)) from None
