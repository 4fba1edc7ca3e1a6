"""`obol cache warm`: our own client, over a slow line to a real docker-registry."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.images import Image, Library
from tests.clients.servers import Child, Engine, Upstream, environment
from tests.clients.throttle import Throttle
from tests.limits import scaled

pytestmark = pytest.mark.tool("docker-registry", "busybox")

MIB = 1024 * 1024
SLOW = 8.0 * MIB
APP = "app:oci"


@dataclass(frozen=True, slots=True)
class Finished:
    """What one run said."""

    code: int
    json: Any
    err: str

    @property
    def image(self) -> Any:
        (image,) = self.json["images"]
        return image


@dataclass(frozen=True, slots=True)
class Obol:
    """The command line of somebody whose cache is in `workdir`."""

    workdir: Path
    upstream: str

    def run(self, *arguments: str) -> Finished:
        done = subprocess.run(
            self._argv(*arguments), env=self._env(), capture_output=True, timeout=scaled(50), check=False
        )
        return Finished(done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr.decode())

    def begin(self, *arguments: str) -> Child:
        return Child(self._argv(*arguments), out=self.workdir / "warm.out", env=self._env())

    def _argv(self, *arguments: str) -> list[str]:
        store = f"--store={self.workdir / 'store'}"
        return [sys.executable, "-m", "obol", "cache", *arguments, store, "-ojson"]

    def _env(self) -> Mapping[str, str]:
        upstream = f"docker.io={self.upstream}"
        return environment(self.workdir, OBOL_CACHE_UPSTREAM=upstream, OBOL_CACHE_PORT="docker.io=0")


@pytest.fixture
def line(upstream: Upstream) -> Iterator[Throttle]:
    """The way to the upstream."""
    throttle = Throttle(upstream.port)
    yield throttle
    throttle.close()


@pytest.fixture
def upstreams(line: Throttle) -> Mapping[str, str]:
    """The engine goes that way."""
    return {"docker.io": line.url}


@pytest.fixture
def obol(workdir: Path, line: Throttle) -> Obol:
    """The command line, without an engine that runs."""
    return Obol(workdir, line.url)


@pytest.fixture
def image(library: Library) -> Image:
    """What is warmed."""
    return library.images["oci"]


def size_of(image: Image) -> int:
    """Bytes of the index, of one manifest and of its blobs."""
    return len(image.index.body) + len(image.native.manifest.body) + sum(image.native_blobs().values())


@contextmanager
def slowed(line: Throttle) -> Iterator[None]:
    """Let the line be slow."""
    line.rate = SLOW
    yield
    line.rate = None


def interrupt(obol: Obol, line: Throttle, at: int) -> None:
    """Kill a run, without mercy, when so many bytes have come."""
    with slowed(line):
        child = obol.begin("warm", APP)
        child.wait_for(lambda: line.carried >= at or None)
        child.kill()


def test_cold_and_warm(engine: Engine, upstream: Upstream, obol: Obol, image: Image) -> None:
    """The first run fetches each blob of the platform once; the second fetches nothing and asks nothing."""
    cold = obol.run("warm", APP)
    assert upstream.blob_bytes() == image.native_blobs()
    upstream.forget()
    warm = obol.run("warm", APP)

    assert (cold.code, warm.code, upstream.requests()) == (0, 0, [])
    assert cold.image["digest"] == warm.image["digest"] == image.index.digest
    assert (cold.image["bytes_from_cache"], cold.image["bytes_from_upstream"]) == (0, size_of(image))
    assert (warm.image["bytes_from_cache"], warm.image["bytes_from_upstream"]) == (size_of(image), 0)


def test_killed_and_repeated(engine: Engine, line: Throttle, obol: Obol, image: Image) -> None:
    """A run that is killed in the middle and repeated fetches what was missing: in all, every byte once."""
    interrupt(obol, line, 5 * MIB)
    again = obol.run("warm", APP)

    assert again.code == 0
    assert again.image["bytes_from_cache"] > 4 * MIB
    assert size_of(image) < line.carried < size_of(image) + 64 * 1024
    assert obol.run("warm", APP).image["bytes_from_upstream"] == 0


def test_engine_restarted_in_the_middle(engine: Engine, line: Throttle, obol: Obol, image: Image) -> None:
    """When the engine ends too, its next run goes on where the gapless beginning of a blob ended."""
    interrupt(obol, line, 9 * MIB)
    engine.stop()
    before = line.carried
    engine.start()
    again = obol.run("warm", APP)

    assert again.code == 0
    kept = again.image["bytes_from_cache"]
    assert kept > 2 * MIB
    assert line.carried - before == pytest.approx(size_of(image) - kept, abs=256 * 1024)


def test_all_platforms(engine: Engine, upstream: Upstream, obol: Obol, image: Image) -> None:
    """All platforms after one cost what the others have of their own."""
    obol.run("warm", APP)
    upstream.forget()

    every = obol.run("warm", APP, "--all-platforms")

    (other,) = (chosen for chosen in image.platforms.values() if chosen is not image.native)
    assert every.image["platforms"] == ["linux/amd64", "linux/arm64"]
    assert upstream.blob_bytes() == {other.config.digest: len(other.config.body)}
    (held,) = obol.run("ls").json["images"]
    assert (held["complete"], [one["state"] for one in held["platforms"]]) == (True, ["complete"] * 2)


@pytest.mark.parametrize("offline", [False, True])
def test_offline(engine: Engine, upstream: Upstream, obol: Obol, offline: bool) -> None:
    """What was warmed is warm without an upstream, also when the engine was restarted; what was not is told."""
    obol.run("warm", APP)
    upstream.unplug()
    engine.restart(tag_ttl=0.0, offline=offline)

    warm = obol.run("warm", APP)
    both = obol.run("warm", APP, "app:docker")

    assert (warm.code, warm.image["bytes_from_upstream"]) == (0, 0)
    assert (both.code, [image["state"] for image in both.json["images"]]) == (1, ["cached", "failed"])
    assert both.json["images"][1]["problem"]["kind"] == ("offline" if offline else "upstream-down")


def test_some_fail(engine: Engine, obol: Obol) -> None:
    """One image that is not there stops no other."""
    told = obol.run("warm", "nope:1", APP, "quay.io/a/b:1")

    kinds = [image["problem"] and image["problem"]["kind"] for image in told.json["images"]]
    assert (told.code, kinds) == (1, ["absent", None, "not-served"])


def test_without_an_engine(obol: Obol, image: Image) -> None:
    """Where no engine runs, one is started, and goes on."""
    try:
        told = obol.run("warm", APP)
        held = obol.run("ls")
    finally:
        stopped = obol.run("stop")

    assert told.image["bytes_from_upstream"] == size_of(image)
    assert [one["digest"] for one in held.json["images"]] == [image.index.digest]
    assert stopped.json["stopped"] is True
