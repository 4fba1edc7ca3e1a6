from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from obol.oci.errors import FOREIGN_SITE, OciError
from obol.registry.server.sites import refuse_other_sites
from tests.unit.registry.server.serving import serving, session
from tests.unit.registry.server.test_handler import PULLED, REST, TAG, upstream, warm

HOST = ("Host", "127.0.0.1:54100")
OWN = [
    (),
    (("Sec-Fetch-Site", "none"),),
    (("sec-fetch-site", " Same-Origin "),),
    (("Origin", "http://127.0.0.1:54100"),),
    (("Origin", "HTTP://127.0.0.1:54100"), ("Sec-Fetch-Site", "same-origin")),
    (("Referer", "http://127.0.0.1:54100/metrics?a=b"),),
]
FOREIGN = [
    (("Sec-Fetch-Site", "cross-site"),),
    (("Sec-Fetch-Site", "same-site"),),
    (("Sec-Fetch-Site", ""),),
    (("Sec-Fetch-Site", "none, cross-site"),),
    (("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")),
    (("Origin", "http://127.0.0.1:54101"),),
    (("Origin", "http://127.0.0.1"),),
    (("Origin", "https://127.0.0.1:54100"),),
    (("Origin", "http://127.0.0.1:54100.attacker.example"),),
    (("Origin", "null"),),
    (("Origin", ""),),
    (("Origin", "http://127.0.0.1:54100"), ("Origin", "http://attacker.example")),
    (("Origin", "http://127.0.0.1:54100"), ("Sec-Fetch-Site", "cross-site")),
    (("Referer", "http://attacker.example/127.0.0.1:54100/"),),
    (("Referer", "http://127.0.0.1:54100@attacker.example/"),),
    (("Referer", "http://[127.0.0.1:54100/"),),
    (("Origin", "http://127.0.0.1:54100"), ("Referer", "http://attacker.example/")),
]


@pytest.mark.parametrize("headers", OWN)
def test_own(headers: tuple[tuple[str, str], ...]) -> None:
    """No browser, a person at a browser, and a page of ours are let in."""
    refuse_other_sites(CIMultiDictProxy(CIMultiDict([HOST, *headers])))


@pytest.mark.parametrize("headers", FOREIGN)
def test_foreign(headers: tuple[tuple[str, str], ...]) -> None:
    """One word for another site is enough to be refused."""
    with pytest.raises(OciError) as refusal:
        refuse_other_sites(CIMultiDictProxy(CIMultiDict([HOST, *headers])))

    assert refusal.value.kind is FOREIGN_SITE


SITES = [
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Site", "same-site"),
    ("Sec-Fetch-Site", "anything"),
    ("Origin", "https://attacker.example"),
    ("Origin", "http://localhost:8080"),
    ("Origin", "null"),
]


@pytest.mark.parametrize("header", SITES)
@pytest.mark.parametrize("target", [*PULLED, *REST, "/v2/team/app/tags/list"])
async def test_other_web_site(target: str, header: tuple[str, str]) -> None:
    """What another web site makes a browser ask is refused on every path, cold and hot, and nothing is fetched."""
    async with serving(upstream()) as s:
        for method in ("GET", "HEAD", "OPTIONS", "POST"):
            reply = await s.ask(method, target, header, ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image"))
            assert reply.status == 403
            assert not [name for name, _ in reply.headers if name.startswith("Access-Control")]
        assert s.world.upstream.asked == []
        await warm(s)
        async with session(s.ports[0]) as client:
            for _ in range(2):
                assert (await client.ask("GET", target, header)).status == 403


async def test_own_pages() -> None:
    """What a person types into a browser, and what a page of ours asks, is answered."""
    async with serving(upstream()) as s:
        own = f"http://LOCALHOST:{s.ports[0]}"
        for header in (("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "same-origin"), ("Origin", own)):
            assert (await s.ask("GET", TAG, header, host_header=f"localhost:{s.ports[0]}")).status == 200
        assert (await s.ask("GET", TAG, ("Origin", "http://localhost"), host_header="localhost:80")).status == 200
