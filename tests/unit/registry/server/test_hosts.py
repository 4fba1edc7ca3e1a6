import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from obol.oci.errors import FOREIGN_SITE, OciError
from obol.registry.server.hosts import REMEMBERED, Hosts, refuse_other_sites
from tests.unit.registry.server.serving import serving, session
from tests.unit.registry.server.test_handler import IMAGE, PULLED, REST, SMALL, TAG, upstream, warm

OURS = [
    "localhost", "localhost:54100", "LocalHost.", "app.localhost:80", "127.0.0.1", "127.0.0.1:54100", "127.8.9.10",
    "[::1]", "[::1]:54100", "host.docker.internal:54100", "host.k3d.internal", "host.containers.internal",
    "host.lima.internal:80", "host.minikube.internal", "host.rancher-desktop.internal", "host.orb.internal.",
    "gateway.docker.internal", "host.crc.testing:54100", "docker.for.mac.localhost", "10.0.2.2:54100",
    "192.168.5.2:54100", "192.168.127.254", "192.168.65.254:54100", "localhost:", "kubernetes.docker.internal",
    "cache.example", "CACHE.example.:80", "172.18.0.1:54100", "[fd00:0:0::1]:5",
]  # fmt: skip
FOREIGN = [
    None, "", "attacker.example", "attacker.example:54100", "localhost.attacker.example",
    "host.lima.internal.attacker.example", "hostinternal", "notlocalhost", "127.0.0.1.attacker.example", "10.0.0.1",
    "10.0.2.2.attacker.example", "crc.testing", "172.18.0.2:54100", "0.0.0.0", "[::]", "[::ffff:10.0.0.1]", "::1",
    "[::1", "[nonsense]", "2130706433", "0x7f000001", "localhost:port", "localhost:123456", "localhost/path",
    "user@localhost", "localhost, attacker.example", "localhost\t", "loc%61lhost", "\u212aocalhost", "x" * 300,
]  # fmt: skip


@pytest.fixture
def hosts() -> Hosts:
    """Our names as with a configured one and two addresses that we listen on."""
    known = Hosts(("Cache.example.",))
    known.listen("172.18.0.1")
    known.listen("fd00::1")
    return known


@pytest.mark.parametrize("header", OURS)
def test_ours(hosts: Hosts, header: str) -> None:
    """Loopback, what containers call the machine, configured names, and addresses that we listen on are ours."""
    assert hosts.ours(header)
    assert hosts.ours(header)


@pytest.mark.parametrize("header", FOREIGN)
def test_foreign(hosts: Hosts, header: str | None) -> None:
    """Whatever else a Host header says, a web page may have made it say."""
    assert not hosts.ours(header)


LOCAL = [
    "registry:5000", "k3d-hub", "10.0.0.1:5000", "0.0.0.0", "[fd00::7]:5000", "cache.local",
    "Registry.kube-system.svc.cluster.local.:5000", "build.internal", "k3d-obol-docker-io.localhost:5000",
]  # fmt: skip
PUBLIC = [None, "", "attacker.example", "attacker.example:5000", "1.2.3.4.attacker.example", "a b"]


@pytest.mark.parametrize("header", LOCAL)
def test_local(header: str) -> None:
    """In a container every address is ours, and every name that public DNS cannot have."""
    assert Hosts((), local=True).ours(header)


@pytest.mark.parametrize("header", PUBLIC)
def test_public(header: str | None) -> None:
    """In a container, too, a name that public DNS can have is not ours unless we are told so."""
    assert not Hosts((), local=True).ours(header)
    assert Hosts(("attacker.example",), local=True).ours("attacker.example")


def test_later_address(hosts: Hosts) -> None:
    """An address that we begin to listen on is ours from then on."""
    assert not hosts.ours("10.1.2.3:5000")

    hosts.listen("10.1.2.3")

    assert hosts.ours("10.1.2.3:5000")


def test_bounded(hosts: Hosts) -> None:
    """A flood of names costs no memory."""
    for number in range(2 * REMEMBERED + 10):
        hosts.ours(f"{number}.example")

    assert len(hosts._known) <= REMEMBERED
    assert hosts.ours("localhost")


@pytest.mark.parametrize(
    "authority", ["127.0.0.1", "LOCALHOST:80", "[::1]:54100", "cache.internal", "host.lima.internal."]
)
async def test_absolute_form(authority: str) -> None:
    """Who takes us for a proxy is answered like any other, also from memory; the target names the host."""
    async with serving(upstream()) as s, session(s.ports[0]) as client:
        for _ in range(3):
            reply = await client.ask("GET", f"HTTP://{authority}{TAG}", ("Host", "whatever.example"))
            assert (reply.status, reply.body) == (200, IMAGE.index.body)
        assert (await client.ask("GET", f"http://{authority}/v2/team/app/blobs/{SMALL}?x=y")).status == 200
        assert (await client.ask("GET", f"http://{authority}/healthz")).status == 200
        assert (await client.ask("GET", f"http://{authority}")).status == 404
        assert (await client.ask("GET", f"http://{authority}?x")).status == 404


@pytest.mark.parametrize(
    "start",
    [
        "http://evil.test", "http://evil.test:80", "http://127.0.0.1@evil.test", "http://evil.test@127.0.0.1", "http://",
        "https://127.0.0.1", "ftp://127.0.0.1", "http://127.0.0.1.evil.test", "http://127.0.0.1,evil.test",
    ],
)  # fmt: skip
async def test_foreign_absolute_form(start: str) -> None:
    """A target that names another host or protocol is refused whatever the Host header says, also when ready."""
    async with serving(upstream()) as s, session(s.ports[0]) as warm_one:
        await warm_one.ask("GET", TAG)
        asked = list(s.world.upstream.asked)

        reply = await s.ask("GET", start + TAG)

        assert reply.status in {400, 421}
        assert s.world.upstream.asked == asked


async def test_way_out_of_a_foreign_host() -> None:
    """Who is refused for the name by which he calls us is told which setting would help."""
    async with serving(upstream()) as s:
        reply = await s.ask("GET", TAG, host_header="cache.example")

    assert reply.status == 421
    assert b"--server-name" in reply.body


HOST = ("Host", "127.0.0.1:54100")
OWN_SITES = [
    (),
    (("Sec-Fetch-Site", "none"),),
    (("sec-fetch-site", " Same-Origin "),),
    (("Origin", "http://127.0.0.1:54100"),),
    (("Origin", "HTTP://127.0.0.1:54100"), ("Sec-Fetch-Site", "same-origin")),
    (("Referer", "http://127.0.0.1:54100/metrics?a=b"),),
]
FOREIGN_SITES = [
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


@pytest.mark.parametrize("headers", OWN_SITES)
def test_own_site(headers: tuple[tuple[str, str], ...]) -> None:
    """No browser, a person at a browser, and a page of ours are let in."""
    refuse_other_sites(CIMultiDictProxy(CIMultiDict([HOST, *headers])))


@pytest.mark.parametrize("headers", FOREIGN_SITES)
def test_foreign_site(headers: tuple[tuple[str, str], ...]) -> None:
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
    """What another web site makes a browser ask is refused on every path, cold and ready, and nothing is fetched."""
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
