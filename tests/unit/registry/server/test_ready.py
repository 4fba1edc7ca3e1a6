from __future__ import annotations

import math

from obol.registry.engine.counters import Counters
from obol.registry.server.ready import LARGEST, Hot, HotAnswers, Keys, Ready
from obol.registry.server.replies import Rendered


def key(number: int) -> bytes:
    """A key of its own."""
    return b"GET /v2/app/blobs/%d HTTP/1.1\r\n\r\n" % number


def hot(size: int = 10, until: float = math.inf) -> Hot:
    """An answer of some size."""
    return Hot(Rendered(200, ()), bytes(size), until, Counters(), None)


def test_found_by_every_byte() -> None:
    """An answer is found by all bytes of a request, and by nothing less."""
    answers: HotAnswers[bytes] = HotAnswers()
    kept = hot()
    answers.keep(key(1), kept)

    assert answers.find(key(1), 0.0) is kept
    for other in (key(2), key(1)[:-1], key(1).lower(), b" " + key(1)):
        assert answers.find(other, 0.0) is None


def meaning(number: int) -> tuple[str, str, str | None, str | None]:
    """What the request with this key means."""
    return ("GET", f"/v2/app/blobs/{number}", "localhost", None)


def test_found_by_bytes_and_by_meaning() -> None:
    """An answer is found by the bytes of a request, where they may be kept, and by what they mean."""
    ready, kept = Ready(), hot()
    ready.keep(Keys(meaning(1), key(1)), kept)
    ready.keep(Keys(meaning(2), None), kept)

    assert ready.repeated(key(1), 0.0) is ready.find(Keys(meaning(1), None), 0.0) is kept
    assert ready.repeated(key(2), 0.0) is None
    assert ready.find(Keys(("HEAD", *meaning(1)[1:]), key(1)), 0.0) is None
    assert len(ready) == 3


def test_other_bytes_are_known_from_then_on() -> None:
    """Bytes that turned out to mean what is known are known themselves."""
    ready, kept = Ready(), hot()
    ready.keep(Keys(meaning(1), key(1)), kept)
    ready.find(Keys(meaning(1), b"GET another way"), 0.0)

    assert ready.repeated(b"GET another way", 0.0) is kept


def test_many_bytes_push_out_no_meaning() -> None:
    """However many bytes mean the same, other answers are still found by what they mean."""
    ready, other = Ready(), hot()
    ready.keep(Keys(meaning(1), key(1)), other)
    ready.keep(Keys(meaning(2), None), hot(50_000))
    for number in range(200):
        ready.find(Keys(meaning(2), b"traced %d" % number), 0.0)

    assert ready.repeated(key(1), 0.0) is None
    assert ready.find(Keys(meaning(1), None), 0.0) is other


def test_validity() -> None:
    """An answer is valid until its moment, and forgotten at it."""
    answers: HotAnswers[bytes] = HotAnswers()
    answers.keep(key(1), hot(until=100.0))

    assert answers.find(key(1), 99.9) is not None
    assert answers.find(key(1), 100.0) is None
    assert len(answers) == 0


def test_bound() -> None:
    """The bytes that are held are bounded; what was not used for longest leaves first."""
    answers: HotAnswers[bytes] = HotAnswers(capacity=10_000)
    for number in range(3):
        answers.keep(key(number), hot(2000))
    answers.find(key(0), 0.0)

    answers.keep(key(3), hot(2000))

    assert [answers.find(key(number), 0.0) is not None for number in range(4)] == [True, False, True, True]


def test_too_large() -> None:
    """A large answer is not worth its memory, nor is one to a large request."""
    answers: HotAnswers[bytes] = HotAnswers()

    answers.keep(key(1), hot(LARGEST + 1))
    answers.keep(bytes(LARGEST + 1), hot())

    assert len(answers) == 0


def test_again() -> None:
    """Keeping an answer again replaces it, and is not counted twice."""
    answers: HotAnswers[bytes] = HotAnswers(capacity=10_000)
    for _ in range(100):
        answers.keep(key(1), hot(5000))

    assert len(answers) == 1
    assert answers._held < 10_000


def test_clear() -> None:
    """After rights have ended no answer is given again."""
    ready = Ready()
    keys = Keys(meaning(1), key(1))
    ready.keep(keys, hot())

    ready.clear()

    assert len(ready) == 0
    assert ready.find(keys, 0.0) is None
