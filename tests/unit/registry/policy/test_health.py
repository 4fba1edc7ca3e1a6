from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.control.api import Problem
from obol.registry.policy.health import (
    FAILURES_TO_OPEN,
    FIRST_COOLDOWN,
    LONGEST_COOLDOWN,
    Ask,
    Health,
    Hold,
    after_answer,
    after_failure,
    after_rate_limit,
    describe,
    gate,
    probing,
)

NOW = 1000.0


def failed(number: int, health: Health | None = None, now: float = NOW) -> Health:
    """The state after so many failures in a row, all at one moment."""
    health = health or Health()
    for _ in range(number):
        health = after_failure(health, now)
    return health


def test_a_new_upstream_may_be_asked() -> None:
    """Nothing is known, so nothing forbids."""
    assert gate(Health(), NOW) == Ask()
    assert describe(Health(), NOW) == ("unknown", None)


def test_a_few_failures_do_not_open_the_breaker() -> None:
    """Below the threshold the upstream is still asked, but said to be failing."""
    health = failed(FAILURES_TO_OPEN - 1)

    assert gate(health, NOW) == Ask()
    assert describe(health, NOW) == ("failing", None)


def test_failures_in_a_row_open_the_breaker() -> None:
    """At the threshold nobody may ask for the first cool-down."""
    health = failed(FAILURES_TO_OPEN)

    assert gate(health, NOW) == Hold(FIRST_COOLDOWN, Problem.FAILING)
    assert describe(health, NOW + 1) == ("failing", FIRST_COOLDOWN - 1)


def test_an_answer_in_between_starts_the_count_anew() -> None:
    """Only failures in a row count, so one answer (a 404, too) forgets them."""
    health = after_answer(failed(FAILURES_TO_OPEN - 1))

    assert gate(failed(FAILURES_TO_OPEN - 1, health), NOW) == Ask()
    assert describe(health, NOW) == ("ok", None)


def test_one_probe_goes_through_when_the_cooldown_is_over() -> None:
    """The first to ask is the probe; the others are held until it comes back or another cool-down is over."""
    health = failed(FAILURES_TO_OPEN)
    later = NOW + FIRST_COOLDOWN

    assert gate(health, later) == Ask(probe=True)
    health = probing(health, later)
    assert gate(health, later) == Hold(FIRST_COOLDOWN, Problem.FAILING)
    assert gate(health, later + FIRST_COOLDOWN) == Ask(probe=True)


def test_a_good_probe_closes_the_breaker() -> None:
    """After one healthy answer everybody may ask, and the cool-down is the first again."""
    health = after_answer(probing(failed(FAILURES_TO_OPEN + 1), NOW))

    assert health == Health(answered=True)


def test_failed_probes_double_the_cooldown_up_to_a_minute() -> None:
    """Each failed probe makes the next one wait twice as long, within the bound."""
    health, now, holds = failed(FAILURES_TO_OPEN), NOW, []
    for _ in range(6):
        now += health.cooldown
        health = after_failure(probing(health, now), now)
        held = gate(health, now)
        assert isinstance(held, Hold)
        holds.append(held.seconds)

    assert holds == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_failures_of_what_was_asked_before_do_not_lengthen_the_cooldown() -> None:
    """Fifty requests that fail together open the breaker once, for the first cool-down."""
    assert gate(failed(50), NOW) == Hold(FIRST_COOLDOWN, Problem.FAILING)
    assert gate(failed(1, failed(5), now=NOW + 4), NOW + 4) == Hold(FIRST_COOLDOWN - 4, Problem.FAILING)


def test_a_rate_limit_holds_the_whole_upstream() -> None:
    """Until the moment that a 429 named nobody asks, and after it anybody may."""
    health = after_rate_limit(Health(), NOW, 30.0)

    assert gate(health, NOW + 10) == Hold(20.0, Problem.RATE_LIMITED)
    assert describe(health, NOW + 10) == ("rate-limited", 20.0)
    assert gate(health, NOW + 30) == Ask()
    assert describe(health, NOW + 30) == ("ok", None)


def test_a_shorter_rate_limit_does_not_shorten_a_longer_one() -> None:
    """Of two moments the later stands, whichever was told first."""
    longer = after_rate_limit(after_rate_limit(Health(), NOW, 60.0), NOW, 1.0)
    extended = after_rate_limit(after_rate_limit(Health(), NOW, 1.0), NOW, 60.0)

    assert gate(longer, NOW) == gate(extended, NOW) == Hold(60.0, Problem.RATE_LIMITED)


