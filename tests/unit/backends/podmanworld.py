"""A machine with podman, and a stack that may be brought up on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from obol.backends.podman.backend import PodmanBackend, PodmanEnvironment
from obol.backends.ports import ClusterSpec, Deployed, Step, never
from obol.machine.podman import Podman
from obol.machine.ports import Holder
from obol.machine.scratch import Scratch
from obol.rendering.registries import Mirror
from obol.workloads.sources import ManifestFile, packaged
from tests.fakes.clock import FakeClock
from tests.fakes.podman import FakePodman

STACK = "brave-otter"
LITELLM = "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable"
PROMETHEUS = "quay.io/prometheus/prometheus:v3.9.1"
LITELLM_POD, PROMETHEUS_POD = f"obol-stack-{STACK}-litellm-pod", f"obol-stack-{STACK}-prometheus-pod"
MIRRORS = (Mirror("docker.io", "http://127.0.0.1:54100"), Mirror("ghcr.io", "http://127.0.0.1:54101"))


@dataclass
class FakePorts:
    """Ports of which some are taken."""

    taken: set[int] = field(default_factory=set)
    spare: int = 41234

    def is_free(self, address: str, port: int) -> bool:
        return port not in self.taken

    def pick_free(self, addresses: tuple[str, ...]) -> int:
        self.spare += 1
        return self.spare - 1

    def holder(self, port: int) -> Holder | None:
        return Holder(7, "nginx") if port == 4000 else None


@dataclass
class World:
    """A podman, what runs in it, and a stack that may be brought up."""

    config: Path
    podman: FakePodman = field(default_factory=lambda: FakePodman(available={LITELLM, PROMETHEUS}))
    ports: FakePorts = field(default_factory=FakePorts)
    clock: FakeClock = field(default_factory=FakeClock)
    answers: dict[int, int | None] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Those of the latest step."""
    listening: list[str] = field(default_factory=list)
    mirrors: tuple[Mirror, ...] = MIRRORS
    scratch: Scratch | None = None
    own: tuple[Mirror, ...] = ()
    """Mirrors of one `up` only."""
    died: Callable[[], Awaitable[bool]] = never

    @classmethod
    def empty(cls, place: Path) -> World:
        """A machine with podman and nothing in it; the stack's directory is made in `place`."""
        config = place / "config"
        config.mkdir()
        return cls(config)

    @property
    def backend(self) -> PodmanBackend:
        """A backend as a new command has it."""
        podman = Podman(self.podman, {"CONTAINERS_CONF": "/mine.conf"}, scratch=self.scratch)
        return PodmanBackend(podman, self.config, PodmanEnvironment(self.clock, self.ports, self._probe, self._listen))

    async def up(self, *manifests: ManifestFile) -> Deployed:
        """Bring the stack up as `obol stack up` does."""
        data = self.config / "data"
        backend, spec = self.backend, ClusterSpec(STACK, self.config, data, self.mirrors, self.own, died=self.died)
        await backend.check()
        notes: list[str] = []
        await backend.up(spec, Step(self.lines.append, notes))
        try:
            return await backend.apply(spec, manifests or packaged(), self.step)
        finally:
            self.notes = [*notes, *self.notes]

    @property
    def step(self) -> Step:
        """A fresh step, whose notes are in `notes` then."""
        self.notes = []
        return Step(self.lines.append, self.notes)

    async def _probe(self, port: int, path: str) -> int | None:
        return self.answers.get(port, 200)

    async def _listen(self, address: str) -> str | None:
        self.listening.append(address)
        return f"{address}:54100"
