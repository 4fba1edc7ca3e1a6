import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import (
    DIGEST_INVALID,
    NAME_INVALID,
    NOT_FOUND,
    PAGINATION_NUMBER_INVALID,
    TAG_INVALID,
    TARGET_INVALID,
    UNSUPPORTED,
    ErrorKind,
    OciError,
)
from obol.oci.references import Digest, Repository, Tag
from obol.oci.requests import (
    MAX_PAGE,
    MAX_TARGET,
    BlobRequest,
    ManifestRequest,
    Ping,
    ReferrersRequest,
    Request,
    Resource,
    TagsRequest,
    parse,
)

HEX = "0123456789abcdef" * 4
DIGEST = Digest.parse(f"sha256:{HEX}")
SHA512 = Digest.parse(f"sha512:{HEX}{HEX}")


def manifest(repository: str, tag: str) -> ManifestRequest:
    """What asks for a tag."""
    return ManifestRequest(Repository.parse(repository), Tag.parse(tag))


def refusal(target: str, method: str = "GET") -> ErrorKind:
    """With what kind of error the request is refused."""
    with pytest.raises(OciError) as caught:
        parse(method, target)
    return caught.value.kind


RESOURCES: list[tuple[str, Resource]] = [
    ("/v2", Ping()),
    ("/v2/", Ping()),
    ("/v2/?x=1", Ping()),
    ("/v2/alpine/manifests/latest", manifest("alpine", "latest")),
    ("/v2/library/alpine/manifests/latest", manifest("library/alpine", "latest")),
    ("/v2/a/manifests/manifests", manifest("a", "manifests")),
    ("/v2/a/manifests/uploads", manifest("a", "uploads")),
    (f"/v2/a/b/manifests/{DIGEST}", ManifestRequest(Repository("a/b"), DIGEST)),
    (f"/v2/a/b/manifests/{SHA512}", ManifestRequest(Repository("a/b"), SHA512)),
    (f"/v2/a/b/manifests/sha256%3A{HEX}", ManifestRequest(Repository("a/b"), DIGEST)),
    (f"/v2/a/b/blobs/sha256%3a{HEX}", BlobRequest(Repository("a/b"), DIGEST)),
    (f"/v2/a/b/blobs/sha512%3A{HEX}{HEX}", BlobRequest(Repository("a/b"), SHA512)),
    (f"/v2/a/b/referrers/sha256%3A{HEX}", ReferrersRequest(Repository("a/b"), DIGEST)),
    (f"/v2/a/b/blobs/{DIGEST}", BlobRequest(Repository("a/b"), DIGEST)),
    ("/v2/a/b/tags/list", TagsRequest(Repository("a/b"))),
    (f"/v2/a/b/referrers/{DIGEST}", ReferrersRequest(Repository("a/b"), DIGEST)),
    ("/v2/a/blobs/uploads/manifests/1", manifest("a/blobs/uploads", "1")),
    (f"/v2/a/blobs/uploads/blobs/{DIGEST}", BlobRequest(Repository("a/blobs/uploads"), DIGEST)),
    ("/v2/a/blobs/uploads/tags/list", TagsRequest(Repository("a/blobs/uploads"))),
    ("/v2/a/tags/list/b/manifests/1", manifest("a/tags/list/b", "1")),
    ("/v2/a/tags/list/tags/list", TagsRequest(Repository("a/tags/list"))),
    ("/v2/manifests/manifests/manifests", manifest("manifests", "manifests")),
    ("/v2/a/manifests/b/manifests/c", manifest("a/manifests/b", "c")),
    (f"/v2/referrers/referrers/{DIGEST}", ReferrersRequest(Repository("referrers"), DIGEST)),
    ("/v2/v2/manifests/v2", manifest("v2", "v2")),
]


@pytest.mark.parametrize(("target", "resource"), RESOURCES)
def test_resources(target: str, resource: Resource) -> None:
    """A path is read from the right, whatever the components of the repository are called."""
    assert parse("GET", target) == Request(resource, None, head=False)
    assert parse("HEAD", target) == Request(resource, None, head=True)


