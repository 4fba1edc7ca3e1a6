from __future__ import annotations

import pytest

from obol.backends.base import BackendName, Program, Runtimes
from obol.client.base import PulledImage
from obol.oci.references import Digest, ImageReference
from obol.stack.plan import Choice, choose, time_saved

ANSWERS = {name: Program(name, version="1") for name in ("docker", "k3d", "podman")}
DEAF = Program("docker", trouble="no daemon")


def runtimes(*programs: Program) -> Runtimes:
    """These programs, the others missing."""
    known = {program.name: program for program in programs}
    docker, k3d, podman = (known.get(name, Program(name)) for name in ANSWERS)
    return Runtimes(docker, k3d, podman)


@pytest.mark.parametrize(
    ("programs", "found"),
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
def test_choose(programs: tuple[str, ...], found: BackendName) -> None:
    """k3d needs Docker as well; podman is taken where k3d cannot be; what is used is none, whatever there is."""
    assert choose(runtimes(*(ANSWERS[name] for name in programs))) == Choice("none", found)


def test_choose_names_what_does_not_answer() -> None:
    """A daemon that does not answer is told about where it is what stands in the way, and only there."""
    assert choose(runtimes(DEAF, ANSWERS["k3d"])) == Choice("none", "none", (DEAF,))
    assert choose(runtimes(DEAF, ANSWERS["podman"])) == Choice("none", "podman", ())


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
