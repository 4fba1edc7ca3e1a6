import dataclasses

import pytest
from msgspec.structs import replace

from obol.caches.containers.engine import ContainerSeen
from obol.caches.containers.plan import RegistryContainer
from obol.caches.reachable import Substitute
from obol.cli.cache.view import engine_parts, images_lines
from obol.cli.terminal.caches import container_result, listeners_table, moved_note, substitute_note
from obol.cli.terminal.present import Table
from obol.registry.control.api import Amount, HeldImage, HeldPlatform, Listener
from tests.unit.cli.conftest import HUB_SUBSTITUTE, engine_status
from tests.unit.cli.images import MIB

NOW = 1_700_000_000.0
AMD64 = HeldPlatform("linux/amd64", "sha256:1", "complete", 5, 0, 0)
ABSENT = HeldPlatform("linux/arm64", "sha256:2", "absent", 0, 0, 0)
HELD = HeldImage("docker.io", "team/app", ("1",), "sha256:0", True, 12 * MIB, 0, 0, NOW - 180, (AMD64,))


def test_engine_parts() -> None:
    """The whole status: the engine, its listeners, its upstreams, and what does not fit in a row."""
    status = replace(engine_status(), offline=True, fills=2)

    parts = engine_parts(status, (), status.started_at + 7380)

    engine, process, store, content, _gap, listeners, _gap, upstreams, *notes = parts
    assert isinstance(engine, str)
    assert engine.startswith("Engine   running since 2023-11-1")
    assert engine.endswith("(2 h 3 min), offline")
    assert (process, store) == ("Process  4711 (obol 0.1.0)", "Store    /s")
    assert content == "Content  1,234 blobs, 12.0 GiB; 7.0 MiB of 1 unfinished blob; 2 being fetched"
    assert isinstance(listeners, Table)
    assert isinstance(upstreams, Table)
    assert upstreams.titles[-2:] == (">Sent from cache", ">Fetched")
    assert upstreams.rows == (("docker.io", "rate-limited", "12,000", "3", "3.0 GiB", "5.0 MiB"),)
    assert notes == [
        "docker.io: 429 Too Many Requests; asked again in 34 s",
        "docker.io: 1 request served stale, 2 refused",
        "docker.io: 76 of 100 pulls left",
    ]


def test_fits_80_columns() -> None:
    """With the registries of everyday life the table of upstreams fits a narrow terminal."""
    parts = engine_parts(engine_status({"docker.io": 1, "registry.k8s.io": 2}), (), 0)

    table = next(part for part in parts if isinstance(part, Table) and len(part.titles) == 6)
    columns = zip(table.titles, *table.rows, strict=True)
    assert sum(max(len(cell.removeprefix(">")) for cell in column) + 2 for column in columns) <= 80


def test_healthy_upstream() -> None:
    """An upstream without trouble needs no further line."""
    status = engine_status()
    quiet = replace(
        status.upstreams[0], health="unknown", requests=type(status.upstreams[0].requests)(), ratelimit=None
    )

    parts = engine_parts(replace(status, upstreams=(quiet,), partials=replace(status.partials, count=0)), (), 0)

    assert isinstance(parts[-1], Table)
    assert parts[-1].rows[0][1] == "not asked yet"
    assert parts[3] == "Content  1,234 blobs, 12.0 GiB"


def test_listeners() -> None:
    """A listener is shown as an address that can be used, with a word on why the port is unusual."""
    status = replace(
        engine_status(),
        listeners=(
            Listener("docker.io", "127.0.0.1", 40000),
            Listener("docker.io", "::1", 40000),
            Listener("x.io", "127.0.0.1", 40007),
        ),
    )

    table = listeners_table(status, (HUB_SUBSTITUTE, Substitute("x.io", 0, 40007, "")))

    assert table.rows == (
        ("docker.io", "http://127.0.0.1:40000", "54100 is held by nginx (pid 7)"),
        ("docker.io", "http://[::1]:40000", ""),
        ("x.io", "http://127.0.0.1:40007", ""),
    )


def test_usual_listeners() -> None:
    """Where every port is the usual one, there is no column for reasons."""
    assert listeners_table(engine_status(), ()).titles == ("Registry", "Address")


def test_substitute_note() -> None:
    """A port that somebody holds is told with its holder, or without where that is not known."""
    assert substitute_note(HUB_SUBSTITUTE) == (
        "port 54100 is held by nginx (pid 7): docker.io is served on port 40000 instead"
    )
    assert "held by another process" in substitute_note(dataclasses.replace(HUB_SUBSTITUTE, holder=""))


def test_a_port_that_is_free_again() -> None:
    """A port that was taken when the engine started is not said to be held by somebody who has gone."""
    free = Substitute("docker.io", 54100, 40000, "", free=True)

    assert moved_note(HUB_SUBSTITUTE) == "docker.io on 40000 (54100 is taken by nginx (pid 7))"
    assert moved_note(free) == "docker.io on 40000 (54100 was taken, and is free again)"
    assert substitute_note(free).startswith("port 54100 was held, and is free again: docker.io is served on port 40000")


def test_container_result() -> None:
    """A container is shown to programs with its state and what it holds."""
    cache = RegistryContainer("docker.io", "https://registry-1.docker.io", 54100)
    seen = ContainerSeen(cache, "running", 54100, content=Amount(3, 10))

    result = container_result(seen)

    assert (result.name, result.state, result.port) == ("k3d-obol-docker-io.localhost", "running", 54100)
    assert result.content == Amount(3, 10)
    assert container_result(ContainerSeen(cache, "absent")).port is None


@pytest.mark.parametrize(
    ("image", "lines"),
    [
        (HELD, ["docker.io/team/app:1", "    12.0 MiB, used 3 min ago, linux/amd64: complete"]),
        (
            replace(HELD, tags=("1", "2", "3", "4"), used_at=None, platforms=(AMD64, ABSENT)),
            [
                "docker.io/team/app:1, :2, :3, and 1 more",
                "    12.0 MiB, never used, linux/amd64 (of 2 platforms): complete",
            ],
        ),
        (
            replace(HELD, tags=(), complete=False, missing_blobs=2, missing_bytes=MIB),
            ["docker.io/team/app@sha256:0", "    12.0 MiB, used 3 min ago, linux/amd64: 2 blobs missing (1.0 MiB)"],
        ),
        (
            replace(HELD, complete=False, size=0, platforms=()),
            ["docker.io/team/app:1", "    0 B, used 3 min ago, no platform: only its name is known"],
        ),
        (
            replace(HELD, complete=False, size=9, platforms=(ABSENT, ABSENT)),
            ["docker.io/team/app:1", "    9 B, used 3 min ago, no platform: only its index is there"],
        ),
        (
            replace(HELD, platforms=(replace(AMD64, platform=""),)),
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
    assert images_lines([replace(HELD, complete=False)], NOW)[-1] == "1 image, 1 of them incomplete"
