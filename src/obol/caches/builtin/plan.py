"""What the background process of the builtin engine is to be, and the command that makes it so."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from obol.caches.reachable import recall
from obol.registry.store.layout import LOG

if TYPE_CHECKING:
    from obol.machine.commands import User
    from obol.registry.control.api import Listener

_PASSED = frozenset(
    # A proxy's URL may hold a password, and yet nothing can be fetched without it.
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"}
    | {"SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE"}
)
_PASSED_PREFIXES = ("LC_", "OBOL_CACHE_")


@dataclass(frozen=True, slots=True)
class BuiltinPlan:
    """One background process. For commands that only talk to a running one, the store is enough."""

    store: Path
    listeners: tuple[Listener, ...] = ()
    """The addresses to serve, with the ports that are wanted; port 0 stands for any."""
    arguments: tuple[str, ...] = ()
    """Options of `cache serve` besides the store and the ports."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Our own environment; the process gets what it needs of it."""
    config: Path | None = None
    """The directory of `obol.toml`."""
    offline: bool = False
    account: User | None = None
    """The person whom sudo made root: their store is served by a process of theirs."""

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.store / LOG

    def argv(self, ports: Mapping[str, int]) -> tuple[str, ...]:
        """The command, with the port of each registry."""
        chosen = (f"--port={registry}={port}" for registry, port in ports.items())
        files = (f"--store={self.store}", f"--log-file={self.log}")
        return (sys.executable, "-m", "obol", "cache", "serve", *files, *self.arguments, *chosen)

    def child_environment(self) -> dict[str, str]:
        """The environment of the process, without tokens and keys that happen to be in ours."""
        found = {
            name: value
            for name, value in self.environ.items()
            if name.upper() in _PASSED or name.startswith(_PASSED_PREFIXES)
        }
        if self.config is not None:
            found["OBOL_CONFIG_DIR"] = str(self.config)
        if path := found.get("PYTHONPATH"):  # the process starts in another directory
            found["PYTHONPATH"] = os.pathsep.join(str(Path.cwd() / part) for part in path.split(os.pathsep))
        return found


def planned_listeners(plan: BuiltinPlan) -> tuple[Listener, ...]:
    """What an engine that does not run now would serve, by its settings and the ports that it used instead of them.

    A port that is left to the system, and was never chosen, is left out.
    """
    remembered = recall(plan.store)
    found = []
    for listener in plan.listeners:
        known = remembered.get(listener.registry)
        port = known.port if known and known.wanted == listener.port else listener.port
        if port:
            found.append(structs.replace(listener, port=port))
    return tuple(found)
