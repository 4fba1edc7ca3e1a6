from __future__ import annotations

import re

import pytest

from obol.backends.ports import Program
from obol.caches.ports import Running, Started
from obol.cli.results.stack import RegistryGain
from obol.cli.stack.view import advice, errors, needed, status_parts, status_result, up_parts, up_result
from obol.cli.terminal.present import Table
from obol.client.ports import Kind, PulledImage, PullFailed
from obol.oci.references import ImageReference
from obol.stack.nocluster import Brought, Seen, WarmedImage
from obol.stack.plan import Choice
from obol.stack.space import Space
from obol.workloads.images import StackImage
from tests.unit.stack.world import LITELLM, PAUSE, engine_status, failed, pulled

MIB = 1 << 20
NOW = 1_700_000_000.0
DISK = Space("/caches", 2**30, None, "/data", data_there=True)


def brought(
    *outcomes: PulledImage | PullFailed, saved: float | None = None, held: dict[str, int] | None = None
) -> Brought:
    """What `up` did with the two images."""
    images = tuple(WarmedImage(image, outcome) for image, outcome in zip((LITELLM, PAUSE), outcomes, strict=True))
    return Brought(Choice("none"), Started(engine_status(), False), images, 61.0, saved, held or {})


COLD = brought(pulled(LITELLM, from_cache=MIB, from_upstream=600 * MIB), pulled(PAUSE, from_upstream=MIB))
LIMITED = brought(
    failed(LITELLM, Kind.RATE_LIMITED, 3700.0), pulled(PAUSE, from_cache=MIB), saved=100.2, held={"docker.io": MIB}
)


def texts(parts: list[str | Table]) -> list[str]:
    """The parts that are no tables."""
    return [part for part in parts if isinstance(part, str)]


def test_up_parts() -> None:
    """Every image has a row with its bytes by where they came from, and a sentence tells what was there before.

    A layer that another image of the same `up` has brought was not there before.
    """
    table, _, *rest = up_parts(COLD, NOW)

    assert isinstance(table, Table)
    assert table.titles == ("Image", "State", ">Size", ">From cache", ">Upstream")
    assert table.rows == (
        ("litellm-non_root:main-v1.83.14-stable", "cached", "601 MiB", "1.0 MiB", "600 MiB"),
        ("mirrored-pause:3.6", "cached", "1.0 MiB", "0 B", "1.0 MiB"),
    )
    assert rest == [
        "All 2 images are in the caches (1 min 1 s).",
        "601 MiB came from upstream, 0 B was there already.",
    ]


def test_up_parts_with_a_failure() -> None:
    """What could not be fetched is short in the table, and the end of a rate limit is told by the clock."""
    table, _, *rest = up_parts(LIMITED, NOW)

    assert isinstance(table, Table)
    assert table.rows[0] == ("litellm-non_root:main-v1.83.14-stable", "limited", "", "", "")
    assert rest[:3] == [
        "1 of 2 images is in the caches (1 min 1 s).",
        "0 B came from upstream, 1.0 MiB was there already.",
        "The caches saved about 1 min 40 s.",
    ]
    assert re.fullmatch(r"The rate limit of ghcr.io ends at about \d\d:\d\d \(in 1 h 1 min\)\.", str(rest[3]))
    assert errors(LIMITED) == [LIMITED.images[0].outcome]
    assert errors(COLD) == []


def test_one_image() -> None:
    """One image is one, and what is there already is an amount."""
    whole = Brought(Choice("none"), Started(engine_status(), False), COLD.images[:1], 1.0, None)
    failing = Brought(Choice("none"), Started(engine_status(), False), LIMITED.images[:1], 1.0, None)

    assert "1 image is in the caches (1 s)." in texts(up_parts(whole, NOW))
    assert "0 of 1 image are in the caches (1 s)." in texts(up_parts(failing, NOW))


