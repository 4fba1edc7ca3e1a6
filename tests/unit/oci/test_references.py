import contextlib
import copy
import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import DIGEST_INVALID, NAME_INVALID, TAG_INVALID, TARGET_INVALID, ErrorKind, OciError
from obol.oci.references import (
    Digest,
    ImageReference,
    Repository,
    Tag,
    new_hash,
    parse_reference,
)

HEX = "0123456789abcdef" * 4
SHA256 = f"sha256:{HEX}"
SHA512 = f"sha512:{HEX}{HEX}"

GOOD_NAMES = [
    "a",
    "0",
    "alpine",
    "library/alpine",
    "a.b",
    "a_b",
    "a__b",
    "a-b",
    "a--b",
    "a-----b",
    "a/b/c/d",
    "a.b/c_d/e__f/g-h",
    "a/blobs/uploads",
    "a/tags/list/b",
    "manifests/referrers",
    "x" * 255,
    "/".join(["a"] * 128),
]
BAD_NAMES = [
    "",
    "A",
    "Alpine",
    "a___b",
    "a._b",
    "a_.b",
    "a-.b",
    "a-_b",
    "a..b",
    "_a",
    "a_",
    ".a",
    "a.",
    "-a",
    "a-",
    "a//b",
    "/a",
    "a/",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a\\b",
    "a%2fb",
    "a%2e%2e",
    "a\x00",
    "a b",
    "a\n",
    "a:b",
    "a@b",
    "ä",
    "٣",
    "x" * 256,
    "/".join(["a"] * 129),
]
GOOD_TAGS = ["1", "latest", "_", "_leading", "v1.2.3-rc.1", "A.b-C_d", "a..b", "a-", "a.", "x" * 128]
BAD_TAGS = ["", ".a", "-a", "x" * 129, "a/b", "a:b", "a b", "a\n", "a%20", "ä", "٣", "a\x00", "a+b"]
BAD_DIGESTS = [
    "",
    "sha256",
    "sha256:",
    HEX,
    f"sha256:{HEX[:-1]}",
    f"sha256:{HEX}0",
    f"sha256:{HEX.upper()}",
    f"SHA256:{HEX}",
    f"sha512:{HEX}",
    f"sha384:{HEX}{HEX[:32]}",
    f"md5:{HEX[:32]}",
    f"sha256:{HEX[:-1]}g",
    f"{SHA256}\n",
    f" {SHA256}",
    f"sha256:{'٣' * 64}",
    f"sha256:../{HEX[3:]}",
]


def kind_of(parser: type[Digest | Tag | Repository | ImageReference], text: str) -> ErrorKind:
    """With what kind of error the text is refused."""
    with pytest.raises(OciError) as caught:
        parser.parse(text)
    return caught.value.kind


@pytest.mark.parametrize("text", GOOD_NAMES)
def test_names_of_the_grammar(text: str) -> None:
    """A name of the specification's grammar is taken as it is."""
    assert Repository.parse(text) == text


@pytest.mark.parametrize("text", BAD_NAMES)
def test_names_outside_the_grammar(text: str) -> None:
    """All else is refused as a name."""
    assert kind_of(Repository, text) is NAME_INVALID


@given(st.text(alphabet="aZ0._-/ \n", max_size=12))
@settings(max_examples=100)
def test_names_are_those_of_the_specification(text: str) -> None:
    """Our expression and that of the specification agree."""
    spec = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
    accepted = False
    with contextlib.suppress(OciError):
        accepted = Repository.parse(text) == text

    assert accepted == (re.fullmatch(spec, text) is not None)


@pytest.mark.parametrize("text", GOOD_TAGS)
def test_tags_of_the_grammar(text: str) -> None:
    """A tag of the specification's grammar is taken as it is."""
    assert Tag.parse(text) == text


@pytest.mark.parametrize("text", BAD_TAGS)
def test_tags_outside_the_grammar(text: str) -> None:
    """All else is refused as a tag."""
    assert kind_of(Tag, text) is TAG_INVALID


@pytest.mark.parametrize(("text", "algorithm", "digits"), [(SHA256, "sha256", HEX), (SHA512, "sha512", HEX + HEX)])
def test_digests(text: str, algorithm: str, digits: str) -> None:
    """A digest has an algorithm and hexadecimal digits."""
    digest = Digest.parse(text)

    assert digest == text
    assert digest.algorithm == algorithm
    assert digest.hex == digits


@pytest.mark.parametrize("text", BAD_DIGESTS)
def test_digests_that_are_none(text: str) -> None:
    """Other algorithms, lengths and spellings are refused."""
    assert kind_of(Digest, text) is DIGEST_INVALID


def test_the_digest_of_bytes() -> None:
    """A digest is made of content with sha256 unless another known algorithm is asked for."""
    assert Digest.of(b"x") == f"sha256:{hashlib.sha256(b'x').hexdigest()}"
    assert Digest.of(b"x", "sha512") == f"sha512:{hashlib.sha512(b'x').hexdigest()}"
    assert Digest.parse(Digest.of(b"")) == Digest.of(b"")


def test_hashing_in_pieces() -> None:
    """A hash takes content in pieces and gives the same as in one."""
    fresh = new_hash("sha256")
    fresh.update(b"a")
    fork = fresh.copy()
    fresh.update(memoryview(b"b"))

    assert fresh.hexdigest() == Digest.of(b"ab").hex
    assert fork.digest() == bytes.fromhex(Digest.of(b"a").hex)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "SHA256", "", "sha384"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    """Only sha256 and sha512 are known."""
    with pytest.raises(OciError) as caught:
        new_hash(algorithm)
    assert caught.value.kind is DIGEST_INVALID

    with pytest.raises(OciError):
        Digest.of(b"", algorithm)


