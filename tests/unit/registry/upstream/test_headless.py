from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from obol.oci.mediatypes import upstream_accept
from obol.oci.references import Digest, Repository, Tag
from obol.registry.upstream.asking import HEADLESS_FOR
from obol.registry.upstream.ports import (
    Absent,
)
from tests.fakes.clock import FakeClock
from tests.fakes.content import make_image
from tests.fakes.hostile import HostileRegistry
from tests.fakes.optional import answers
from tests.fakes.registry import FakeRegistry
from tests.unit.registry.upstream.reach import (
    APP,
    DIGEST,
    LIMITS,
    upstream_at,
)

if TYPE_CHECKING:
    from tests.fakes.hub import FakeHub

IMAGE = make_image(1000)
TOP = Digest(IMAGE.top)
TAG = Tag("1")
NONE = Tag("none")
LAYER = Digest(DIGEST)
ACCEPT = upstream_accept(())
QUICK = replace(LIMITS, manifest=0.1, late_answer=0.1)


def served(fake: FakeRegistry | FakeHub) -> None:
    """Push the image."""
    fake.add(APP, TAG, IMAGE)


@pytest.mark.parametrize(("status", "others"), [(404, True), (403, True), (405, False), (501, False)])
async def test_where_head_does_not_work_it_is_not_sent_for_a_while(status: int, *, others: bool) -> None:
    """Once a GET has brought what a HEAD refused: of the repository, or of all where HEAD as such is unknown."""
    clock = FakeClock()
    async with (
        HostileRegistry({"manifest": answers(status)}) as server,
        upstream_at(server.url, clock=clock) as upstream,
    ):
        served(server)
        server.methods = {"HEAD"}
        await upstream.head_manifest(APP, TAG, ACCEPT)
        await upstream.get_manifest(APP, TAG, ACCEPT)
        asked = server.count()

        await upstream.head_manifest(APP, TAG, ACCEPT)
        assert server.count() == asked
        await upstream.head_manifest(Repository("library/other"), TAG, ACCEPT)
        assert (server.count() > asked) is others
        server.methods = set()
        clock.advance(HEADLESS_FOR)
        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest == TOP


async def test_a_head_that_was_right_is_sent_again() -> None:
    """A tag that is absent for HEAD and GET says nothing against HEAD."""
    async with FakeRegistry() as server, upstream_at(server.url) as upstream:
        served(server)
        await upstream.head_manifest(APP, NONE, ACCEPT)
        with pytest.raises(Absent):
            await upstream.get_manifest(APP, NONE, ACCEPT)

        assert (await upstream.head_manifest(APP, TAG, ACCEPT)).digest == TOP
