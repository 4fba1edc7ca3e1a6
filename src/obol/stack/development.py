"""What hot-swapping an image decides: whether it can be done here, on which container, and under which name.

An image is pushed under a tag that is made of its ID. So a new build always has a new name: nodes, which do not pull a
name again that they have, cannot run an old build in its place, and two people who push at once do not overwrite each
other's images. Values only: no I/O.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from obol.backends.kubernetes.rollouts import Deployment
from obol.errors import NotThere, ObolError, UsageError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference
from obol.oci.registries import DOCKER_HUB

if TYPE_CHECKING:
    from obol.backends.kubernetes.deployments import Found
    from obol.stack.state import Identity

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
class Source:
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
    if identity.backend != "k3d":
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
        raise UsageError(
            f"{found.deployment} has no container {target.container}",
            hint=f"it has {names}",
        )
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


def absent(target: Target) -> ObolError:
    """There is no such Deployment."""
    return NotThere(
        f"there is no Deployment {target.deployment}",
        hint="`obol kubectl get deployments -A` lists those that there are",
    )