@pytest.mark.parametrize(
    "target",
    [
        "/v2/../../etc/manifests/x",
        "/v2/a/../b/manifests/x",
        "/v2/%2e%2e/manifests/x",
        "/v2/a%2fb/manifests/x",
        "/v2/a%2Fb/manifests/x",
        "/v2/a%00/manifests/x",
        "/v2/a%3Ab/manifests/x",
        "/v2/a/manifests/x%3Ay",
        "/v2/a/manifests/lat%65st",
        f"/v2/a/manifests/sha256%253A{HEX}",
        f"/v2/a%3A/manifests/sha256%3A{HEX}",
        f"/v2/a/manifests/sha256%3A{HEX.upper()}",
        f"/v2/a/manifests/sha256%3A{HEX}%20",
        "/v2/a/tags%2flist",
        "/v2/a//b/manifests/x",
        "/v2//a/manifests/x",
        "/v2//manifests/x",
        "/v2/a/manifests//manifests/x",
        "/v2/a\\b/manifests/x",
        "/v2/Alpine/manifests/x",
        "/v2/a:5000/b/manifests/x",
        "/v2/a___b/manifests/x",
        f"/v2/{'x' * 256}/manifests/x",
        f"/v2/{'a/' * 500}b/manifests/x",
        "/v2/A/blobs/uploads/",
        "/v2//blobs/uploads/",
        "/v2/a%/manifests/x",
        "/%76%32/",
    ],
)
def test_names_that_are_refused(target: str) -> None:
    """Names are checked on the raw path: no dots, escapes, doubled slashes or capitals get past."""
    assert refusal(target) is NAME_INVALID


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//v2/",
        "/v1/",
        "/V2/",
        "/v2/_catalog",
        "/v2/a",
        "/v2//",
        "/v2/a/",
        "/v2/a/manifests",
        "/v2/a/manifests/",
        "/v2/a/manifests/b/c",
        "/v2/a/manifests/../x",
        "/v2/manifests/x",
        "/v2/tags/list",
        "/v2/a/tags",
        "/v2/a/tags/list/",
        "/v2/a/tags/other",
        "/v2/a/Manifests/x",
        "/v2/a/blobs/uploads/x/y",
        "/v2/./",
        "/v2/../v2/",
        "/x/v2/a/manifests/x",
        "/token",
    ],
)
def test_paths_that_are_not_ours(target: str) -> None:
    """A path of another shape is not found, by whatever method."""
    assert refusal(target) is NOT_FOUND
    assert refusal(target, "POST") is NOT_FOUND


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/v2/a/manifests/-x", TAG_INVALID),
        ("/v2/a/manifests/.", TAG_INVALID),
        ("/v2/a/manifests/..", TAG_INVALID),
        (f"/v2/a/manifests/{'x' * 129}", TAG_INVALID),
        ("/v2/a/manifests/sha256:123", DIGEST_INVALID),
        (f"/v2/a/manifests/md5:{HEX[:32]}", DIGEST_INVALID),
        ("/v2/a/blobs/latest", DIGEST_INVALID),
        (f"/v2/a/blobs/sha256:{HEX.upper()}", DIGEST_INVALID),
        ("/v2/a/referrers/latest", DIGEST_INVALID),
    ],
)
def test_references_that_are_refused(target: str, kind: ErrorKind) -> None:
    """A tag or digest outside its grammar is told as such."""
    assert refusal(target) is kind


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "v2/",
        "http://evil.test/v2/",
        "https://evil.test/v2/a/manifests/x",
        "evil.test:443",
        "/v2/#x",
        "/v2/a/manifests/x#y",
        "/v2/a/manifests/x y",
        "/v2/a/manifests/x\r\nX: y",
        "/v2/a/manifests/x\x00",
        "/v2/a/manifests/x\x7f",
        "/v2/ä/manifests/x",
        "/v2/\udce4/manifests/x",
        "/v2/?ns=docker.io\n",
        f"/v2/a/manifests/x?{'y' * MAX_TARGET}",
    ],
)
def test_targets_that_are_refused(target: str) -> None:
    """Other forms of target, fragments, and bytes that cannot stand in one are refused before anything else."""
    assert refusal(target) is TARGET_INVALID


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", ""])
@pytest.mark.parametrize("target", ["/v2/", "/v2/a/manifests/x", f"/v2/a/blobs/{DIGEST}", "/v2/a/tags/list?n=x"])
def test_other_methods_are_refused(method: str, target: str) -> None:
    """A resource that can be read can only be read."""
    assert refusal(target, method) is UNSUPPORTED


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "target",
    [
        "/v2/a/blobs/uploads",
        "/v2/a/blobs/uploads/",
        "/v2/a/b/blobs/uploads/0b1c-2d",
        f"/v2/a/blobs/uploads/?mount={DIGEST}&from=b",
        "/v2/a/blobs/uploads/blobs/uploads/",
        "/v2/blobs/blobs/uploads/x",
    ],
)
def test_pushing_is_refused(method: str, target: str) -> None:
    """The paths of uploads are known and refused, by every method."""
    assert refusal(target, method) is UNSUPPORTED


@pytest.mark.parametrize(
    ("query", "ns"),
    [
        ("ns=docker.io", "docker.io"),
        ("ns=registry-1.docker.io", "docker.io"),
        ("ns=GHCR.io%3A443", "ghcr.io"),
        ("%6es=ghcr.io", "ghcr.io"),
        ("x=1&ns=localhost:5000&&y", "localhost:5000"),
        ("NS=ghcr.io", None),
        ("", None),
        ("&", None),
        ("last=..&n=x&artifactType=/", None),
        ("x=1&x=2&x=%ff", None),
    ],
)
def test_the_namespace(query: str, ns: str | None) -> None:
    """The registry that a client means is normalised; parameters that are not the resource's are passed over."""
    assert parse("GET", f"/v2/a/manifests/x?{query}") == Request(manifest("a", "x"), ns, head=False)


