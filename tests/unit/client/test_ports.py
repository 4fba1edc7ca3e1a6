from __future__ import annotations

from obol.client.ports import Kind, Nowhere, Origin, Progress, PulledImage, PullFailed, Silence, Sink
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
    silence.moved(APP, 1, Origin.CACHE)
    silence.done(PulledImage(APP, DIGEST, (), 0, 0, 0, 0, 0.0))
    silence.failed(PullFailed(APP, Kind.ABSENT, why="", hint=""))


async def test_nowhere() -> None:
    """Bytes can go nowhere."""
    sink: Sink = Nowhere()

    await sink.write(Descriptor("", DIGEST, 1), 0, b"1")
