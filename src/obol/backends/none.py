"""The backend of a machine that cannot run the stack: deploying is filling the caches with every image, and waiting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from obol.backends.ports import NONE, Deployed, Up

if TYPE_CHECKING:
    from obol.backends.ports import BackendEnvironment, BackendName, ClusterSpec, ClusterState, Step
    from obol.workloads.sources import ManifestFile


class NoBackend:
    """Runs nothing. There is nothing that it could lack, stop or remove."""

    name: BackendName = NONE

    async def check(self) -> None:
        """It needs nothing."""

    async def authorise(self) -> None:
        """It needs no rights."""

    async def state(self, stack_id: str) -> ClusterState:
        """There is no cluster."""
        del stack_id
        return "absent"

    async def up(self, spec: ClusterSpec, step: Step) -> Up:
        """There is nothing to start."""
        del spec, step
        return Up(created=False)

    async def apply(self, spec: ClusterSpec, manifests: Sequence[ManifestFile], step: Step) -> Deployed:
        """Warm the caches, and wait until every image is there or has failed."""
        del manifests, step
        return Deployed("", tuple(await spec.warm()))

    async def down(self, stack_id: str) -> None:
        """There is nothing to stop."""

    async def purge(self, stack_id: str, *, images: bool) -> None:
        """There is nothing to remove."""


def build(_environment: BackendEnvironment) -> NoBackend:
    """Make the backend."""
    return NoBackend()
