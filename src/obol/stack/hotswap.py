"""Hot-swapping: an image of this machine's Docker in place of one that runs in the cluster, and back again.

Everything is looked at before anything is changed. Then the image is pushed, which nobody notices, and then one request
to the cluster swaps it: whoever is interrupted has done the one or both, and may do the same again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from obol.backends.kubernetes.deployments import Change
from obol.errors import NotThere, ObolError
from obol.machine.dockererrors import DockerFailed
from obol.stack import development
from obol.stack.development import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from obol.backends.kubernetes.deployments import Found
    from obol.backends.kubernetes.rollouts import Deployment
    from obol.backends.ports import ClusterState, Watch
    from obol.caches.containers.engine import ContainerSeen
    from obol.machine.dockervalues import Image, Pushed
    from obol.stack.development import Source
    from obol.stack.parts import Steps

_UP = "`obol stack up` sets that right"


class Images(Protocol):
    """The images of this machine: `machine.docker`. Methods raise what its methods do."""

    async def image(self, name: str) -> Image | None:
        """Look at one."""
        ...

    async def tag(self, source: str, target: str) -> None:
        """Give one another name."""
        ...

    async def untag(self, name: str) -> bool:
        """Take a name away."""
        ...

    async def push(self, reference: str) -> Pushed:
        """Bring one to the registry in its name."""
        ...


class Deployments(Protocol):
    """What runs in the cluster: `backends.deployments`. Methods raise ObolError."""

    async def find(self, deployment: Deployment) -> Found | None:
        """Look at one."""
        ...

    async def swapped(self) -> tuple[Found, ...]:
        """Look at all that run something else than was released."""
        ...

    async def change(self, deployment: Deployment, changes: Sequence[Change]) -> None:
        """Change one, at once."""
        ...

    async def wait(self, deployments: Sequence[Deployment], watch: Watch, *, then: str) -> None:
        """Wait until they are as was asked for."""
        ...


@dataclass(frozen=True, slots=True)
class Ground:
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

    def __init__(self, images: Images, deployments: Deployments, ground: Ground) -> None:
        self._images = images
        self._deployments = deployments
        self._ground = ground

    async def push(self, source: Source, target: Target, steps: Steps) -> Swapped:
        """Have a container run an image, and wait until it does. Raises ObolError, UsageError."""
        with steps.step("Looking at the stack"):
            port = await self._ground.push_port()
            found = await self._found(target)
            target = Target(target.deployment, development.chosen(found, target))
            image = await self._images.image(source.name)
            if image is None:
                raise NotThere(
                    f"this machine's Docker has no image {source.name}",
                    hint="build it first; `docker images` lists all",
                )
        name = source.pushed_as(port, image.id)
        with steps.step(f"Pushing {name}"):
            pushed = await self._push(image, name)
        before, released = found.images[target.container], development.released(found, target.container)
        with steps.step(f"Swapping the image of {target}") as watch:
            await self._deployments.change(target.deployment, (Change(target.container, name, released),))
            back = f"or go back with `obol dev reset --deployment {target}`"
            await self._deployments.wait((target.deployment,), watch, then=back)
        return Swapped(target, name, before, released, pushed)

    async def reset(self, target: Target | None, steps: Steps) -> tuple[Restored, ...]:
        """Have a container, a Deployment or all that were swapped run what was released. Raises ObolError, UsageError.

        What was not swapped is left as it is.
        """
        with steps.step("Looking at the stack"):
            await self._ground.running()
            found = await self._deployments.swapped() if target is None else (await self._found(target),)
            if target is not None and target.container:
                development.chosen(found[0], target)
        wanted = target.container if target is not None else ""
        restored: list[Restored] = []
        for one in found:
            if changes := _back(one, wanted):
                await self._deployments.change(one.deployment, changes)
                restored += (_restored(one, change) for change in changes if change.container in one.images)
        if waiting := list(dict.fromkeys(one.target.deployment for one in restored)):
            with steps.step("Going back to the released images") as watch:
                await self._deployments.wait(waiting, watch, then="and mend what it says")
        return tuple(restored)

    async def _found(self, target: Target) -> Found:
        found = await self._deployments.find(target.deployment)
        if found is None:
            raise development.absent(target)
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
            # Somebody has pushed the same image at the same moment, and has taken the name away.
            await self._images.tag(image.id, name)
            pushed = await self._images.push(name)
        if any(tag != name for tag in image.tags):
            await self._images.untag(name)
        return pushed


def _back(found: Found, container: str) -> tuple[Change, ...]:
    """What takes a Deployment, or one container of it, back."""
    wanted = [name for name in found.remembered if container in {"", name}]
    return tuple(Change(name, development.to_restore(found, name), None) for name in wanted)


def _restored(found: Found, change: Change) -> Restored:
    now = found.images[change.container]
    return Restored(Target(found.deployment, change.container), change.image or now, now)
