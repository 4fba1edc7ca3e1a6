from __future__ import annotations

import math

from obol.registry.engine.counters import Counters
from obol.registry.server.hot import LARGEST, Hot, HotAnswers
from obol.registry.server.replies import Rendered


def key(number: int) -> bytes:
    """A key of its own."""
    return b"GET /v2/app/blobs/%d HTTP/1.1\r\n\r\n" % number


def hot(size: int = 10, until: float = math.inf) -> Hot:
    """An answer of some size."""
    return Hot(Rendered(200, ()), bytes(size), until, Counters(), None, size)


def test_found_by_every_byte() -> None:
    """An answer is found by all bytes of a request, and by nothing less."""
    answers, kept = HotAnswers(), hot()
    answers.keep(key(1), kept)

    assert answers.find(key(1), 0.0) is kept
    for other in (key(2), key(1)[:-1], key(1).lower(), b" " + key(1)):
        assert answers.find(other, 0.0) is None


def test_validity() -> None:
    """An answer is valid until its moment, and forgotten at it."""
    answers = HotAnswers()
    answers.keep(key(1), hot(until=100.0))

    assert answers.find(key(1), 99.9) is not None
    assert answers.find(key(1), 100.0) is None
    assert len(answers) == 0


def test_bound() -> None:
    """The bytes that are held are bounded; what was not used for longest leaves first."""
    answers = HotAnswers(capacity=10_000)
    for number in range(3):
        answers.keep(key(number), hot(2000))
    answers.find(key(0), 0.0)

    answers.keep(key(3), hot(2000))

    assert [answers.find(key(number), 0.0) is not None for number in range(4)] == [True, False, True, True]


def test_too_large() -> None:
    """A large answer is not worth its memory, nor is one to a large request."""
    answers = HotAnswers()

    answers.keep(key(1), hot(LARGEST + 1))
    answers.keep(bytes(LARGEST + 1), hot())

    assert len(answers) == 0


def test_again() -> None:
    """Keeping an answer again replaces it, and is not counted twice."""
    answers = HotAnswers(capacity=10_000)
    for _ in range(100):
        answers.keep(key(1), hot(5000))

    assert len(answers) == 1
    assert answers._held < 10_000
