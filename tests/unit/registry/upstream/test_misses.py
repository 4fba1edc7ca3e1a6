from obol.registry.upstream.asking import (
    KNOWN_BURST,
    REMEMBERED_REPOSITORIES,
    UNKNOWN_BURST,
    UNKNOWN_RATE,
    Bucket,
    Misses,
)


def taken(misses: Misses, repository: str, now: float, most: int = 10_000) -> int:
    """How many tokens there are at a moment, which are then gone."""
    return next((count for count in range(most) if misses.take(repository, now) is None), most)


def test_made_up_names_have_a_budget() -> None:
    """So many at once, and so many a second, however long nobody asked."""
    misses = Misses()

    assert taken(misses, "none/a", 10.0) == UNKNOWN_BURST
    assert taken(misses, "none/b", 11.0) == UNKNOWN_RATE
    assert taken(misses, "none/c", 100_000.0) == UNKNOWN_BURST


def test_what_was_found_costs_nothing() -> None:
    """A token that is given back can be taken again, and there are never more than at first."""
    bucket = Bucket(2.0, 1.0)
    for _ in range(100):
        assert bucket.take(5.0)
        bucket.give_back()
    bucket.give_back()

    assert [bucket.take(5.0) for _ in range(3)] == [True, True, False]


def test_a_known_repository_has_a_budget_of_its_own() -> None:
    """Neither made-up repositories nor made-up tags of another one take anything from it."""
    misses = Misses()
    misses.has("real/a")
    misses.has("real/b")
    misses.has("real/b")
    taken(misses, "none", 1.0)

    assert taken(misses, "real/a", 1.0) == KNOWN_BURST
    assert taken(misses, "real/b", 1.0) == KNOWN_BURST


def test_a_clock_that_stands_gives_nothing() -> None:
    """Time that does not pass, or goes back, brings no token."""
    bucket = Bucket(1.0, 1.0)

    assert bucket.take(5.0)
    assert not bucket.take(5.0)
    assert not bucket.take(4.0)


def test_only_so_many_are_remembered() -> None:
    """The repository that was longest not asked for is forgotten, and counts as unknown again."""
    misses = Misses()
    misses.has("oldest")
    for number in range(REMEMBERED_REPOSITORIES):
        misses.has(f"real/{number}")
    taken(misses, "none", 1.0)

    assert taken(misses, "oldest", 1.0) == 0
    assert taken(misses, "real/0", 1.0) == KNOWN_BURST
