"""Hot-swapping: the cluster runs an image of this machine's Docker in place of a released one, and goes back again.

`HotSwap` looks at everything before it changes anything. Then it pushes the image, which disturbs no one, and swaps it
by one request to the cluster. A command that is interrupted has done both, one or neither, and may be repeated.

The image is pushed under a tag that is made of its ID. So a new build always has a new name: nodes do not pull a name
again that they have, so they cannot run an old build in its place, and two people who push at the same time do not
overwrite each other's images.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from obol.backends.kubernetes.deployments import Change
from obol.backends.kubernetes.rollouts import Deployment
from obol.backends.ports import BACKENDS
from obol.errors import NotThere, ObolError, UsageError
from obol.machine.docker.errors import DockerFailed
from obol.oci.errors import OciError
from obol.oci.references import DOCKER_HUB, ImageReference

if TYPE_CHECKING:
    from obol.backends.kubernetes.deployments import Found, KubernetesDeployments
    from obol.backends.ports import ClusterState
    from obol.caches.containers.engine import ContainerSeen
    from obol.machine.docker.cli import Docker
    from obol.machine.docker.values import Image, Pushed
    from obol.stack.home import Identity
    from obol.stack.reporter import Reporter


_UP = "`obol stack up` sets that right"


@dataclass(frozen=True, slots=True)
class Prerequisites:
    """What has to be there, each asked when it is needed. All raise ObolError."""

    registry: Callable[[], Awaitable[ContainerSeen]]
    """The registry to push into."""
    cluster: Callable[[], Awaitable[ClusterState]]
    mirrors: Callable[[], Awaitable[Collection[str]]]
    """The registries of which the nodes were told where to find them."""

    async def push_port(self) -> int:
        """The port of the registry to push into, which the nodes know too. Raises ObolError."""
        seen = await self.registry()
        if seen.state != "running":
            state = {"absent": "there is none", "stopped": "it is stopped", "failing": "it does not answer"}[seen.state]
            raise NotThere("the registry to push into does not run", why=f"{seen.cache.name}: {state}", hint=_UP)
        await self.running()
        if f"localhost:{seen.port}" not in await self.mirrors():
            raise ObolError(
                "the cluster does not know the registry to push into",
                why=f"it was made, or started, without localhost:{seen.port}",
                hint=_UP,
            )
        return seen.port

    async def running(self) -> None:
        """Look whether the cluster runs. Raises ObolError where it does not."""
        if (state := await self.cluster()) != "running":
            why = "it has no cluster" if state == "absent" else "its cluster is stopped"
            raise NotThere("the stack does not run", why=why, hint=_UP)


@dataclass(frozen=True, slots=True)
class Swapped:
    """A container runs an image of this machine."""

    target: Target
    image: str
    before: str
    """What it ran until then; the same where there was nothing to do."""
    released: str
    """What `reset` goes back to."""
    pushed: Pushed


@dataclass(frozen=True, slots=True)
class Restored:
    """A container runs its released image."""

    target: Target
    image: str
    before: str
    """The same where it ran that image already, so that there was only something to forget."""


class HotSwap:
    """Swaps images in one stack."""

    def __init__(self, images: Docker, deployments: KubernetesDeployments, stack: Prerequisites) -> None:
        self._images = images
        self._deployments = deployments
        self._stack = stack

    async def push(self, source: LocalImage, target: Target, reporter: Reporter) -> Swapped:
        """Have a container run an image, and wait until it does. Raises ObolError, UsageError."""
        with reporter.step("Looking at the stack"):
            port = await self._stack.push_port()
            found = await self._found(target)
            target = Target(target.deployment, chosen(found, target))
            image = await self._images.image(source.name)
            if image is None:
                raise NotThere(
                    f"this machine's Docker has no image {source.name}",
                    hint="build it first; `docker images` lists all",
                )
        name = source.pushed_as(port, image.id)
        with reporter.step(f"Pushing {name}"):
            pushed = await self._push(image, name)
        before, go_back_to = found.images[target.container], released(found, target.container)
        with reporter.step(f"Swapping the image of {target}") as watch:
            await self._deployments.change(target.deployment, (Change(target.container, name, go_back_to),))
            back = f"or go back with `obol dev reset --deployment {target}`"
            await self._deployments.wait((target.deployment,), watch, then=back)
        return Swapped(target, name, before, go_back_to, pushed)

    async def reset(self, target: Target | None, reporter: Reporter) -> tuple[Restored, ...]:
        """Have a container, a Deployment or all that were swapped run what was released. Raises ObolError, UsageError.

        What was not swapped is left as it is.
        """
        with reporter.step("Looking at the stack"):
            await self._stack.running()
            found = await self._deployments.swapped() if target is None else (await self._found(target),)
            if target is not None and target.container:
                chosen(found[0], target)
        wanted = target.container if target is not None else ""
        restored: list[Restored] = []
        for one in found:
            if changes := _back(one, wanted):
                await self._deployments.change(one.deployment, changes)
                restored += (_restored(one, change) for change in changes if change.container in one.images)
        if waiting := list(dict.fromkeys(one.target.deployment for one in restored)):
            with reporter.step("Going back to the released images") as watch:
                await self._deployments.wait(waiting, watch, then="and mend what it says")
        return tuple(restored)

    async def _found(self, target: Target) -> Found:
        found = await self._deployments.find(target.deployment)
        if found is None:
            raise NotThere(
                f"there is no Deployment {target.deployment}",
                hint="`obol kubectl get deployments -A` lists those that there are",
            )
        return found

    async def _push(self, image: Image, name: str) -> Pushed:
        """Push it under a name of its own, which is taken away again: names keep old builds from being pruned.

        Unless it is the only one, with which the image would go.
        """
        await self._images.tag(image.id, name)  # its own name may be another image's by now
        try:
            pushed = await self._images.push(name)
        except DockerFailed:
            if await self._images.image(name) is not None:
                raise
            # Another command has pushed the same image at the same moment, and has taken the name away.
            await self._images.tag(image.id, name)
            pushed = await self._images.push(name)
        if any(tag != name for tag in image.tags):
            await self._images.untag(name)
        return pushed


def _back(found: Found, container: str) -> tuple[Change, ...]:
    """What takes a Deployment, or one container of it, back."""
    wanted = [name for name in found.remembered if container in {"", name}]
    return tuple(Change(name, to_restore(found, name), None) for name in wanted)


def _restored(found: Found, change: Change) -> Restored:
    now = found.images[change.container]
    return Restored(Target(found.deployment, change.container), change.image or now, now)


DIGITS = 12
"""Hexadecimal ones of an image's ID: as many as Docker shows."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Names of namespaces and containers are labels of DNS, those of Deployments are subdomains:
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#names
_TARGET = re.compile(rf"(?P<namespace>{_LABEL})/(?P<name>{_LABEL}(?:\.{_LABEL})*)(?::(?P<container>{_LABEL}))?")
_LONGEST_NAME = 253
_PUSHED = re.compile(rf"localhost:[0-9]+/\S+:dev-[0-9a-f]{{{DIGITS}}}")