def test_errors_alike() -> None:
    """Images of one registry that cannot be had for one reason are told together; others are not."""
    other = StackImage(ImageReference.parse("rancher/klipper-lb:1"), ())
    images = tuple(WarmedImage(image, failed(image, Kind.UPSTREAM_DOWN)) for image in (LITELLM, PAUSE, other))

    told = errors(Brought(Choice("none"), Started(engine_status(), False), images, 1.0, None))

    assert [error.what for error in told] == [
        f"{LITELLM.reference} cannot be pulled",
        "2 images of docker.io cannot be pulled",
    ]
    assert (told[1].why, told[1].hint) == ("for a reason", "do something")


def test_up_result() -> None:
    """The same for programs, image by image."""
    cold, limited = up_result(COLD), up_result(LIMITED)

    assert (cold.backend, cold.stack, cold.complete, cold.gain.saved_seconds) == ("none", None, True, None)
    assert cold.gain.registries == (RegistryGain("ghcr.io", 0, 600 * MIB), RegistryGain("docker.io", 0, MIB))
    assert (cold.images[0].state, cold.images[0].bytes_total, cold.images[0].problem) == ("cached", 601 * MIB, None)
    assert (limited.complete, limited.gain.saved_seconds) == (False, 100.2)
    problem = limited.images[0].problem
    assert limited.images[0].state == "failed"
    assert problem is not None
    assert (problem.kind, problem.why, problem.retry_after_seconds) == (Kind.RATE_LIMITED, "for a reason", 3700.0)


@pytest.mark.parametrize(
    ("choice", "asked", "words"),
    [
        (Choice("none"), True, ["nothing runs", "as asked"]),
        (Choice("none", on_request=("k3s",)), False, ["k3s is installed: `obol stack up --backend k3s`"]),
        (Choice("none"), False, ["Nothing here can run the stack", "https://k3d.io", "https://podman.io"]),
        (Choice("none", (Program("docker", trouble="no daemon"),)), False, ["does not answer: no daemon"]),
    ],
)
def test_advice(choice: Choice, asked: bool, words: list[str]) -> None:
    """It is said plainly that nothing runs, why, and what a runtime could be."""
    text = "\n".join(advice(choice, asked=asked))

    assert all(word in text for word in words)
    assert ("https://" in text) == (not asked)


@pytest.mark.parametrize(
    ("choice", "why", "hint"),
    [
        (Choice("none"), "neither k3d with Docker nor podman is installed", "install "),
        (
            Choice("none", (Program("docker", trouble="no daemon"),)),
            "docker does not answer: no daemon",
            "start",
        ),
        (
            Choice("none", on_request=("k3s",)),
            "k3s is installed: `obol stack up --backend k3s` runs the stack on the machine itself, as root",
            "ask for it with `--backend k3s`",
        ),
    ],
)
def test_needed(choice: Choice, why: str, hint: str) -> None:
    """Where something has to run, what is missing is an error with the ways out."""
    problem = needed(choice)

    assert problem.why == why
    assert problem.hint.startswith(hint)
    assert "https://k3d.io" in problem.hint


def test_status_of_nothing() -> None:
    """Without running caches it is said that nobody knows what they hold."""
    seen = Seen(None, ((LITELLM, None), (PAUSE, None)))

    assert status_parts(seen, DISK) == [
        "Cluster  nothing runs (backend none)",
        "Caches   not running",
        "Images   2 needed; which are held is not known",
        "Disk     1.0 GiB in /caches",
        "Data     /data",
    ]
    told = status_result(seen, DISK)
    assert (told.images_complete, told.engine) == (None, None)


def test_status() -> None:
    """With running caches each image is complete, or not."""
    seen = Seen(Running(engine_status()), ((LITELLM, "incomplete"), (PAUSE, "complete")))

    parts = status_parts(seen, DISK)

    assert texts(parts)[1:3] == ["Caches   running (process 4711)", "Images   1 of 2 complete"]
    images = parts[-1]
    assert isinstance(images, Table)
    assert images.rows == (
        ("litellm-non_root:main-v1.83.14-stable", "incomplete", "litellm"),
        ("mirrored-pause:3.6", "complete", "k3s v1.35.5+k3s1"),
    )
    assert [row.held for row in status_result(seen, DISK).images] == ["incomplete", "complete"]
