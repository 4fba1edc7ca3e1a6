import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.mediatypes import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1_SIGNED,
    MANIFEST_TYPES,
    MAX_ACCEPT,
    OCI_INDEX,
    OCI_MANIFEST,
    accept_class,
    accepted,
    bare,
    is_distributable,
    is_index,
    upstream_accept,
)

CONTAINERD = f"{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_MANIFEST}, {OCI_INDEX}, */*"
DOCKERD = [DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, DOCKER_SCHEMA1_SIGNED, "application/json"]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (OCI_INDEX, OCI_INDEX),
        (f"{OCI_INDEX}; charset=utf-8", OCI_INDEX),
        (f" {OCI_INDEX.upper()} ;charset=utf-8;x", OCI_INDEX),
        ("", ""),
        (";", ""),
    ],
)
def test_a_bare_media_type(content_type: str, expected: str) -> None:
    """Parameters, blanks and case do not matter."""
    assert bare(content_type) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([""], None),
        ([" , ,"], None),
        (["*/*"], None),
        (["application/*"], None),
        (["*/*;q=0.1"], None),
        ([CONTAINERD], None),
        ([OCI_INDEX, "*/*"], None),
        (DOCKERD, MANIFEST_TYPES | {DOCKER_SCHEMA1_SIGNED}),
        (["application/vnd.x, application/xml"], {"application/vnd.x"}),
        ([",".join(DOCKERD)], MANIFEST_TYPES | {DOCKER_SCHEMA1_SIGNED}),
        ([OCI_INDEX], {OCI_INDEX}),
        ([f"{OCI_INDEX.upper()};q=0.5 , {OCI_MANIFEST}"], {OCI_INDEX, OCI_MANIFEST}),
        (["text/html"], set()),
        (["text/*"], set()),
        ([f"{OCI_INDEX};q=0"], set()),
        ([f"*/*, {OCI_INDEX};q=0.000"], MANIFEST_TYPES - {OCI_INDEX}),
        ([f"{OCI_INDEX}, {OCI_MANIFEST}; Q = 0 ; x=y"], {OCI_INDEX}),
        ([f"{OCI_INDEX}, {OCI_INDEX};q=0"], set()),
        ([f"*/*;q=0, {OCI_INDEX}"], {OCI_INDEX}),
        ([f"{OCI_INDEX};q=0.001"], {OCI_INDEX}),
        (["*/*, text/html;q=0"], None),
    ],
)
def test_what_a_client_accepts(values: list[str], expected: set[str] | None) -> None:
    """Several lines are one; a wildcard or nothing is anything; a weight of zero excludes."""
    assert accepted(values) == expected


def test_one_line_means_the_same_as_several() -> None:
    """Docker's six lines and the same joined by commas are one thing."""
    assert accepted(DOCKERD) == accepted([", ".join(DOCKERD)])
    assert upstream_accept(DOCKERD) == upstream_accept([", ".join(DOCKERD)])


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, ""),
        (MANIFEST_TYPES, ""),
        (frozenset({OCI_INDEX, DOCKER_LIST}), "docker-list,oci-index"),
        (frozenset({OCI_MANIFEST, DOCKER_MANIFEST}), "docker-manifest,oci-manifest"),
        (frozenset({OCI_MANIFEST, "application/x.y"}), "oci-manifest"),
        (frozenset({"application/x.z", "application/x.y"}), "application/x.y"),
        (frozenset[str](), ""),
    ],
)
def test_the_class_of_what_is_accepted(accept: frozenset[str] | None, expected: str) -> None:
    """Sorted short names tell classes apart; all and anything are one class."""
    assert accept_class(accept) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"),
        ([DOCKER_MANIFEST], f"{DOCKER_MANIFEST}, {OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}"),
        ([CONTAINERD], CONTAINERD),
        (
            [f"{DOCKER_LIST};q=0.5", f"text/html,{DOCKER_LIST}"],
            f"{DOCKER_LIST};q=0.5, text/html, {OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_MANIFEST}",
        ),
        ([f"{OCI_INDEX};q=0"], f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"),
        (["a b, x\r\ny/z, ä/b, /, a"], f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"),
        (["*/*"], f"*/*, {OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"),
    ],
)
def test_what_an_upstream_is_asked_for(values: list[str], expected: str) -> None:
    """The client's order goes first, then what is missing of the full set; nonsense is left out."""
    assert upstream_accept(values) == expected


def test_a_client_cannot_make_the_line_long() -> None:
    """What is beyond the room for the client's own wishes is left out; the full set never is."""
    line = upstream_accept([f"a/{'x' * 1000}", f"b/{'x' * 1000}", f"{OCI_INDEX};x={'y' * 1000}", "c/d"])

    assert len(line) <= MAX_ACCEPT
    assert line == f"a/{'x' * 1000}, {OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_LIST}, {DOCKER_MANIFEST}"


ELEMENTS = st.text(max_size=30) | st.sampled_from(
    [*sorted(MANIFEST_TYPES), "*/*", "a/b", "a/b;q=0", "c/d;q=0.5", f"a/{'x' * 500}", f"{OCI_INDEX};x={'y' * 900}"]
)


@given(st.lists(ELEMENTS, max_size=9))
@settings(max_examples=100)
def test_the_line_to_an_upstream_is_always_good(values: list[str]) -> None:
    """Whatever a client sends: one printable line of bounded length that lists the full set, each type once."""
    line = upstream_accept(values)
    names = [bare(element) for element in line.split(",")]

    assert len(line) <= MAX_ACCEPT
    assert line.isascii()
    assert line.replace("\t", " ").isprintable()
    assert set(names) >= MANIFEST_TYPES
    assert len(set(names)) == len(names)
    assert accepted([line]) in {None, MANIFEST_TYPES}
    assert isinstance(accept_class(accepted(values)), str)


def test_kinds() -> None:
    """Indexes are told from images, and layers that registries are not to have from others."""
    assert [is_index(name) for name in (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, "")] == [True, True, False, False]
    assert is_distributable("application/vnd.oci.image.layer.v1.tar+gzip")
    assert not is_distributable("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    assert not is_distributable("application/vnd.oci.image.layer.nondistributable.v1.tar")
