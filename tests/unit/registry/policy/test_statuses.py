from __future__ import annotations

import pytest

from obol.registry.policy.statuses import TABLE, Meaning, Phase, Row, explained, meaning

GETS = [Phase.MANIFEST, Phase.BLOB, Phase.RANGE, Phase.LIST, Phase.REFERRERS, Phase.TOKEN]

EXPECTED: dict[tuple[int, ...], dict[Phase, Meaning]] = {
    (200, 203): dict.fromkeys([*GETS, Phase.HEAD, Phase.HELD_TOKEN], Meaning.GIVEN),
    (206,): {
        Phase.RANGE: Meaning.GIVEN,
        Phase.BLOB: Meaning.GIVEN,
        Phase.MANIFEST: Meaning.UNUSABLE,
        Phase.LIST: Meaning.UNUSABLE,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (204, 300, 304, 407): {
        Phase.MANIFEST: Meaning.UNUSABLE,
        Phase.BLOB: Meaning.UNUSABLE,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (202, 408, 421, 425, 502, 504, 520, 599): {
        **dict.fromkeys(GETS, Meaning.PATH_FAILS),
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (500,): {
        Phase.MANIFEST: Meaning.PATH_FAILS,
        Phase.BLOB: Meaning.PATH_FAILS,
        Phase.REFERRERS: Meaning.PATH_FAILS,
        Phase.TOKEN: Meaning.PATH_FAILS,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (501,): {
        Phase.MANIFEST: Meaning.UNUSABLE,
        Phase.BLOB: Meaning.UNUSABLE,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.LIST: Meaning.METHOD_REFUSED,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (503,): {**dict.fromkeys(GETS, Meaning.BUSY), Phase.HEAD: Meaning.METHOD_REFUSED},
    (429,): {**dict.fromkeys(GETS, Meaning.LIMITED), Phase.HEAD: Meaning.METHOD_REFUSED},
    (201,): {Phase.TOKEN: Meaning.GIVEN, Phase.MANIFEST: Meaning.UNUSABLE, Phase.HEAD: Meaning.METHOD_REFUSED},
    (400,): {
        Phase.HELD_TOKEN: Meaning.TOKEN_SPENT,
        Phase.MANIFEST: Meaning.UNUSABLE,
        Phase.BLOB: Meaning.UNUSABLE,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.LIST: Meaning.METHOD_REFUSED,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.TOKEN: Meaning.DENIED,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (401, 403): {
        Phase.HELD_TOKEN: Meaning.TOKEN_SPENT,
        Phase.MANIFEST: Meaning.DENIED,
        Phase.BLOB: Meaning.DENIED,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.LIST: Meaning.DENIED,
        Phase.REFERRERS: Meaning.DENIED,
        Phase.TOKEN: Meaning.DENIED,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (404,): {
        Phase.HELD_TOKEN: Meaning.TOKEN_SPENT,
        Phase.MANIFEST: Meaning.ABSENT,
        Phase.BLOB: Meaning.ABSENT,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.LIST: Meaning.ABSENT,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.TOKEN: Meaning.DENIED,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (410,): {
        Phase.MANIFEST: Meaning.ABSENT,
        Phase.BLOB: Meaning.ABSENT,
        Phase.LIST: Meaning.ABSENT,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.RANGE: Meaning.METHOD_REFUSED,
    },
    (402, 451): {**dict.fromkeys(GETS, Meaning.DENIED), Phase.RANGE: Meaning.DENIED},
    (423,): dict.fromkeys([Phase.MANIFEST, Phase.BLOB, Phase.LIST], Meaning.DENIED),
    (412,): {Phase.MANIFEST: Meaning.DENIED, Phase.BLOB: Meaning.DENIED, Phase.RANGE: Meaning.METHOD_REFUSED},
    (409,): dict.fromkeys([Phase.MANIFEST, Phase.BLOB, Phase.LIST], Meaning.PATH_FAILS),
    (406,): {
        Phase.MANIFEST: Meaning.ABSENT,
        Phase.BLOB: Meaning.UNUSABLE,
        Phase.LIST: Meaning.METHOD_REFUSED,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.RANGE: Meaning.METHOD_REFUSED,
    },
    (405,): {
        Phase.MANIFEST: Meaning.UNUSABLE,
        Phase.LIST: Meaning.METHOD_REFUSED,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.HEAD: Meaning.METHOD_REFUSED,
    },
    (416,): {
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.BLOB: Meaning.UNUSABLE,
        Phase.LIST: Meaning.METHOD_REFUSED,
        Phase.REFERRERS: Meaning.ABSENT,
    },
    (414, 422): {Phase.LIST: Meaning.METHOD_REFUSED, Phase.MANIFEST: Meaning.UNUSABLE},
    (418,): {
        Phase.MANIFEST: Meaning.UNUSABLE,
        Phase.REFERRERS: Meaning.ABSENT,
        Phase.RANGE: Meaning.METHOD_REFUSED,
        Phase.HELD_TOKEN: Meaning.GIVEN,
    },
}


@pytest.mark.parametrize(
    ("status", "phase", "expected"),
    [
        (status, phase, expected)
        for statuses, phases in EXPECTED.items()
        for status in statuses
        for phase, expected in phases.items()
    ],
)
def test_what_a_status_means(status: int, phase: Phase, expected: Meaning) -> None:
    """What was asked decides what a status says."""
    assert meaning(phase, status) is expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{sorted(row.statuses)} {row.meaning}")
def test_every_row_has_an_effect_and_a_reason(row: Row) -> None:
    """No row is hidden behind another one, and each names the clause or the registry that it is there for."""
    assert any(meaning(phase, status) is row.meaning for phase in row.phases for status in row.statuses)
    assert len(row.because) > 5


@pytest.mark.parametrize("phase", list(Phase))
def test_every_status_means_something(phase: Phase) -> None:
    """Also a status that nobody has thought of; and a HEAD never shows absence, denial or a limit."""
    told = {meaning(phase, status) for status in range(100, 1000)}

    assert told <= set(Meaning)
    if phase is Phase.HEAD:
        assert told == {Meaning.GIVEN, Meaning.METHOD_REFUSED}


def test_words() -> None:
    """A status that a person can do something about is told in words, another by its number."""
    assert "proxy" in explained(407)
    assert explained(599) == "the upstream answered 599"
