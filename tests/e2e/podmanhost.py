"""A podman with a store of its own, and a registry of the stack's images behind a slow line, in a sandbox."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from obol.workloads.images import images_in
from obol.workloads.sources import packaged
from tests.clients.containers import podman_settings, write_policy
from tests.clients.sandbox import Sandbox
from tests.clients.servers import Child, Upstream, environment
from tests.e2e.standins import MIB, STAND_INS, push_stand_in

REGISTRIES = ("docker.io", "ghcr.io", "quay.io")
RATE = 5.0 * MIB
"""Bytes a second from the registries: what a slow line makes of several hundred MiB, at the size of the stand-ins."""

_LINE = """\
import sys, threading
from tests.clients.throttle import Throttle
line = Throttle(int(sys.argv[1]), float(sys.argv[2]))
print(line.port, flush=True)
threading.Event().wait()
"""


def podman_environment(workdir: Path) -> Mapping[str, str]:
    """What podman is told: all that it keeps is in the directory."""
    environ = environment(workdir, **podman_settings(workdir))
    settings = Path(environ["HOME"]) / ".config/containers"
    settings.mkdir(parents=True)
    write_policy(settings)
    return environ


@contextmanager
def slow_line(upstream: Upstream, workdir: Path, sandbox: Sandbox) -> Iterator[str]:
    """The way to the registries, inside the sandbox; its URL."""
    argv = [*sandbox.network, sys.executable, "-c", _LINE, str(upstream.port), str(RATE)]
    root = str(Path(__file__).parents[2])
    child = Child(argv, out=workdir / "line.log", env={**environment(workdir), "PYTHONPATH": root})
    try:
        port = child.wait_for(lambda: (workdir / "line.log").read_text().strip() or None)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.kill()


def filled(workdir: Path) -> Path:
    """The directory of a registry that has the stack's images."""
    storage = workdir / "registry"
    registry = Upstream(storage, workdir)
    for manifest in packaged():
        for used in images_in(manifest):
            push_stand_in(registry.port, used.reference, STAND_INS[used.container])
    registry.unplug()
    return storage