def test_an_answer_does_not_end_a_rate_limit() -> None:
    """What was asked before the 429 may still be answered well; the upstream's word stands."""
    health = after_answer(after_rate_limit(Health(), NOW, 60.0))

    assert gate(health, NOW) == Hold(60.0, Problem.RATE_LIMITED)


def test_a_rate_limit_does_not_count_as_a_failure() -> None:
    """A 429 is not what the breaker counts."""
    health = Health()
    for _ in range(2 * FAILURES_TO_OPEN):
        health = after_rate_limit(health, NOW, 1.0)

    assert gate(health, NOW + 1) == Ask()


def test_the_rate_limit_is_told_before_the_breaker() -> None:
    """Where both hold, the rate limit's moment is told first; the breaker still wants its probe after it."""
    health = after_rate_limit(failed(FAILURES_TO_OPEN), NOW, 30.0)

    assert gate(health, NOW) == Hold(30.0, Problem.RATE_LIMITED)
    assert gate(health, NOW + 30) == Ask(probe=True)


@dataclass
class Walk:
    """An upstream in use: every question is let through by the gate, and some come back late or never."""

    now: float = NOW
    health: Health = field(default_factory=Health)
    asked: int = 0

    def step(self, event: str, seconds: float) -> None:
        """One event after `seconds`."""
        self.now += seconds
        match event:
            case "ask":
                self.ask()
            case "lost":
                self.asked = max(self.asked - 1, 0)
            case _ if self.asked:
                self.asked -= 1
                self.come_back(event, seconds)
            case _:
                pass

    def ask(self) -> None:
        """Ask, if the gate lets us."""
        answer = gate(self.health, self.now)
        if isinstance(answer, Hold):
            return
        self.asked += 1
        if answer.probe:
            self.health = probing(self.health, self.now)

    def come_back(self, event: str, seconds: float) -> None:
        match event:
            case "answer":
                self.health = after_answer(self.health)
            case "failure":
                self.health = after_failure(self.health, self.now)
            case _:
                self.health = after_rate_limit(self.health, self.now, min(max(seconds, 1.0), 900.0))


events = st.tuples(
    st.sampled_from(["ask", "ask", "answer", "failure", "failure", "limit", "lost"]), st.floats(0, 100, width=32)
)


@given(st.lists(events, max_size=60))
def test_no_walk_leaves_an_upstream_unasked_for_ever(walk: list[tuple[str, float]]) -> None:
    """Whatever comes back, late, or never: a hold is within its bound, and then the next question goes through."""
    state = Walk()
    for event, seconds in walk:
        state.step(event, seconds)
        held = gate(state.health, state.now)
        if isinstance(held, Hold):
            bound = LONGEST_COOLDOWN if held.reason is Problem.FAILING else 900.0
            assert 0 < held.seconds <= bound
        assert FIRST_COOLDOWN <= state.health.cooldown <= LONGEST_COOLDOWN

    if isinstance(held := gate(state.health, state.now), Hold):
        # Rounding of sums may leave a sliver; what may remain after a rate limit is the breaker's own hold.
        state.now += held.seconds + 1e-6
        then = gate(state.health, state.now)
        state.now += then.seconds + 1e-6 if isinstance(then, Hold) else 0
    assert isinstance(gate(state.health, state.now), Ask)


@given(st.lists(events, max_size=60), st.integers(2, 5))
def test_an_open_breaker_lets_one_probe_through_per_cooldown(walk: list[tuple[str, float]], askers: int) -> None:
    """However many ask at one moment, at most one of them is let through while the breaker is open."""
    state = Walk()
    for event, seconds in walk:
        state.step(event, seconds)
    state.health = replace(failed(FAILURES_TO_OPEN, state.health, state.now), limited_until=None)
    state.now += LONGEST_COOLDOWN + 1
    state.asked = 0

    for _ in range(askers):
        state.ask()

    assert state.asked == 1


@pytest.mark.parametrize("failures", range(FAILURES_TO_OPEN))
def test_any_number_of_failures_is_forgotten_by_one_answer(failures: int) -> None:
    """An answer leads to one and the same state, whatever was before."""
    assert after_answer(failed(failures)) == Health(answered=True)
