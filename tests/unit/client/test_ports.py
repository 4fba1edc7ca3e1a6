import pytest

from obol.client.ports import (
    WORDS,
    BytesFrom,
    Kind,
    Nowhere,
    Progress,
    PulledImage,
    PullFailed,
    Refused,
    Silence,
    Sink,
    failed,
    not_kept,
    not_served,
    soon,
)
from obol.oci.manifests import Descriptor
from obol.oci.references import Digest
from tests.unit.client.reach import APP

DIGEST = Digest.of(b"")


def test_kinds() -> None:
    """Why a pull fails is a closed list, which scripts may rely on."""
    assert [kind.value for kind in Kind] == [
        "absent",
        "no-platform",
        "denied",
        "rate-limited",
        "upstream-down",
        "offline",
        "no-space",
        "unreachable",
        "untrusted",
        "not-served",
    ]


def test_failure() -> None:
    """A failure is an error for people that programs can read as well."""
    failure = PullFailed(APP, Kind.RATE_LIMITED, why="too often", hint="wait", retry_after=5.0)

    assert str(failure) == "registry.test/team/app:1 cannot be pulled: too often"
    assert (failure.reference, failure.kind, failure.retry_after, failure.exit_code) == (APP, "rate-limited", 5.0, 1)


def test_silence() -> None:
    """Who does not want to be told is not."""
    silence: Progress = Silence()

    silence.found(APP, 1)
    silence.moved(APP, 1, BytesFrom.CACHE)
    silence.done(PulledImage(APP, DIGEST, (), 0, 0, 0, 0, 0.0))
    silence.failed(PullFailed(APP, Kind.ABSENT, why="", hint=""))


async def test_nowhere() -> None:
    """Bytes can go nowhere."""
    sink: Sink = Nowhere()

    await sink.write(Descriptor("", DIGEST, 1), 0, b"1")


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_every_kind(kind: Kind) -> None:
    """Whatever the cause, it is told which image failed, why, and what to do."""
    failure = failed(APP, Refused(kind, "it answers 418"))

    assert failure.what == "registry.test/team/app:1 cannot be pulled"
    assert failure.kind is kind
    assert failure.why
    assert failure.hint
    assert "{" not in failure.why + failure.hint


def test_all_kinds_have_words() -> None:
    """Only a registry that is not served has words of its own."""
    assert WORDS.keys() == set(Kind) - {Kind.NOT_SERVED}


def test_when() -> None:
    """Of a rate limit it is told when it ends."""
    failure = failed(APP, Refused(Kind.RATE_LIMITED, "", 754.0))

    assert failure.why == "the rate limit of registry.test is reached; it may be asked again in 13 min"
    assert failure.retry_after == 754.0


def test_why_is_not_a_format() -> None:
    """What a registry says is repeated as it is."""
    assert failed(APP, Refused(Kind.UNREACHABLE, "{registry}")).why == "{registry}"


def test_not_served() -> None:
    """Of a registry that is not served, it is told which are, and how to add it."""
    failure = not_served(APP, ("docker.io", "quay.io"))

    assert failure.kind is Kind.NOT_SERVED
    assert failure.why == "the cache does not serve registry.test, only docker.io, quay.io"
    assert "obol.toml" in failure.hint
    assert "--upstream registry.test=https://registry.test" in failure.hint
    assert "only nothing" in not_served(APP, ()).why


def test_not_kept() -> None:
    """An image that came through and was not kept is a matter of space."""
    assert not_kept(APP).kind is Kind.NO_SPACE


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (99.4, "99 s"), (100, "2 min"), (754, "13 min"), (5400, "2 h"), (21600, "6 h")]
)
def test_soon(seconds: float, text: str) -> None:
    """A time to wait for is told in one unit."""
    assert soon(seconds) == text
