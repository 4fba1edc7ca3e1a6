from collections.abc import Generator

import msgspec
import pytest

from obol.oci.lists import STEP, check_referrers, tags_of

LONG = msgspec.json.encode([f"tag-{number}" for number in range(20_000)])
"""An array of some four steps."""


def taken(steps: Generator[None, None, bytes]) -> tuple[bytes, int]:
    """What comes of it, and in how many steps."""
    count = 1
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value, count
        count += 1


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        (b'{"name":"a","tags":["x","y"]}', b'["x","y"]'),
        (b'{ "tags" : [ "\\u0078" ] }', b'["x"]'),
        (b'{"name":"a","tags":null}', b"[]"),
        (b'{"name":5,"tags":[]}', b"[]"),
    ],
)
def test_short_lists(body: bytes, tags: bytes) -> None:
    """The tags come as the shortest JSON; none is an empty list, never null."""
    assert taken(tags_of(body))[0] == tags


def test_long_lists() -> None:
    """A long list is passed on as it was written, looked at in steps."""
    tags, steps = taken(tags_of(b'{"tags":%b}' % LONG))
    assert tags == LONG
    assert steps >= len(LONG) // STEP
    loose = LONG.replace(b",", b" ,\n ")
    assert taken(tags_of(b'{"tags":%b}' % loose))[0] == loose


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"name":"a"}',
        b'{"tags":[1]}',
        b'{"tags":{}}',
        b'{"tags":"x"}',
        b'{"tags":["x",]}',
        b'{"tags":["\xff"]}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"tags":[' + b"0," * STEP + b"0]}",
        b'{"tags":"' + b"x" * 2 * STEP + b'"}',
        b'{"tags":%b,5]}' % LONG[:-1],
        b'{"tags":[5,%b}' % LONG[1:],
        b'{"tags":[%b,5,%b}' % (LONG[1:-1], LONG[1:]),
        b'{"tags":%b,"\xff"]}' % LONG[:-1],
        b'{"tags":%b,"\\n"]}' % LONG[:-1],
    ],
)
def test_what_is_no_list_of_tags(body: bytes) -> None:
    """Whatever is not a list of strings is refused, short or long, whichever entry is wrong."""
    with pytest.raises(ValueError, match="not a list of tags"):
        taken(tags_of(body))


def test_referrers() -> None:
    """An index is one, whatever it lists; entries are looked at by whoever reads them."""
    check_referrers(b'{"schemaVersion":2,"manifests":[]}')
    check_referrers(b'{"manifests":[{"digest":"x"},5]}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"manifests":null}',
        b'{"manifests":{}}',
        b'{"manifests":[],"schemaVersion":"2"}',
        b'{"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_list_of_referrers(body: bytes) -> None:
    """Whatever is no index is refused."""
    with pytest.raises(ValueError, match="not a list of referrers"):
        check_referrers(body)
