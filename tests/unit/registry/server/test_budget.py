import pytest

from obol.registry.server.budget import GRACE, Budget, OverBudget
from tests.fakes.clock import FakeClock


def test_one_copy_counts_once() -> None:
    """An object is counted once, however many clients are given it, until the last has left."""
    budget, body = Budget(100, FakeClock().monotonic), bytes(60)

    herd = [budget.keep(body, lambda: None) for _ in range(64)]
    assert budget.kept == 60
    for one in herd[:-1]:
        budget.release(one)
        budget.release(one)
    assert budget.kept == 60
    budget.release(herd[-1])

    assert budget.kept == 0
    assert budget._bodies == {}


def test_equal_objects_are_two() -> None:
    """Two objects with the same bytes take the memory of two."""
    budget = Budget(200, FakeClock().monotonic)

    budget.keep(bytes(60), lambda: None)
    budget.keep(bytes(60), lambda: None)

    assert budget.kept == 120


def test_no_room() -> None:
    """While all are quick, nobody is let go, and what does not fit is refused; then nothing has changed."""
    budget = Budget(100, FakeClock().monotonic)
    budget.keep(bytes(60), lambda: pytest.fail("let go"))

    assert not budget.admits(bytes(60))
    with pytest.raises(OverBudget):
        budget.keep(bytes(60), lambda: None)
    with pytest.raises(OverBudget):
        budget.keep_unsent(41, lambda: None)
    assert budget.kept == 60
    assert budget.admits(bytes(40))


def test_the_slowest_is_let_go() -> None:
    """Whoever has taken nothing for longest has to leave for another, and one that takes something stays."""
    clock, gone = FakeClock(), list[str]()
    budget = Budget(100, clock.monotonic)
    first = budget.keep(bytes(50), lambda: gone.append("first"))
    second = budget.keep_unsent(50, lambda: gone.append("second"))
    clock.advance(GRACE / 2)
    budget.moved(first)
    clock.advance(GRACE / 2)

    third = budget.keep(bytes(50), lambda: gone.append("third"))
    assert gone == ["second"]
    assert budget.kept == 100
    budget.moved(second)
    budget.release(second)
    clock.advance(GRACE)
    assert budget.admits(bytes(100))

    assert gone == ["second", "first", "third"]
    budget.release(third)
    assert budget.kept == 0


def test_one_that_is_larger_than_all() -> None:
    """What is larger than everything that is allowed is given when nothing else is kept: it has to go some time."""
    budget = Budget(100, FakeClock().monotonic)

    assert budget.admits(bytes(150))
    with_it = budget.keep(bytes(150), lambda: None)

    assert not budget.admits(b"x")
    budget.release(with_it)
    assert budget.kept == 0


def test_equal_bytes_are_shared() -> None:
    """Whoever asks for it is given the object that is kept already where it has the same bytes."""
    budget = Budget(200, FakeClock().monotonic)
    first, same, other = bytes(60), bytes(60), b"x" * 60

    assert budget.shared(same) is same
    kept = budget.keep(first, lambda: None)
    assert budget.shared(same) is budget.shared(first) is first
    assert budget.shared(other) is other
    budget.release(kept)

    assert budget.shared(same) is same
