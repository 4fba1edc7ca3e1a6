import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.ranges import etag, not_modified, range_applies
from obol.oci.references import Digest

DIGEST = Digest.of(b"content")
OTHER = Digest.of(b"other")


def test_the_entity_tag_is_quoted() -> None:
    """An entity tag is the digest in quotes."""
    assert etag(DIGEST) == f'"{DIGEST}"'


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, False),
        ("", False),
        ("*", True),
        (" * ", True),
        (f'"{DIGEST}"', True),
        (f'W/"{DIGEST}"', True),
        (f'"{OTHER}"', False),
        (f'"{OTHER}", "{DIGEST}"', True),
        (f'"{OTHER}" ,\tW/"{DIGEST}"', True),
        (f',, "a,b", "", "{DIGEST}"', True),
        (f'"{OTHER}","x"', False),
        (str(DIGEST), False),
        (f'w/"{DIGEST}"', False),
        (f'"{DIGEST}', False),
        (f'x "{DIGEST}"', False),
        (f'"*", "{OTHER}"', False),
        ("**", False),
        (f'"{str(DIGEST).upper()}"', False),
    ],
)
def test_what_a_client_holds(field: str | None, expected: object) -> None:
    """A list, a star and weak tags are understood; what is no entity tag never matches."""
    assert not_modified(field, DIGEST) is expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (None, True),
        (f'"{DIGEST}"', True),
        (f' "{DIGEST}" ', True),
        (f'W/"{DIGEST}"', False),
        (f'"{OTHER}"', False),
        (str(DIGEST), False),
        (f'"{DIGEST}", "{OTHER}"', False),
        ("*", False),
        ("Wed, 21 Oct 2015 07:28:00 GMT", False),
        ("", False),
    ],
)
def test_when_a_range_is_followed(field: str | None, expected: object) -> None:
    """A range is followed without a condition, or with our own strong tag."""
    assert range_applies(field, DIGEST) is expected


@given(st.text() | st.text(alphabet='W/", *a', max_size=30))
@settings(max_examples=100)
def test_no_text_raises(text: str) -> None:
    """Whatever the text, both conditions have an answer."""
    assert not_modified(text, DIGEST) in {True, False}
    assert range_applies(text, DIGEST) is (text.strip(" \t") == etag(DIGEST))
