import asyncio
import gc
import http.client
import logging
import os
import signal
import socket
import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import obol
from obol.errors import PortTaken, StoreInUse, StoreUnusable
from obol.machine import logs, tasks
from obol.oci.references import Digest
from obol.registry.control.api import Listener
from obol.registry.settings import EngineSettings, UpstreamSettings
from obol.wiring.engine import running_engine, serve
from tests.fakes.clock import FakeClock
from tests.fakes.content import make_image
from tests.fakes.http import request
from tests.fakes.registry import FakeRegistry
from tests.limits import short_limits
from tests.unit.descriptors import descriptors

IMAGE = make_image(500, seed=1)
Told = list[tuple[str, int]]
LIMITS = short_limits(shutdown=0.2, stale_after=0.3, manifest=1.0, connect=0.5)


def settings(tmp_path: Path, url: str = "http://127.0.0.1:9") -> EngineSettings:
    """One upstream on one port."""
    return EngineSettings(
        tmp_path / "store",
        (UpstreamSettings("registry.test", url),),
        (Listener("registry.test", "127.0.0.1", 0),),
        limits=LIMITS,
    )


async def test_pull(tmp_path: Path) -> None:
    """An engine that was wired serves its upstream's images, and keeps them over a restart."""
    async with FakeRegistry() as upstream:
        upstream.add("team/app", "v1", IMAGE)
        for _ in range(2):
            async with running_engine(settings(tmp_path, upstream.url)) as running:
                (listener,) = running.listeners.list()
                reply = await request(listener.port, "GET", f"/v2/team/app/manifests/{IMAGE.top}")
                assert (reply.status, reply.body) == (200, IMAGE.index.body)
        assert upstream.count("GET", "/manifests/") == 1


async def test_status(tmp_path: Path) -> None:
    """The status tells who runs, since when, what listens and what is held."""
    clock = FakeClock()
    started = clock.wall()
    async with running_engine(settings(tmp_path), clock) as running:
        await running.store.content.put(*_content())
        status = await running.status()
        (listener,) = running.listeners.list()

    assert (status.version, status.pid, status.started_at) == (obol.__version__, os.getpid(), started)
    assert status.store == str(tmp_path / "store")
    assert (status.content.count, status.content.size) == (1, 5)
    assert status.listeners == (Listener("registry.test", "127.0.0.1", listener.port),)
    assert [one.registry for one in status.upstreams] == ["registry.test"]
    assert msgspec.json.encode(status)


def _content() -> tuple[Digest, bytes]:
    return Digest.of(b"hello"), b"hello"


async def test_pages(tmp_path: Path) -> None:
    """Beside the registry there are a page for health and one for Prometheus."""
    async with running_engine(settings(tmp_path)) as running:
        (listener,) = running.listeners.list()
        health = await request(listener.port, "GET", "/healthz")
        metrics = await request(listener.port, "GET", "/metrics")

    assert (health.status, health.body) == (200, b"ok\n")
    assert b"obol_cache_content_objects 0.0" in metrics.body


async def test_start_and_stop(tmp_path: Path) -> None:
    """An engine can be started and stopped in one process again and again: no thread, descriptor or task is left."""

    async def once() -> None:
        async with running_engine(settings(tmp_path)) as running:
            (listener,) = running.listeners.list()
            assert (await request(listener.port, "GET", "/v2/")).status == 200

    await once()
    gc.collect()
    before = (descriptors(), len(tasks.alive()), len(asyncio.all_tasks()))
    for _ in range(12):
        await once()

    gc.collect()
    assert (descriptors(), len(tasks.alive()), len(asyncio.all_tasks())) == before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("obol")]


async def test_two_at_once(tmp_path: Path) -> None:
    """Two engines in one process do not disturb each other; two on one store cannot be."""
    async with running_engine(settings(tmp_path / "a")) as one, running_engine(settings(tmp_path / "b")) as two:
        assert one.listeners.list() != two.listeners.list()
        with pytest.raises(StoreInUse):
            async with running_engine(settings(tmp_path / "a")):
                pass


async def test_port_taken(tmp_path: Path) -> None:
    """A port that is taken ends the start, and leaves nothing behind."""
    async with running_engine(settings(tmp_path / "a")) as one:
        wanted = replace(settings(tmp_path / "b"), listeners=tuple(one.listeners.list()))
        before = len(tasks.alive())
        for _ in range(2):
            with pytest.raises(PortTaken):
                async with running_engine(wanted):
                    pass
        assert len(tasks.alive()) <= before


async def test_unusable_store(tmp_path: Path) -> None:
    """A store that is no directory is told as such."""
    (tmp_path / "store").write_text("a file")

    with pytest.raises(StoreUnusable):
        async with running_engine(settings(tmp_path)):
            pass


async def test_partials_are_swept(tmp_path: Path) -> None:
    """At the start, left-overs that cannot be resumed are removed."""
    async with running_engine(settings(tmp_path)):
        pass
    foreign = tmp_path / "store" / "partial" / "junk"
    foreign.write_text("?")

    async with running_engine(settings(tmp_path)):
        assert not foreign.exists()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """The formats and levels of logging that were asked for; logging itself is left alone."""
    asked: Told = []
    monkeypatch.setattr(logs, "configure", lambda style, level: asked.append((style, level)))
    return asked


def when_ready(path: Path, action: str) -> threading.Thread:
    """In a thread: once the control socket answers, do something to end the engine."""

    def asked() -> bool:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(path))
            connection.request("POST", "/stop" if action == "stop" else "/nothing")
            connection.getresponse().read()
        except OSError:
            return False
        finally:
            connection.close()
        return True

    def act() -> None:
        never = threading.Event()
        while not asked():
            never.wait(0.01)
        if action != "stop":
            os.kill(os.getpid(), signal.SIGTERM if action == "term" else signal.SIGINT)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("action", ["stop", "term", "int"])
def test_serve(tmp_path: Path, told: Told, action: str) -> None:
    """`serve` runs until the order to stop or a signal, ends with 0, and leaves no socket."""
    path = tmp_path / "store" / "control.sock"
    thread = when_ready(path, action)

    assert serve(settings(tmp_path), log_format="json", log_level=logging.ERROR) == 0

    thread.join()
    assert told == [("json", logging.ERROR)]
    assert not path.exists()


def test_serve_that_cannot_start(tmp_path: Path, told: Told) -> None:
    """What keeps the engine from starting is raised, for the command line to tell."""
    (tmp_path / "store").write_text("a file")

    with pytest.raises(StoreUnusable):
        serve(settings(tmp_path))
    assert told == [("human", logging.INFO)]
