"""What the stack can run on, and what was seen of the programs that could run it. Values only: no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BackendName = Literal["k3d", "podman", "none"]
ClusterState = Literal["absent", "stopped", "running"]


@dataclass(frozen=True, slots=True)
class Program:
    """One program of this machine."""

    name: str
    version: str = ""
    """What it says when it is asked and answers; "" where it does not."""
    trouble: str = ""
    """Why it is there and yet of no use; "" where it answers, or is not installed."""

    @property
    def answers(self) -> bool:
        """Whether it can be used."""
        return bool(self.version)

    @property
    def installed(self) -> bool:
        """Whether it is there at all."""
        return bool(self.version or self.trouble)


@dataclass(frozen=True, slots=True)
class Runtimes:
    """The programs that backends are made of."""

    docker: Program
    k3d: Program
    podman: Program
