import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci import errors
from obol.oci.errors import MAX_DETAIL, NAME_INVALID, UNAVAILABLE, ErrorKind, OciError

TABLE = {name: kind for name, kind in vars(errors).items() if isinstance(kind, ErrorKind)}


@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_code_is_the_name_of_the_row(name: str) -> None:
    """A row of the table is found under its code, which is an upper-case word, and it is a client or server error."""
    kind = TABLE[name]

    assert kind.code == name
    assert kind.code.replace("_", "").isalpha()
    assert kind.code.isupper()
    assert 400 <= kind.status < 600
    assert kind.message


def test_the_statuses() -> None:
    """Each kind has the status that clients of registries expect."""
    expected = {
        "NAME_INVALID": 400,
        "TAG_INVALID": 400,
        "DIGEST_INVALID": 400,
        "MANIFEST_INVALID": 400,
        "PAGINATION_NUMBER_INVALID": 400,
        "TARGET_INVALID": 400,
        "REQUEST_INVALID": 400,
        "FOREIGN_SITE": 403,
        "NAME_UNKNOWN": 404,
        "MANIFEST_UNKNOWN": 404,
        "BLOB_UNKNOWN": 404,
        "NOT_FOUND": 404,
        "UNSUPPORTED": 405,
        "REQUEST_TIMEOUT": 408,
        "RANGE_INVALID": 416,
        "FOREIGN_HOST": 421,
        "HEAD_TOO_LARGE": 431,
        "INTERNAL": 500,
        "UPSTREAM_BROKEN": 502,
        "UNAVAILABLE": 503,
    }

    assert expected == {name: kind.status for name, kind in TABLE.items()}


def test_the_body_is_the_document_of_the_specification() -> None:
    """The body holds one error with code, message and detail."""
    error = OciError(NAME_INVALID, "Alpine")

    assert json.loads(error.body()) == {
        "errors": [{"code": "NAME_INVALID", "message": NAME_INVALID.message, "detail": "Alpine"}]
    }


def test_the_time_to_come_back_is_kept() -> None:
    """A refusal may say when to come back; by default it does not."""
    assert OciError(UNAVAILABLE, retry_after=7).retry_after == 7
    assert OciError(UNAVAILABLE).retry_after is None


def test_the_text_names_code_message_and_detail() -> None:
    """The text of the exception is what a log line needs."""
    assert str(OciError(NAME_INVALID)) == f"NAME_INVALID: {NAME_INVALID.message}"
    assert str(OciError(NAME_INVALID, "x\ny")) == f"NAME_INVALID: {NAME_INVALID.message} (x\\ny)"


@given(st.text(alphabet=st.characters(codec=None), max_size=2000))
@settings(max_examples=100)
def test_a_detail_is_short_and_printable(detail: str) -> None:
    """Whatever a detail holds, lone surrogates included, the body is JSON without control characters, and bounded."""
    told = json.loads(OciError(NAME_INVALID, detail).body())["errors"][0]["detail"]

    assert len(told) <= MAX_DETAIL
    assert told.isprintable()
    assert told == detail or not detail.isprintable() or len(detail) > MAX_DETAIL
