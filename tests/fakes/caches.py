"""Caches that run nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec.structs import replace

from obol.caches.builtin.process import BuiltinEngine, Running
from obol.errors import PortTaken
from obol.registry.control.api import AccountStatus, EngineStatus, Listener
from tests.fakes.control import status_body


@dataclass
class FakeCaches(BuiltinEngine):
    """An engine that listens on loopback, and where it is told to."""

    listeners: list[Listener] = field(
        default_factory=lambda: [Listener("docker.io", "127.0.0.1", 54100), Listener("ghcr.io", "127.0.0.1", 54101)]
    )
    runs: bool = True
    taken: set[int] = field(default_factory=set)

    def status(self) -> Running | None:
        status = msgspec.json.decode(status_body(Path("/s")), type=EngineStatus)
        return Running(replace(status, listeners=tuple(self.listeners))) if self.runs else None

    def listen(self, listener: Listener) -> Listener:
        if listener.port in self.taken:
            raise PortTaken("taken")
        real = replace(listener, port=listener.port or 41000)
        self.listeners.append(real)
        return real

    def open_account(self, listeners: Sequence[Listener]) -> AccountStatus:
        return AccountStatus("a", True, tuple(listeners))

    def close_account(self, name: str) -> AccountStatus:
        return AccountStatus(name, True, ())