@pytest.mark.parametrize(
    "query",
    [
        "ns",
        "ns=",
        "ns=ghcr.io&ns=ghcr.io",
        "ns=ghcr.io&%6Es=docker.io",
        "ns=https://ghcr.io",
        "ns=user@ghcr.io",
        "ns=ghcr.io/a",
        "ns=ghcr.io%0d%0aX:y",
        "ns=ghcr.io%00",
        "ns=%ff",
        "ns=a+b",
        "ns=ghcr.io%",
        "x=%zz",
    ],
)
def test_queries_that_are_refused(query: str) -> None:
    """A repeated namespace, a bad escape, and a namespace that is more than host and port are refused."""
    assert refusal(f"/v2/a/manifests/x?{query}") is TARGET_INVALID


@pytest.mark.parametrize(
    ("query", "carried"),
    [
        ("n=0", "n=0"),
        ("last=1.2&n=5", "last=1.2&n=5"),
        ("n=0005", "n=0005"),
        ("n=10000", f"n={MAX_PAGE}"),
        ("n=10001&x", f"n={MAX_PAGE}&x"),
        (f"x&n={'9' * 4000}", f"x&n={MAX_PAGE}"),
        ("last=", "last="),
        ("last=a%2Eb%3d", "last=a%2Eb%3d"),
        ("next_page=gAAAAA%3D%3D&n=2", "next_page=gAAAAA%3D%3D&n=2"),
        ("last=a/b&last=c&&d", "last=a/b&last=c&&d"),
        ("ns=ghcr.io&n=1", "n=1"),
        ("n=1&%6es=ghcr.io&last=x", "n=1&last=x"),
        ("ns=ghcr.io", ""),
        ("artifactType=x", "artifactType=x"),
    ],
)
def test_the_query_of_a_list_is_the_registrys(query: str, carried: str) -> None:
    """It is carried byte for byte, but for the namespace, which is ours, and a number that is too large."""
    assert parse("GET", f"/v2/a/tags/list?{query}").resource == TagsRequest(Repository("a"), carried)


@pytest.mark.parametrize("n", ["", "-1", "+1", "%2B1", "1.0", "x", "1e3", "0x1", "%D9%A3", "1_0", "%201"])
def test_sizes_of_pages_that_are_refused(n: str) -> None:
    """A size is decimal digits."""
    assert refusal(f"/v2/a/tags/list?n={n}") is PAGINATION_NUMBER_INVALID


@pytest.mark.parametrize("query", ["artifactType=application%2Fspdx%2Bjson", "artifactType=a/b+c&next=%ff", "n=x"])
def test_the_query_of_referrers_is_the_registrys(query: str) -> None:
    """It, too, is carried as it is."""
    request = parse("GET", f"/v2/a/referrers/{DIGEST}?ns=ghcr.io&{query}")

    assert request == Request(ReferrersRequest(Repository("a"), DIGEST, query), "ghcr.io", head=False)


PIECES = st.sampled_from(
    ["v2", "a", "A", "..", "", "blobs", "uploads", "manifests", "tags", "list", "referrers", DIGEST, "%3A", "%2f", "?"]
)
TARGETS = (
    st.text(max_size=60)
    | st.text(max_size=40).map(lambda rest: f"/v2/a/tags/list?{rest}")
    | st.lists(PIECES, max_size=8).map(lambda pieces: "/" + "/".join(pieces))
)


@given(st.sampled_from(["GET", "HEAD", "PUT"]), TARGETS)
@settings(max_examples=100)
def test_no_target_raises_anything_but_our_own_error(method: str, target: str) -> None:
    """Whatever the target, it is refused with OciError, or the repository is one."""
    with contextlib.suppress(OciError):
        resource = parse(method, target).resource

        assert isinstance(resource, Ping) or Repository.parse(resource.repository)
        assert method in {"GET", "HEAD"}


@given(
    st.from_regex(r"[a-z0-9]{1,3}([._-][a-z]{1,2})?(/[a-z]{1,3}){0,3}", fullmatch=True), st.text("aZ._-", min_size=1)
)
@settings(max_examples=100)
def test_what_is_written_is_read_back(name: str, tag: str) -> None:
    """A manifest's path gives the repository and the tag that it was made of."""
    expected: Request | None = None
    with contextlib.suppress(OciError):
        expected = Request(ManifestRequest(Repository.parse(name), Tag.parse(tag)), None, head=False)
    read: Request | None = None
    with contextlib.suppress(OciError):
        read = parse("GET", f"/v2/{name}/manifests/{tag}")

    assert expected == read
