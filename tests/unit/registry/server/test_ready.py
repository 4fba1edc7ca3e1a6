import math

from obol.oci.references import Digest, Repository
from obol.registry.engine.accounts import Counters
from obol.registry.server.exchange import Rendered
from obol.registry.server.ready import LARGEST, Keys, ReadyAnswer, ReadyAnswers
from obol.registry.store.ports import RepositoryKey

DIGEST = Digest.of(b"content")


def key(number: int) -> bytes:
    """A key of its own."""
    return b"GET /v2/app/blobs/%d HTTP/1.1\r\n\r\n" % number


def answer(size: int = 10, until: float = math.inf, name: str = "team/app", digest: Digest = DIGEST) -> ReadyAnswer:
    """An answer of some size."""
    repository = RepositoryKey("registry.test", Repository(name))
    return ReadyAnswer(Rendered(200, ()), bytes(size), until, Counters(), repository, digest)


def meaning(number: int) -> tuple[str, str, str | None, str | None]:
    """What the request with this key means."""
    return ("GET", f"/v2/app/blobs/{number}", "localhost", None)


def held(ready: ReadyAnswers) -> int:
    """How many keys there are."""
    return len(ready._by_bytes) + len(ready._by_meaning)


def test_found_by_bytes_and_by_meaning() -> None:
    """An answer is found by the bytes of a request, where they may be kept, and by what they mean."""
    ready, kept = ReadyAnswers(), answer()
    ready.keep(Keys(meaning(1), key(1)), kept, 0)
    ready.keep(Keys(meaning(2), None), kept, 0)

    assert ready.repeated(key(1), 0.0) is ready.find(Keys(meaning(1), None), 0.0) is kept
    for other in (key(2), key(1)[:-1], key(1).lower(), b" " + key(1)):
        assert ready.repeated(other, 0.0) is None
    assert ready.find(Keys(("HEAD", *meaning(1)[1:]), key(1)), 0.0) is None
    assert held(ready) == 3


def test_other_bytes_are_known_from_then_on() -> None:
    """Bytes that turned out to mean what is known are known themselves."""
    ready, kept = ReadyAnswers(), answer()
    ready.keep(Keys(meaning(1), key(1)), kept, 0)
    ready.find(Keys(meaning(1), b"GET another way"), 0.0)

    assert ready.repeated(b"GET another way", 0.0) is kept


def test_many_bytes_push_out_no_meaning() -> None:
    """However many bytes mean the same, other answers are still found by what they mean."""
    ready, other = ReadyAnswers(), answer()
    ready.keep(Keys(meaning(1), key(1)), other, 0)
    ready.keep(Keys(meaning(2), None), answer(50_000), 0)
    for number in range(200):
        ready.find(Keys(meaning(2), b"traced %d" % number), 0.0)

    assert ready.repeated(key(1), 0.0) is None
    assert ready.find(Keys(meaning(1), None), 0.0) is other


def test_validity() -> None:
    """An answer is valid until its moment, and forgotten at it, however it is found."""
    ready, keys = ReadyAnswers(), Keys(meaning(1), key(1))
    ready.keep(keys, answer(until=100.0), 0)

    assert ready.repeated(key(1), 99.9) is not None
    assert ready.find(keys, 99.9) is not None
    assert ready.repeated(key(1), 100.0) is None
    assert ready.find(keys, 100.0) is None
    assert held(ready) == 0


def test_bound() -> None:
    """The bytes that are held are bounded; what was not used for longest leaves first."""
    ready = ReadyAnswers(capacity=10_000)
    for number in range(3):
        ready.keep(Keys(meaning(number), key(number)), answer(2000), 0)
    ready.repeated(key(0), 0.0)

    ready.keep(Keys(meaning(3), key(3)), answer(2000), 0)

    assert [ready.repeated(key(number), 0.0) is not None for number in range(4)] == [True, False, True, True]


def test_too_large() -> None:
    """A large answer is not worth its memory, nor is one to a large request."""
    ready = ReadyAnswers()

    ready.keep(Keys(meaning(1), key(1)), answer(LARGEST + 1), 0)
    ready.keep(Keys(("GET", "x" * LARGEST, None, None), bytes(LARGEST + 1)), answer(), 0)

    assert held(ready) == 0


def test_again() -> None:
    """Keeping an answer again replaces it, and is not counted twice."""
    ready = ReadyAnswers(capacity=10_000)
    for _ in range(100):
        ready.keep(Keys(meaning(1), key(1)), answer(5000), 0)

    assert held(ready) == 2


def test_forgotten() -> None:
    """Answers of a repository, or with some content, can be forgotten, those under way too; all others stay."""
    other = Digest.of(b"other")
    ready = ReadyAnswers()
    ready.keep(Keys(meaning(1), key(1)), answer(), 0)
    ready.keep(Keys(meaning(2), key(2)), answer(name="team/other"), 0)
    ready.keep(Keys(meaning(3), key(3)), answer(name="team/other", digest=other), 0)

    ready.forget(RepositoryKey("registry.test", Repository("team/app")))
    assert [ready.repeated(key(number), 0.0) is not None for number in (1, 2, 3)] == [False, True, True]
    ready.forget(other)
    assert [ready.find(Keys(meaning(number), None), 0.0) is not None for number in (1, 2, 3)] == [False, True, False]
    ready.keep(Keys(meaning(4), key(4)), answer(), 1)
    assert ready.repeated(key(4), 0.0) is None
