import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.errors import NAME_INVALID, TARGET_INVALID, OciError
from obol.oci.references import Repository, canonical_repository, normalise_registry

SAME = [
    ("docker.io", "docker.io"),
    ("Docker.IO", "docker.io"),
    ("docker.io.", "docker.io"),
    ("docker.io:443", "docker.io"),
    ("docker.io:80", "docker.io"),
    ("docker.io.:443", "docker.io"),
    ("index.docker.io", "docker.io"),
    ("INDEX.docker.io:443", "docker.io"),
    ("registry-1.docker.io", "docker.io"),
    ("registry-1.docker.io:5000", "registry-1.docker.io:5000"),
    ("auth.docker.io", "auth.docker.io"),
    ("ghcr.io", "ghcr.io"),
    ("localhost", "localhost"),
    ("localhost:5000", "localhost:5000"),
    ("127.0.0.1:65535", "127.0.0.1:65535"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("a.b-c.d1", "a.b-c.d1"),
    ("[::1]", "[::1]"),
    ("[::1]:443", "[::1]"),
    ("[::1]:5000", "[::1]:5000"),
    ("[0:0:0:0:0:0:0:1]:5000", "[::1]:5000"),
    ("[2001:DB8::1]", "[2001:db8::1]"),
    (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
]
BAD = [
    "",
    ".",
    ":5000",
    "https://docker.io",
    "user@docker.io",
    "user:pw@docker.io",
    "docker.io/library",
    "docker.io?x",
    "docker.io#x",
    "docker%2eio",
    "docker.io\r\nX: y",
    "docker.io\n",
    "docker .io",
    " docker.io",
    "docker.io ",
    "docker..io",
    "docker.io..",
    "-docker.io",
    "docker-.io",
    "my_registry",
    "a" * 64,
    "docker.io:",
    "docker.io:0",
    "docker.io:080",
    "docker.io:65536",
    "docker.io:99999",
    "docker.io:123456",
    "docker.io:+80",
    "docker.io:80:80",
    "docker.io:port",
    "[::1",
    "::1",
    "[::1]]",
    "[[::1]]",
    "[]",
    "[:::1]",
    "[1.2.3.4]",
    "[fe80::1%eth0]",
    "[::1].",
    "docker.io\x00",
    "\\docker.io",
    "d\u043ecker.io",
    "doc\u212aer.io",
    "\u0661.1.1.1",
    ".".join(["a" * 63] * 3 + ["b" * 62]),
    "a." * 200,
]


@pytest.mark.parametrize(("text", "expected"), SAME)
def test_spellings_are_folded(text: str, expected: str) -> None:
    """All spellings of a registry give one name, and that name stands for itself."""
    assert normalise_registry(text) == expected
    assert normalise_registry(expected) == expected


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_registry(text: str) -> None:
    """All that is more or less than host and port is refused."""
    with pytest.raises(OciError) as caught:
        normalise_registry(text)

    assert caught.value.kind is TARGET_INVALID


@given(st.text(max_size=300) | st.from_regex(r"[a-zA-Z0-9.:\[\]%@/ -]{0,30}", fullmatch=True))
@settings(max_examples=100)
def test_no_text_raises_anything_but_our_own_error(text: str) -> None:
    """Whatever the text, the answer is OciError or a name that is its own normal form."""
    with contextlib.suppress(OciError):
        name = normalise_registry(text)

        assert normalise_registry(name) == name
        assert name == name.lower()


@pytest.mark.parametrize(
    ("registry", "repository", "expected"),
    [
        ("docker.io", "alpine", "library/alpine"),
        ("docker.io", "library/alpine", "library/alpine"),
        ("docker.io", "bitnami/redis", "bitnami/redis"),
        ("ghcr.io", "foo", "foo"),
        ("docker.io:5000", "foo", "foo"),
    ],
)
def test_the_hidden_prefix_of_docker_hub(registry: str, repository: str, expected: str) -> None:
    """On Docker Hub, and there only, a name of one component belongs to `library/`."""
    canonical = canonical_repository(registry, Repository.parse(repository))

    assert canonical == expected
    assert isinstance(canonical, Repository)


def test_a_name_may_be_too_long_with_the_prefix() -> None:
    """A name that fits only without its prefix is refused."""
    with pytest.raises(OciError) as caught:
        canonical_repository("docker.io", Repository.parse("x" * 248))

    assert caught.value.kind is NAME_INVALID
