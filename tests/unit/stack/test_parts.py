from __future__ import annotations

from obol.caches.ports import Started
from obol.rendering.registries import Mirror
from obol.stack.parts import Served, Wired
from tests.unit.stack.world import engine_status

STARTED = Started(engine_status(), already=False)


def test_an_engine_that_nodes_do_not_reach_does_not_serve() -> None:
    """The engine serves a stack where it runs and its nodes were told of it."""
    assert Served().engine is None
    assert Served(STARTED).engine is None
    assert Served(None, Wired((Mirror("docker.io", "http://k3d-obol-docker-io.localhost:5000"),))).engine is None
    assert Served(STARTED, Wired((Mirror("docker.io", "http://172.18.0.1:54100"),))).engine == engine_status()
