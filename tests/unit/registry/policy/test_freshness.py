import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.control.api import Problem
from obol.registry.policy.freshness import (
    Fetch,
    Refuse,
    Revalidate,
    ServeStale,
    ServeStored,
    TagDecision,
    decide_digest,
    decide_tag,
)
from obol.registry.policy.health import Ask, Hold

TTL = 60.0
LIMITED = Hold(30.0, Problem.RATE_LIMITED)
BROKEN = Hold(5.0, Problem.FAILING)

gates = st.sampled_from([Ask(), Ask(probe=True), LIMITED, BROKEN])
ages = st.none() | st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("age", "upstream", "held", "offline", "decision"),
    [
        (0.0, Ask(), True, False, ServeStored()),
        (59.9, LIMITED, True, False, ServeStored()),
        (59.9, Ask(), True, True, ServeStored()),
        (60.0, Ask(), True, False, Revalidate()),
        (None, Ask(probe=True), True, False, Revalidate()),
        (-1.0, Ask(), True, False, Revalidate()),
        (60.0, LIMITED, True, False, ServeStale()),
        (None, BROKEN, True, False, ServeStale()),
        (1e9, Ask(), True, True, ServeStale()),
        (None, Ask(), False, False, Fetch()),
        (0.0, Ask(), False, False, Fetch()),
        (None, LIMITED, False, False, Refuse(Problem.RATE_LIMITED, 30.0)),
        (None, BROKEN, False, False, Refuse(Problem.FAILING, 5.0)),
        (None, Ask(), False, True, Refuse(None)),
        (None, LIMITED, False, True, Refuse(None)),
    ],
)
def test_a_tag_is_trusted_asked_about_or_refused(
    age: float | None, upstream: Ask | Hold, *, held: bool, offline: bool, decision: TagDecision
) -> None:
    """A tag is trusted while it is fresh, asked about after that, and served as it was while nobody may be asked."""
    assert decide_tag(age, TTL, upstream, held=held, offline=offline) == decision


def test_a_ttl_of_zero_always_asks() -> None:
    """With no trust at all the upstream is asked even right after it answered."""
    assert decide_tag(0.0, 0.0, Ask(), held=True, offline=False) == Revalidate()


@given(age=ages, ttl=st.floats(0, 1e6), upstream=gates, offline=st.booleans())
def test_what_is_held_is_never_refused(age: float | None, ttl: float, upstream: Ask | Hold, *, offline: bool) -> None:
    """Whatever the upstream's state, a tag that is held is served."""
    decision = decide_tag(age, ttl, upstream, held=True, offline=offline)

    assert isinstance(decision, ServeStored | Revalidate | ServeStale)


@given(age=ages, ttl=st.floats(0, 1e6), upstream=gates, held=st.booleans(), offline=st.booleans())
def test_a_held_upstream_is_never_asked(
    age: float | None, ttl: float, upstream: Ask | Hold, *, held: bool, offline: bool
) -> None:
    """Offline, or on hold, no decision leads to a question."""
    decision = decide_tag(age, ttl, upstream, held=held, offline=offline)

    if offline or isinstance(upstream, Hold):
        assert not isinstance(decision, Revalidate | Fetch)


@pytest.mark.parametrize(
    ("upstream", "offline", "patience", "decision"),
    [
        (Ask(), False, 0.0, Fetch()),
        (Ask(probe=True), False, 0.0, Fetch()),
        (Ask(), True, 60.0, Refuse(None)),
        (BROKEN, True, 60.0, Refuse(None)),
        (BROKEN, False, 0.0, Refuse(Problem.FAILING, 5.0)),
        (BROKEN, False, 4.9, Refuse(Problem.FAILING, 5.0)),
        (BROKEN, False, 5.0, Fetch()),
        (LIMITED, False, 5.0, Refuse(Problem.RATE_LIMITED, 30.0)),
    ],
)
def test_content_that_is_not_held_waits_out_a_short_hold(
    upstream: Ask | Hold, *, offline: bool, patience: float, decision: Fetch | Refuse
) -> None:
    """Content by digest is fetched unless we are offline, or on hold for longer than the caller's patience."""
    assert decide_digest(upstream, offline=offline, patience=patience) == decision
