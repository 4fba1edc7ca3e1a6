import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.registry.policy.retry import SMALL, give_up

LARGE = 100 * SMALL
PATIENCE = 60.0


@pytest.mark.parametrize(
    ("frontier", "size", "given_up"),
    [
        (0, LARGE, True),
        (LARGE // 2 - 1, LARGE, True),
        (LARGE // 2, LARGE, False),
        (0, SMALL, False),
        (0, SMALL + 1, True),
        (LARGE, LARGE, False),
        (0, None, True),
        (LARGE, None, True),
    ],
)
def test_what_is_large_and_not_half_done_is_given_up(frontier: int, size: int | None, *, given_up: bool) -> None:
    """A transfer that nobody follows goes on where little is left, or at least half is there and the size is known."""
    assert give_up(frontier, size, PATIENCE, PATIENCE) is given_up


@given(
    st.integers(0, LARGE),
    st.none() | st.integers(0, LARGE),
    st.floats(0, PATIENCE, exclude_max=True),
)
def test_nothing_is_given_up_before_its_time(frontier: int, size: int | None, idle: float) -> None:
    """Whatever has arrived, a client that comes back in time finds the transfer going on."""
    assert not give_up(frontier, size, idle, PATIENCE)


@given(st.integers(0, LARGE), st.integers(0, LARGE), st.integers(0, LARGE))
def test_more_bytes_never_make_it_worse(size: int, first: int, second: int) -> None:
    """A transfer that is kept with some bytes is kept with more of them."""
    fewer, more = sorted((min(first, size), min(second, size)))

    if not give_up(fewer, size, PATIENCE, PATIENCE):
        assert not give_up(more, size, PATIENCE, PATIENCE)
