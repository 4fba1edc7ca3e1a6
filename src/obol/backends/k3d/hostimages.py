"""The images that a cluster of k3d takes before it has a node: this machine's Docker pulls and runs them.

Nodes have mirrors, Docker has none. So they are looked for before k3d is called, come by the caches where these can be
had, and what keeps Docker from pulling one is said with the way out: k3d would run into the same, and say less.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from obol.errors import ObolError
from obol.machine.docker.errors import DockerAbsent, DockerFailed
from obol.machine.docker.values import DockerInfo
from obol.machine.pulltrouble import explain
from obol.rendering.names import loopback_name
from obol.workloads import k3s

if TYPE_CHECKING:
    from obol.backends.k3d.cli import Version
    from obol.backends.ports import Watch
    from obol.machine.docker.cli import Docker

HELPERS = (("K3D_IMAGE_LOADBALANCER", "ghcr.io/k3d-io/k3d-proxy"), ("K3D_IMAGE_TOOLS", "ghcr.io/k3d-io/k3d-tools"))
"""What k3d itself runs beside the nodes, and the variable by which a person has it run something else."""
HELPER_TAG = "K3D_HELPER_IMAGE_TAG"

_PULLED_BY_K3D = re.compile(r"pull\w* image '(?P<name>[^']+)'")


class HostPullFailed(ObolError):
    """This machine's Docker cannot pull what k3d needs."""


@dataclass(frozen=True, slots=True)
class NeededImage:
    """An image that k3d has Docker run."""

    name: str
    sure: bool
    """Whether it is known to be the one; a k3d that was built by hand may run others."""


def needed_images(version: Version, environ: Mapping[str, str]) -> tuple[NeededImage, ...]:
    """The images that this k3d takes to make a cluster with a load balancer."""
    tag = environ.get(HELPER_TAG) or version.image_tag
    sure = bool(environ.get(HELPER_TAG)) or version.released
    helpers = (
        NeededImage(environ[own], sure=True) if environ.get(own) else NeededImage(f"{name}:{tag}", sure)
        for own, name in HELPERS
    )
    return (NeededImage(k3s.NODE_IMAGE, sure=True), *helpers)


class HostImages:
    """The images of one Docker, for k3d."""

    def __init__(self, docker: Docker, environ: Mapping[str, str]) -> None:
        self._docker = docker
        self._environ = environ

    async def obtain(self, version: Version, caches: Mapping[str, int], watch: Watch) -> None:
        """Have all that k3d needs; `caches` has the port of each registry's cache on loopback.

        Raises HostPullFailed where Docker cannot get to one. What a registry does not have is left to k3d.
        """
        for image in needed_images(version, self._environ):
            if await self._docker.has_image(image.name):
                continue
            watch(f"pulling what k3d itself needs: {image.name}")
            try:
                await self._docker.obtain(image.name, through=loopback_name(image.name, caches))
            except DockerAbsent:
                continue
            except DockerFailed as problem:
                if image.sure and (told := await self._explained(image.name, problem.why)):
                    raise told from problem

    async def explained(self, problem: ObolError) -> ObolError:
        """What k3d says of an image that it could not have pulled, told as if we had tried; all else as it is."""
        if found := _PULLED_BY_K3D.search(problem.why):
            return await self._explained(found["name"], problem.why) or problem
        return problem

    async def _explained(self, name: str, said: str) -> HostPullFailed | None:
        daemon = DockerInfo("", "")
        with contextlib.suppress(ObolError):
            daemon = await self._docker.info()
        if (told := explain(name, said, daemon, self._environ)) is None:
            return None
        why, hint = told
        return HostPullFailed(f"Docker cannot pull {name}, which k3d needs", why=why, hint=hint)
