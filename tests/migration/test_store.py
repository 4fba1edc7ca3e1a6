"""A store that commit 993f789 wrote opens with today's code, and nothing of it is fetched again."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from obol.oci.manifests import Manifest
from obol.oci.references import Digest, Repository, Tag
from obol.registry.control.api import Listener
from obol.registry.control.openports import RememberedPorts
from obol.registry.store.disk.opening import open_store
from obol.registry.store.ports import RepositoryKey, StoreError
from obol.registry.upkeep.graph import Graph
from tests.engine.conftest import Start
from tests.fakes import registry as fakes
from tests.limits import eventually
from tests.migration.written import APP, LEFT, LEFT_DATA, STORE, unpack

PULLED = (("docker.io", "library/app", "1"), ("quay.io", "team/app", "other"))
MANIFESTS = 23
"""How many different ones the store holds."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the store."""
    return unpack(tmp_path / "home") / STORE


def upstreams(url: str) -> dict[str, str]:
    """The same registry behind all names."""
    return dict.fromkeys(("docker.io", "ghcr.io", "quay.io"), url)


@pytest.mark.parametrize("repaired", [False, True], ids=["opened", "repaired"])
async def test_nothing_is_fetched_again(root: Path, *, repaired: bool) -> None:
    """All that was pulled is served while every registry refuses; so it is after the index was lost."""
    if repaired:
        (root / "index.sqlite").unlink()
    async with fakes.FakeRegistry() as upstream:
        upstream.status_for = {"/": 503}
        async with Start(root)(upstreams(upstream.url)) as cache:
            for registry, repository, tag in PULLED:
                replies = await replace(cache, port=cache.port_of(registry)).pull(APP, tag, repository)
                assert {reply.status for reply in replies} == {200}
                bodies = [APP.index.body, *(one.body for one in APP.manifests.values()), *APP.blobs.values()]
                assert [reply.body for reply in replies] == bodies
            images = (await cache.running.images()).images
            await eventually(lambda: filled(root))
            assert (await cache.running.images()).images == images

    assert {seen.status for seen in upstream.log} <= {503}
    assert len(images) == len(PULLED) + 10
    assert all(image.complete for image in images)


def filled(root: Path) -> bool:
    """Whether the index has the edges of all manifests."""
    with closing(sqlite3.connect(f"file:{root}/index.sqlite?mode=ro", uri=True)) as connection:
        rows: list[tuple[int]] = connection.execute("SELECT count(*) FROM manifests").fetchall()
        return rows == [(MANIFESTS,)]


async def test_partial_is_resumed(root: Path) -> None:
    """Of the blob that was half there the rest is fetched, and no more."""
    async with fakes.FakeRegistry() as upstream:
        upstream.repositories["team/left"] = fakes.Repository(blobs={LEFT: LEFT_DATA})
        async with Start(root)({"ghcr.io": upstream.url}) as cache:
            reply = await cache.blob(LEFT, repository="team/left")

    assert (reply.status, reply.body) == (200, LEFT_DATA)
    assert sum(seen.sent for seen in upstream.log) == len(LEFT_DATA) // 2


class FakePorts:
    """Notes what is opened."""

    def __init__(self) -> None:
        self.opened: list[Listener] = []

    async def add(self, wanted: Listener, *, absent_address: bool = False) -> Listener:
        """Open a port."""
        del absent_address
        self.opened.append(wanted)
        return wanted

    async def drop(self, listener: Listener) -> bool:
        """Close a port."""
        raise NotImplementedError(listener)


async def test_ports_are_opened_again(root: Path) -> None:
    """The port that a cluster's network asks at is opened again, by its number."""
    ports = FakePorts()

    await RememberedPorts(ports, root, ("docker.io",)).reopen()

    assert [(one.registry, one.address, one.port > 0) for one in ports.opened] == [("docker.io", "127.0.0.2", True)]


def files(root: Path) -> dict[Path, bytes]:
    """All that the store's files hold."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


async def test_second_start_does_nothing(root: Path) -> None:
    """What was upgraded and filled once is left as it is."""
    first = open_store(root)
    assert await Graph(first).catch_up() == MANIFESTS
    await first.close()
    before = files(root)

    second = open_store(root)
    assert await Graph(second).catch_up() == 0
    await second.close()

    assert files(root) == before


@pytest.mark.parametrize("steps", [0, 1, MANIFESTS - 1])
async def test_interrupted_catch_up(root: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """What ends early goes on where it was."""
    store = open_store(root)
    add, done = store.metadata.add_edges, 0

    async def fail_at(digest: Digest, manifest: Manifest) -> None:
        nonlocal done
        if done == steps:
            raise StoreError("full", full=True)
        done += 1
        await add(digest, manifest)

    monkeypatch.setattr(store.metadata, "add_edges", fail_at)
    with pytest.raises(StoreError):
        await Graph(store).catch_up()
    await store.close()

    again = open_store(root)
    assert await Graph(again).catch_up() == MANIFESTS - steps
    await again.close()


async def test_killed_upgrade(root: Path) -> None:
    """An upgrade of the index that is killed before any of its statements is done by the next start."""
    killing = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.migration.killed", str(root))
    assert await killing.wait() == 0

    copies = sorted(root.parent.glob(f"{root.name}-*"))
    assert len(copies) > 15
    for copy in copies:
        store = open_store(copy)
        tag = await store.metadata.tag(RepositoryKey("docker.io", Repository("library/app")), Tag("1"), "")
        assert tag is not None
        assert tag.digest == APP.top
        assert len(await store.metadata.without_edges()) == MANIFESTS
        await store.close()
