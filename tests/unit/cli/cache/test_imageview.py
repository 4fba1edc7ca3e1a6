from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import structs

from obol.cli.cache.imageview import Unfinished, failures, images_lines, warm_lines, warm_result
from obol.registry.control.api import HeldImage, HeldPlatform
from tests.unit.cli.images import APP, LITELLM, MIB, failed, pulled

if TYPE_CHECKING:
    from obol.caches.warming import Outcome
    from obol.oci.references import ImageReference

NOW = 1_700_000_000.0
AMD64 = HeldPlatform("linux/amd64", "sha256:1", "complete", 5, 0, 0)
ABSENT = HeldPlatform("linux/arm64", "sha256:2", "absent", 0, 0, 0)
HELD = HeldImage("docker.io", "team/app", ("1",), "sha256:0", True, 12 * MIB, 0, 0, NOW - 180, (AMD64,))


def test_warm() -> None:
    """Each image takes two lines, none of which is too long; the last line sums up."""
    outcomes: dict[ImageReference, Outcome | Unfinished] = {LITELLM: pulled(LITELLM), APP: failed(APP)}

    lines = warm_lines(outcomes, warm_result(outcomes, 2.5))

    assert lines == [
        "ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable",
        "    cached (linux/amd64, 4 layers): 12.0 MiB from upstream in 2.0 s (6.0 MiB/s)",
        "docker.io/team/app:1",
        "    failed (rate-limited)",
        "",
        "2 images: 1 cached, 1 failed; 12.0 MiB from upstream in 2.5 s (4.8 MiB/s)",
    ]
    assert max(map(len, lines)) <= 80


def test_warm_for_nothing() -> None:
    """A second time nothing is fetched; what an image runs on is told if it is known, and not at length."""
    many = tuple(f"linux/{number}" for number in range(5))
    outcomes: dict[ImageReference, Outcome | Unfinished] = {
        APP: pulled(APP, 5, 0, ()),
        LITELLM: replace(pulled(LITELLM, 5, 0, many), layers=1),
    }

    lines = warm_lines(outcomes, warm_result(outcomes, 0.26))

    assert lines[1::2][:2] == [
        "    cached (4 layers): 5 B, all of it was in the cache",
        "    cached (linux/0, linux/1, linux/2, and 2 more, 1 layer): 5 B, all of it was in the cache",
    ]
    assert lines[-1] == "2 images: 2 cached; nothing was fetched (0.3 s)"


def test_interrupted() -> None:
    """What was not done is told as such, with what is kept of it; what was fetched of it was fetched."""
    unfinished = Unfinished(MIB, 5 * MIB, 4 * MIB, 12 * MIB)
    outcomes: dict[ImageReference, Outcome | Unfinished] = {APP: pulled(), LITELLM: unfinished}

    result = warm_result(outcomes, 1.0, interrupted=True)

    assert (result.complete, result.interrupted, result.bytes_from_upstream) == (False, True, 17 * MIB)
    assert warm_lines(outcomes, result)[3:] == [
        "    unfinished: 4.0 MiB of 12.0 MiB is kept; the same command goes on from there",
        "",
        "2 images: 1 cached, 1 unfinished; 17.0 MiB from upstream in 1.0 s (17.0 MiB/s)",
    ]
    told = result.images[1]
    assert (told.bytes_kept, told.bytes_total, told.bytes_from_cache) == (4 * MIB, 12 * MIB, MIB)


@pytest.mark.parametrize(
    ("unfinished", "text"),
    [
        (Unfinished(), "what was fetched of it is kept; the same command goes on from there"),
        (Unfinished(0, 0, 0, None), "nothing of it is there yet"),
        (Unfinished(0, 0, 0, 12 * MIB), "nothing of it is there yet"),
    ],
)
def test_interrupted_early(unfinished: Unfinished, text: str) -> None:
    """Where nothing is there yet, or nobody can tell how much, that is said."""
    outcomes: dict[ImageReference, Outcome | Unfinished] = {APP: unfinished}

    lines = warm_lines(outcomes, warm_result(outcomes, 1.0, interrupted=True))

    assert lines[1:] == [f"    unfinished: {text}", "", "1 image: 1 unfinished; nothing was fetched (1.0 s)"]


def test_warm_as_json() -> None:
    """The JSON has all there is to know."""
    outcomes: dict[ImageReference, Outcome | Unfinished] = {APP: pulled(), LITELLM: failed()}

    told = json.loads(msgspec.json.encode(warm_result(outcomes, 2.5)))

    cached, problem = told.pop("images")
    assert told == {
        "complete": False,
        "interrupted": False,
        "seconds": 2.5,
        "bytes_from_cache": 0,
        "bytes_from_upstream": 12 * MIB,
    }
    assert cached == {
        "reference": "docker.io/team/app:1",
        "state": "cached",
        "digest": pulled().digest,
        "platforms": ["linux/amd64"],
        "layers": 4,
        "bytes_total": 12 * MIB,
        "bytes_from_cache": 0,
        "bytes_from_upstream": 12 * MIB,
        "bytes_kept": None,
        "seconds": 2.0,
        "problem": None,
    }
    assert (problem["state"], problem["digest"]) == ("failed", None)
    assert problem["problem"] == {
        "kind": "rate-limited",
        "why": "too often",
        "hint": "wait",
        "retry_after_seconds": 34.0,
    }


def test_failures() -> None:
    """Those that failed are told one by one."""
    problem = failed()

    assert failures([pulled(), problem, Unfinished()]) == [problem]


@pytest.mark.parametrize(
    ("image", "lines"),
    [
        (HELD, ["docker.io/team/app:1", "    12.0 MiB, used 3 min ago, linux/amd64: complete"]),
        (
            structs.replace(HELD, tags=("1", "2", "3", "4"), used_at=None, platforms=(AMD64, ABSENT)),
            [
                "docker.io/team/app:1, :2, :3, and 1 more",
                "    12.0 MiB, never used, linux/amd64 (of 2 platforms): complete",
            ],
        ),
        (
            structs.replace(HELD, tags=(), complete=False, missing_blobs=2, missing_bytes=MIB),
            ["docker.io/team/app@sha256:0", "    12.0 MiB, used 3 min ago, linux/amd64: 2 blobs missing (1.0 MiB)"],
        ),
        (
            structs.replace(HELD, complete=False, size=0, platforms=()),
            ["docker.io/team/app:1", "    0 B, used 3 min ago, no platform: only its name is known"],
        ),
        (
            structs.replace(HELD, complete=False, size=9, platforms=(ABSENT, ABSENT)),
            ["docker.io/team/app:1", "    9 B, used 3 min ago, no platform: only its index is there"],
        ),
        (
            structs.replace(HELD, platforms=(structs.replace(AMD64, platform=""),)),
            ["docker.io/team/app:1", "    12.0 MiB, used 3 min ago, one platform: complete"],
        ),
    ],
)
def test_images(image: HeldImage, lines: list[str]) -> None:
    """An image is listed with its tags, platforms, size, last use, and what is missing."""
    assert images_lines([image], NOW)[:2] == lines


def test_sum() -> None:
    """The list ends with how many there are."""
    assert images_lines([HELD, HELD], NOW)[-2:] == ["", "2 images"]
    assert images_lines([structs.replace(HELD, complete=False)], NOW)[-1] == "1 image, 1 of them incomplete"
