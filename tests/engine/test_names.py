"""Names, spaces and hosts: what is not ours is refused before anything is looked up."""

import pytest

from tests.engine.conftest import Start
from tests.fakes.content import make_image
from tests.fakes.http import request
from tests.fakes.registry import FakeRegistry

HUB = make_image(1000, seed=30)
GHCR = make_image(1000, seed=31)

BAD_TARGETS = [
    "/v2/../../etc/manifests/x",
    "/v2/%2e%2e/%2e%2e/etc/manifests/x",
    "/v2/a/%2e%2e/b/manifests/x",
    "/v2/a%2fb/manifests/x",
    "/v2/a%00b/manifests/x",
    "/v2/a//b/manifests/x",
    "/v2//manifests/x",
    "/v2/a\\b/manifests/x",
    "/v2/A/manifests/x",
    "/v2/./a/manifests/x",
    "/v2/_a/manifests/x",
    "/v2/a_/manifests/x",
    f"/v2/{'a' * 256}/manifests/x",
    "/v2/a/manifests/..",
    "/v2/a/manifests/-x",
    f"/v2/a/manifests/{'t' * 129}",
    "/v2/a/blobs/sha256:../../x",
    "/v2/a/blobs/sha256:" + "A" * 64,
    "/v2/a/blobs/sha256:" + "0" * 63,
    "/v2/a/blobs/md5:" + "0" * 32,
    "/v2/a/manifests/x?ns=",
    "/v2/a/manifests/x?ns=docker.io&ns=ghcr.io",
    "/v2/a/manifests/x?ns=http://docker.io",
    "/v2/a/manifests/x?ns=user@docker.io",
    "http://evil.example/v2/a/manifests/x",
    "//evil.example/v2/a/manifests/x",
    "/v3/a/manifests/x",
    "/etc/passwd",
]


@pytest.mark.parametrize("target", BAD_TARGETS)
async def test_bad_names_reach_nobody(start: Start, target: str) -> None:
    """A name outside the grammar is 400 or 404, and neither the store nor an upstream hears of it."""
    async with start.over() as (upstream, cache):
        reply = await cache.get(target)

        assert reply.status in ({421} if "://evil" in target else {400, 404})
        assert upstream.count() == 0
        assert cache.stored() == set()


@pytest.mark.parametrize("ns", ["ghcr.io", "169.254.169.254", "localhost:22", "evil.test", "quay.io"])
async def test_another_registry_than_the_ports_is_refused(start: Start, ns: str) -> None:
    """`?ns=` of another registry never yields this port's image, held or not, and is not dialled."""
    async with FakeRegistry() as hub, FakeRegistry() as ghcr:
        hub.add("library/app", "1", HUB)
        ghcr.add("library/app", "1", GHCR)
        async with start({"docker.io": hub.url, "ghcr.io": ghcr.url}) as cache:
            await cache.pull(HUB)
            seen = hub.count(), ghcr.count()

            reply = await cache.get(f"/v2/library/app/manifests/1?ns={ns}")

            assert reply.status == 404
            assert (hub.count(), ghcr.count()) == seen


@pytest.mark.parametrize("ns", ["docker.io", "index.docker.io", "registry-1.docker.io", "DOCKER.IO", "docker.io:443"])
async def test_aliases_of_docker_hub_are_one(start: Start, ns: str) -> None:
    """Every spelling of Docker Hub, and `library/`, is one name: one upstream request serves them all."""
    async with FakeRegistry() as hub:
        hub.add("library/app", "1", HUB)
        async with start(hub.url) as cache:
            await cache.manifest("1")
            seen = hub.count()

            reply = await cache.get(f"/v2/app/manifests/1?ns={ns}")

            assert reply.status == 200
            assert reply.header("OCI-Namespace") == "docker.io"
            assert hub.count() == seen


async def test_equal_names_of_two_registries_stay_apart(start: Start) -> None:
    """The same repository and tag in two registries are two images, however the pulls are mixed."""
    async with FakeRegistry() as hub, FakeRegistry() as ghcr:
        hub.add("library/app", "1", HUB)
        ghcr.add("library/app", "1", GHCR)
        async with start({"docker.io": hub.url, "ghcr.io": ghcr.url}) as cache:
            for _ in range(2):
                for registry, image in (("docker.io", HUB), ("ghcr.io", GHCR)):
                    port = cache.port_of(registry)
                    reply = await request(port, "GET", f"/v2/library/app/manifests/1?ns={registry}")
                    assert reply.header("Docker-Content-Digest") == image.top


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("attacker.example", 421),
        ("attacker.example:80", 421),
        ("127.0.0.1.attacker.example", 421),
        ("10.0.0.1", 421),
        ("localhost", 200),
        ("localhost.", 200),
        ("LOCALHOST:5000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:54100", 200),
    ],
)
@pytest.mark.parametrize("target", ["/v2/", "/healthz", "/metrics"])
async def test_foreign_host_is_refused(start: Start, host: str, status: int, target: str) -> None:
    """A Host header that is not ours is refused on every route, so a rebound DNS name reads nothing."""
    async with start.over() as (_upstream, cache):
        reply = await request(cache.port, "GET", target, host_header=host)

        assert reply.status == status


async def test_blob_is_not_served_to_a_repository_that_does_not_own_it(start: Start) -> None:
    """A stored blob is 404 in a repository, or a registry, that does not have it."""
    async with FakeRegistry() as hub, FakeRegistry() as ghcr:
        hub.add("library/app", "1", HUB)
        hub.add("library/other", "1", GHCR)
        async with start({"docker.io": hub.url, "ghcr.io": ghcr.url}) as cache:
            await cache.pull(HUB)
            layer = HUB.layers[0]

            assert (await cache.blob(layer)).status == 200
            assert (await cache.blob(layer, repository="library/other")).status == 404
            assert (await request(cache.port_of("ghcr.io"), "GET", f"/v2/library/app/blobs/{layer}")).status == 404
            assert (await request(cache.port_of("ghcr.io"), "HEAD", f"/v2/library/app/blobs/{layer}")).status == 404
            assert (await cache.manifest(HUB.top, repository="library/other")).status == 404


async def test_blob_shared_by_two_repositories_is_fetched_once(start: Start) -> None:
    """A repository whose manifest names a stored blob gets it without a second transfer."""
    async with FakeRegistry() as hub:
        hub.add("library/app", "1", HUB)
        hub.add("library/twin", "1", HUB)
        async with start(hub.url) as cache:
            await cache.pull(HUB)
            sent = hub.body_bytes("/blobs/")

            replies = await cache.pull(HUB, repository="library/twin")

            assert {reply.status for reply in replies} == {200}
            assert hub.body_bytes("/blobs/") == sent


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("target", ["/v2/app/manifests/1", "/v2/app/blobs/uploads/", "/v2/app/blobs/uploads/x"])
async def test_pushing_into_a_proxied_space_is_405(start: Start, method: str, target: str) -> None:
    """Every verb that changes something is 405 with Allow, and the upstream hears nothing."""
    async with start.over() as (upstream, cache):
        reply = await cache.get(target, method=method)

        assert reply.status == 405
        assert reply.header("Allow") == "GET, HEAD"
        assert upstream.count() == 0
