import pytest

from obol.registry.policy.statuses import TABLE, Meaning, Question, StatusRow, explained, meaning

GETS = [Question.MANIFEST, Question.BLOB, Question.RANGE, Question.LIST, Question.REFERRERS, Question.TOKEN]

EXPECTED: dict[tuple[int, ...], dict[Question, Meaning]] = {
    (200, 203): dict.fromkeys([*GETS, Question.HEAD, Question.HELD_TOKEN], Meaning.GIVEN),
    (206,): {
        Question.RANGE: Meaning.GIVEN,
        Question.BLOB: Meaning.GIVEN,
        Question.MANIFEST: Meaning.UNUSABLE,
        Question.LIST: Meaning.UNUSABLE,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (204, 300, 304, 407): {
        Question.MANIFEST: Meaning.UNUSABLE,
        Question.BLOB: Meaning.UNUSABLE,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (202, 408, 421, 425, 502, 504, 520, 599): {
        **dict.fromkeys(GETS, Meaning.PATH_FAILS),
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (500,): {
        Question.MANIFEST: Meaning.PATH_FAILS,
        Question.BLOB: Meaning.PATH_FAILS,
        Question.REFERRERS: Meaning.PATH_FAILS,
        Question.TOKEN: Meaning.PATH_FAILS,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (501,): {
        Question.MANIFEST: Meaning.UNUSABLE,
        Question.BLOB: Meaning.UNUSABLE,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.LIST: Meaning.METHOD_REFUSED,
        Question.REFERRERS: Meaning.ABSENT,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (503,): {**dict.fromkeys(GETS, Meaning.BUSY), Question.HEAD: Meaning.METHOD_REFUSED},
    (429,): {**dict.fromkeys(GETS, Meaning.LIMITED), Question.HEAD: Meaning.METHOD_REFUSED},
    (201,): {Question.TOKEN: Meaning.GIVEN, Question.MANIFEST: Meaning.UNUSABLE, Question.HEAD: Meaning.METHOD_REFUSED},
    (400,): {
        Question.HELD_TOKEN: Meaning.TOKEN_SPENT,
        Question.MANIFEST: Meaning.UNUSABLE,
        Question.BLOB: Meaning.UNUSABLE,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.LIST: Meaning.METHOD_REFUSED,
        Question.REFERRERS: Meaning.ABSENT,
        Question.TOKEN: Meaning.DENIED,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (401, 403): {
        Question.HELD_TOKEN: Meaning.TOKEN_SPENT,
        Question.MANIFEST: Meaning.DENIED,
        Question.BLOB: Meaning.DENIED,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.LIST: Meaning.DENIED,
        Question.REFERRERS: Meaning.DENIED,
        Question.TOKEN: Meaning.DENIED,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (404,): {
        Question.HELD_TOKEN: Meaning.TOKEN_SPENT,
        Question.MANIFEST: Meaning.ABSENT,
        Question.BLOB: Meaning.ABSENT,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.LIST: Meaning.ABSENT,
        Question.REFERRERS: Meaning.ABSENT,
        Question.TOKEN: Meaning.DENIED,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (410,): {
        Question.MANIFEST: Meaning.ABSENT,
        Question.BLOB: Meaning.ABSENT,
        Question.LIST: Meaning.ABSENT,
        Question.REFERRERS: Meaning.ABSENT,
        Question.RANGE: Meaning.METHOD_REFUSED,
    },
    (402, 451): {**dict.fromkeys(GETS, Meaning.DENIED), Question.RANGE: Meaning.DENIED},
    (423,): dict.fromkeys([Question.MANIFEST, Question.BLOB, Question.LIST], Meaning.DENIED),
    (412,): {Question.MANIFEST: Meaning.DENIED, Question.BLOB: Meaning.DENIED, Question.RANGE: Meaning.METHOD_REFUSED},
    (409,): dict.fromkeys([Question.MANIFEST, Question.BLOB, Question.LIST], Meaning.PATH_FAILS),
    (406,): {
        Question.MANIFEST: Meaning.ABSENT,
        Question.BLOB: Meaning.UNUSABLE,
        Question.LIST: Meaning.METHOD_REFUSED,
        Question.REFERRERS: Meaning.ABSENT,
        Question.RANGE: Meaning.METHOD_REFUSED,
    },
    (405,): {
        Question.MANIFEST: Meaning.UNUSABLE,
        Question.LIST: Meaning.METHOD_REFUSED,
        Question.REFERRERS: Meaning.ABSENT,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.HEAD: Meaning.METHOD_REFUSED,
    },
    (416,): {
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.BLOB: Meaning.UNUSABLE,
        Question.LIST: Meaning.METHOD_REFUSED,
        Question.REFERRERS: Meaning.ABSENT,
    },
    (414, 422): {Question.LIST: Meaning.METHOD_REFUSED, Question.MANIFEST: Meaning.UNUSABLE},
    (418,): {
        Question.MANIFEST: Meaning.UNUSABLE,
        Question.REFERRERS: Meaning.ABSENT,
        Question.RANGE: Meaning.METHOD_REFUSED,
        Question.HELD_TOKEN: Meaning.GIVEN,
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
def test_what_a_status_means(status: int, phase: Question, expected: Meaning) -> None:
    """What was asked decides what a status says."""
    assert meaning(phase, status) is expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{sorted(row.statuses)} {row.meaning}")
def test_every_row_has_an_effect_and_a_reason(row: StatusRow) -> None:
    """No row is hidden behind another one, and each names the clause or the registry that it is there for."""
    assert any(meaning(question, status) is row.meaning for question in row.questions for status in row.statuses)
    assert len(row.because) > 5


@pytest.mark.parametrize("phase", list(Question))
def test_every_status_means_something(phase: Question) -> None:
    """Also a status that nobody has thought of; and a HEAD never shows absence, denial or a limit."""
    told = {meaning(phase, status) for status in range(100, 1000)}

    assert told <= set(Meaning)
    if phase is Question.HEAD:
        assert told == {Meaning.GIVEN, Meaning.METHOD_REFUSED}


def test_words() -> None:
    """A status that a person can do something about is told in words, another by its number."""
    assert "proxy" in explained(407)
    assert explained(599) == "the upstream answered 599"
