import pytest

from obol.oci.errors import BLOB_UNKNOWN, MANIFEST_UNKNOWN, UNAVAILABLE, UPSTREAM_BROKEN, ErrorKind
from obol.registry.control.api import Problem
from obol.registry.engine.refusals import refusal, refused
from obol.registry.policy.freshness import Refuse
from obol.registry.policy.health import Hold
from obol.registry.store.ports import StoreError
from obol.registry.upstream.ports import (
    Absent,
    Busy,
    Denied,
    Misbehaved,
    OnHold,
    RangesRefused,
    RateLimited,
    TooManyMisses,
    Unavailable,
)


@pytest.mark.parametrize(
    ("problem", "kind", "retry_after", "word"),
    [
        (Absent("gone"), MANIFEST_UNKNOWN, None, "absent"),
        (Denied("private"), MANIFEST_UNKNOWN, None, "denied"),
        (RateLimited(29.2), UNAVAILABLE, 30, "rate-limited"),
        (RateLimited(0.0), UNAVAILABLE, 1, "rate-limited"),
        (OnHold(Hold(4.5, Problem.FAILING)), UNAVAILABLE, 5, "failing"),
        (TooManyMisses(), UNAVAILABLE, 1, "misses"),
        (Busy(7.5), UNAVAILABLE, 8, "failing"),
        (StoreError("no space", full=True), UNAVAILABLE, None, "disk"),
        (Unavailable("no answer"), UPSTREAM_BROKEN, None, None),
        (Misbehaved("wrong digest"), UPSTREAM_BROKEN, None, None),
        (RangesRefused("no ranges"), UPSTREAM_BROKEN, None, None),
    ],
)
def test_refusal(problem: Exception, kind: ErrorKind, retry_after: int | None, word: str | None) -> None:
    """Trouble becomes 404, 503 or 502, and a word; never 429, which clients retry at once, nor 401 or 403."""
    told = refusal(problem, MANIFEST_UNKNOWN)

    assert (told.kind, told.retry_after, told.problem or None) == (kind, retry_after, word)


def test_disk_trouble_is_not_detailed() -> None:
    """A client is not told paths or file names of our disk."""
    assert "/secret" not in refusal(StoreError("/secret/path: no space"), BLOB_UNKNOWN).detail


def test_refused_when_offline() -> None:
    """Offline by order, what is not held is absent, so that the client goes on to the next place."""
    told = refused(Refuse(None), BLOB_UNKNOWN)

    assert (told.kind, told.problem) == (BLOB_UNKNOWN, "offline")
    assert "offline" in told.detail


@pytest.mark.parametrize(("after", "expected"), [(12.1, 13), (None, 1)])
def test_refused_while_on_hold(after: float | None, expected: int) -> None:
    """While the upstream is left alone the answer is 503 with the time when it is asked again."""
    told = refused(Refuse(Problem.RATE_LIMITED, after), BLOB_UNKNOWN)

    assert (told.kind, told.retry_after, told.problem) == (UNAVAILABLE, expected, "rate-limited")
    assert "rate-limited" in told.detail


def test_a_refusal_of_ours_names_the_setting_that_helps() -> None:
    """What the person could change is named, with the option and the variable."""
    assert "--offline (OBOL_CACHE_OFFLINE)" in refused(Refuse(None), BLOB_UNKNOWN).detail
    assert "--store (OBOL_CACHE_STORE)" in refusal(StoreError("no space", full=True), BLOB_UNKNOWN).detail