def test_parsed_values_are_strings_of_their_own_type() -> None:
    """The type tells apart what was checked; there is no room for attributes; copies are equal."""
    digest = Digest.parse(SHA256)

    assert type(digest) is Digest
    assert not hasattr(digest, "__dict__")
    assert copy.deepcopy(digest) == digest


def test_a_colon_tells_a_digest_from_a_tag() -> None:
    """A reference with a colon is a digest, or an error of digests; all else is a tag."""
    assert isinstance(parse_reference(SHA256), Digest)
    assert isinstance(parse_reference("latest"), Tag)
    with pytest.raises(OciError) as digest_error:
        parse_reference("a:b")
    with pytest.raises(OciError) as tag_error:
        parse_reference("-")

    assert digest_error.value.kind is DIGEST_INVALID
    assert tag_error.value.kind is TAG_INVALID


IMAGES = [
    ("alpine", "docker.io", "library/alpine", "latest", None),
    ("alpine:3.20", "docker.io", "library/alpine", "3.20", None),
    (f"alpine@{SHA256}", "docker.io", "library/alpine", None, SHA256),
    (f"alpine:3.20@{SHA256}", "docker.io", "library/alpine", "3.20", SHA256),
    ("bitnami/redis", "docker.io", "bitnami/redis", "latest", None),
    ("docker.io/alpine", "docker.io", "library/alpine", "latest", None),
    ("docker.io/library/alpine", "docker.io", "library/alpine", "latest", None),
    ("index.docker.io/alpine:1", "docker.io", "library/alpine", "1", None),
    ("registry-1.docker.io/a/b", "docker.io", "a/b", "latest", None),
    ("ghcr.io/a/b:1", "ghcr.io", "a/b", "1", None),
    ("GHCR.io/a/b:1", "ghcr.io", "a/b", "1", None),
    ("quay.io/a", "quay.io", "a", "latest", None),
    ("localhost/x", "localhost", "x", "latest", None),
    (f"localhost:5000/x@{SHA256}", "localhost:5000", "x", None, SHA256),
    ("localhost:5000", "docker.io", "library/localhost", "5000", None),
    ("host:443/x", "host", "x", "latest", None),
    ("host:5000/x", "host:5000", "x", "latest", None),
    ("127.0.0.1:5000/a/b/c:tag", "127.0.0.1:5000", "a/b/c", "tag", None),
    ("[::1]:5000/x", "[::1]:5000", "x", "latest", None),
    (f"ghcr.io/a/b@{SHA512}", "ghcr.io", "a/b", None, SHA512),
]


@pytest.mark.parametrize(("text", "registry", "repository", "tag", "digest"), IMAGES)
def test_images_as_people_write_them(
    text: str, registry: str, repository: str, tag: str | None, digest: str | None
) -> None:
    """An image is read as docker reads it, and its canonical text means the same."""
    image = ImageReference.parse(text)

    assert (image.registry, image.repository, image.tag, image.digest) == (registry, repository, tag, digest)
    assert ImageReference.parse(str(image)) == image


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        (f"ghcr.io/a/b:1@{SHA256}", f"ghcr.io/a/b:1@{SHA256}"),
        (f"a/b@{SHA256}", f"docker.io/a/b@{SHA256}"),
    ],
)
def test_the_canonical_text_of_an_image(text: str, canonical: str) -> None:
    """An image is written with its registry, and with the tag or digest that it has."""
    assert str(ImageReference.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", NAME_INVALID),
        ("Alpine", NAME_INVALID),
        ("HOST/x", NAME_INVALID),
        ("ghcr.io/", NAME_INVALID),
        ("ghcr.io//a", NAME_INVALID),
        ("https://ghcr.io/a", TARGET_INVALID),
        ("user@ghcr.io/a", DIGEST_INVALID),
        ("a.b:x/c", TARGET_INVALID),
        ("alpine:", TAG_INVALID),
        ("alpine:a:b", TAG_INVALID),
        ("alpine@", DIGEST_INVALID),
        ("alpine@sha256:1", DIGEST_INVALID),
        (f"alpine@{SHA256}@{SHA256}", DIGEST_INVALID),
        (" alpine", NAME_INVALID),
        ("alpine\n", NAME_INVALID),
    ],
)
def test_images_that_are_none(text: str, kind: ErrorKind) -> None:
    """The error tells which part is wrong."""
    assert kind_of(ImageReference, text) is kind


@given(st.from_regex(r"([a-z]{1,3}(\.[a-z])?(:443|:5000)?/)?[a-z]{1,3}(/[a-z])?(:[a-z0-9]{1,3})?", fullmatch=True))
@settings(max_examples=100)
def test_the_canonical_text_stands_for_itself(text: str) -> None:
    """What an image is written as is read as the same image."""
    image = ImageReference.parse(text)

    assert ImageReference.parse(str(image)) == image


@given(st.text() | st.from_regex(r"[a-z0-9.:/@_A-Z\[\]-]{0,40}", fullmatch=True))
@settings(max_examples=100)
def test_no_text_raises_anything_but_our_own_error(text: str) -> None:
    """Whatever the text, every parser takes it or raises OciError."""
    for parse in (Digest.parse, Tag.parse, Repository.parse, ImageReference.parse, parse_reference):
        with contextlib.suppress(OciError):
            parse(text)
