"""Real container clients against a running engine whose upstream is a real docker-registry.

Nothing is shared between tests but the pushed images: each has an upstream process, an engine with an empty store, and
client state of its own.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.clients.images import FLAVOURS, Library, push
from tests.clients.sandbox import OUTSIDE, Sandbox
from tests.clients.servers import Engine, Upstream


@pytest.fixture(scope="session")
def library() -> Iterator[Library]:
    """Push both images once."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name:
        registry = Upstream(Path(name) / "registry", Path(name))
        images = {flavour: push(registry.port, "library/app", flavour, flavour) for flavour in FLAVOURS}
        registry.unplug()
        yield Library(Path(name) / "registry", images)


@pytest.fixture
def workdir() -> Iterator[Path]:
    """A directory with a short name: the path of a unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="obol-") as name:
        yield Path(name)


@pytest.fixture
def sandbox() -> Sandbox:
    """Where the upstream, the engine and the client run: the machine itself, unless a test module says otherwise."""
    return OUTSIDE


@pytest.fixture
def upstream(library: Library, workdir: Path, sandbox: Sandbox) -> Iterator[Upstream]:
    """docker.io, as far as the engine knows."""
    registry = Upstream(library.storage, workdir, sandbox)
    yield registry
    registry.unplug()


@pytest.fixture
def upstreams(upstream: Upstream) -> Mapping[str, str]:
    """What the engine is told to serve: where which registry is."""
    return {"docker.io": upstream.url}


@pytest.fixture
def engine(upstreams: Mapping[str, str], workdir: Path, sandbox: Sandbox) -> Iterator[Engine]:
    """The engine with an empty store; tags are trusted for longer than any test takes."""
    engine = Engine(upstreams, workdir, sandbox)
    try:
        engine.start()
        yield engine
        engine.stop()
        assert "Traceback" not in engine.log()
    finally:
        engine.kill()
        # pytest shows it with a failed test.
        sys.stdout.write(engine.log())
