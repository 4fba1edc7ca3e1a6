from __future__ import annotations

import pytest

from obol.backends.base import BackendName, Program, Runtimes
from obol.caches.base import Amount, EngineStatus, UpstreamStatus
from obol.client.base import PulledImage
from obol.oci.references import Digest, ImageReference
from obol.stack.plan import Choice, Gain, choose, gain, time_saved

ANSWERS = {name: Program(name, version="1") for name in ("docker", "k3d", "podman")}
DEAF = Program("docker", trouble="no daemon")


def runtimes(*programs: Program) -> Runtimes:
    """These programs, the others missing."""
    known = {program.name: program for program in programs}
    docker, k3d, podman = (known.get(name, Program(name)) for name in ANSWERS)
    return Runtimes(docker, k3d, podman)


@pytest.mark.parametrize(
    ("programs", "backend"),
    [
        (("docker", "k3d", "podman"), "k3d"),
        (("docker", "k3d"), "k3d"),
        (("docker", "podman"), "podman"),
        (("k3d", "podman"), "podman"),
        (("docker",), "none"),
        (("k3d",), "none"),
        ((), "none"),
    ],
)
def test_choose(programs: tuple[str, ...], backend: BackendName) -> None:
    """k3d needs Docker as well; podman is next."""
    assert choose(runtimes(*(ANSWERS[name] for name in programs))) == Choice(backend)


@pytest.mark.parametrize(
    ("is_root", "podman", "backend"), [(True, False, "k3s"), (False, False, "none"), (True, True, "podman")]
)
def test_choose_k3s_last(is_root: bool, podman: bool, backend: BackendName) -> None:
    """k3s, which changes the machine itself, is chosen only where there is nothing else, and only for root."""
    found = Runtimes(
        Program("docker"),
        Program("k3d"),
        ANSWERS["podman"] if podman else Program("podman"),
        Program("k3s", version="1.35.5+k3s1"),
        is_root=is_root,
    )

    chosen = choose(found)

    assert chosen.backend == backend
    assert chosen.on_request == (("k3s",) if backend == "none" else ())


def test_choose_names_what_does_not_answer() -> None:
    """A daemon that does not answer is told about where it is what stands in the way, and only there."""
    assert choose(runtimes(DEAF, ANSWERS["k3d"])) == Choice("none", (DEAF,))
    assert choose(runtimes(DEAF, ANSWERS["podman"])) == Choice("podman", ())


def engine(from_cache: int, from_upstream: int, throughput: float | None = 100.0, pid: int = 1) -> EngineStatus:
    """An engine that has served so much of ghcr.io."""
    upstream = UpstreamStatus(
        "ghcr.io",
        "https://ghcr.io",
        "ok",
        bytes_from_cache=from_cache,
        bytes_from_upstream=from_upstream,
        throughput=throughput,
    )
    return EngineStatus("1", pid, "/s", 1.0, False, (), Amount(0, 0), Amount(0, 0), (upstream,))


def test_gain_is_what_was_counted_in_between() -> None:
    """The gain is the difference of two readings, and the time that the bytes would have taken."""
    assert gain(engine(1000, 50), engine(3000, 60)) == Gain(2000, 10, 20.0)
    assert gain(engine(0, 0), engine(0, 70)) == Gain(0, 70, None)
    assert gain(engine(0, 0), engine(9, 0, throughput=None)) == Gain(9, 0, None)


def test_gain_is_not_guessed() -> None:
    """An engine that was restarted in between, or is gone, has not measured."""
    assert gain(engine(0, 0), engine(10, 0, pid=2)) is None
    assert gain(engine(0, 0), None) is None


def pulled(registry: str, from_cache: int) -> PulledImage:
    """An image, so much of which came from the cache."""
    reference = ImageReference.parse(f"{registry}/a/b:1")
    return PulledImage(reference, Digest.of(b""), ("linux/amd64",), 1, 10_000, from_cache, 0, 1.0)


def test_time_saved() -> None:
    """Images of one registry would have shared its line; those of several would have come at the same time."""
    images = [pulled("ghcr.io", 3000), pulled("ghcr.io", 1000), pulled("quay.io", 3000)]

    assert time_saved(images, {"ghcr.io": 100.0, "quay.io": 1000.0}) == 40.0
    assert time_saved(images, {"quay.io": 1000.0}) == 3.0


def test_time_saved_is_not_guessed() -> None:
    """Nothing is said where nothing was measured, and where nothing came from the cache."""
    assert time_saved([pulled("ghcr.io", 3000)], {}) is None
    assert time_saved([pulled("ghcr.io", 0)], {"ghcr.io": 100.0}) is None
    assert time_saved([], {"ghcr.io": 100.0}) is None