@dataclass(frozen=True, slots=True)
class Target:
    """A container of a Deployment."""

    deployment: Deployment
    container: str = ""
    """"" stands for the only one."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read NAMESPACE/NAME[:CONTAINER]. Raises UsageError."""
        found = _TARGET.fullmatch(text)
        if found is None or len(found["name"]) > _LONGEST_NAME:
            raise UsageError(
                f"{text!r} does not name a Deployment",
                hint="write NAMESPACE/NAME or NAMESPACE/NAME:CONTAINER, such as llm/litellm",
            )
        return cls(Deployment(found["namespace"], found["name"]), found["container"] or "")

    def __str__(self) -> str:
        return f"{self.deployment}:{self.container}" if self.container else str(self.deployment)


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image of this machine's Docker, as the person named it."""

    name: str
    repository: str
    """What it is called in the registry to push into; of Docker Hub's own ones without `library/`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an image reference. Raises UsageError."""
        try:
            reference = ImageReference.parse(text)
        except OciError as problem:
            raise UsageError(
                f"{text!r} is not an image", why=problem.detail or "", hint="write it as in `docker images`: app:dev"
            ) from problem
        hidden = "library/" if reference.registry == DOCKER_HUB else ""
        return cls(text, reference.repository.removeprefix(hidden))

    def pushed_as(self, port: int, image_id: str) -> str:
        """Its name in the registry on this port."""
        return f"localhost:{port}/{self.repository}:dev-{image_id.rpartition(':')[2][:DIGITS]}"


def stack_of(identity: Identity | None, *, development: bool, caches: bool) -> Identity:
    """Tell whose images are to be swapped. Raises UsageError where there is nothing to swap, or no way to do it."""
    if not development:
        raise UsageError(
            "development mode is off",
            why="only a stack of development mode has a registry to push into",
            hint="`export OBOL_DEVELOPMENT=true`, then `obol stack up`: its stack is kept in .workspace, below the "
            "directory in which you are",
        )
    if not caches:
        raise UsageError(
            "the registry to push into is turned off",
            why="OBOL_DISABLE_REGISTRY_CACHE is set, which turns it off together with the caches",
            hint="`unset OBOL_DISABLE_REGISTRY_CACHE`, then `obol stack up`",
        )
    if identity is None:
        raise NotThere(
            "there is no stack here",
            why="in development mode it is kept in .workspace, below the directory in which it was brought up",
            hint="run this where you ran `obol stack up`, or bring one up here",
        )
    if not BACKENDS[identity.backend].can_hot_swap:
        raise UsageError(
            f"the stack {identity.stack_id} has no Deployments: it runs on {identity.backend}",
            why="images are swapped in clusters of k3d",
            hint="name the image in your manifest, or in [stack.images] of obol.toml, and run `obol stack up`; or "
            "begin anew with `obol stack init --force --backend k3d`",
        )
    return identity


def chosen(found: Found, target: Target) -> str:
    """The name of the container that is meant. Raises UsageError, with the names that there are."""
    names = ", ".join(found.images)
    if target.container in found.images:
        return target.container
    if target.container:
        raise UsageError(f"{found.deployment} has no container {target.container}", hint=f"it has {names}")
    if len(found.images) > 1:
        raise UsageError(
            f"{found.deployment} has several containers",
            why=f"they are {names}",
            hint=f"say which one: --deployment {found.deployment}:{next(iter(found.images))}",
        )
    return next(iter(found.images))


def released(found: Found, container: str) -> str:
    """The image to go back to: what is remembered, if it was ours that runs in its place, else what runs.

    A manifest that was applied since has put the released image back by itself, perhaps a newer one.
    """
    now = found.images[container]
    return found.remembered.get(container, now) if _PUSHED.fullmatch(now) else now


def to_restore(found: Found, container: str) -> str | None:
    """The image to have a container run again; None where it runs no image of ours, or there is no such container."""
    now = found.images.get(container, "")
    return found.remembered[container] if _PUSHED.fullmatch(now) else None
