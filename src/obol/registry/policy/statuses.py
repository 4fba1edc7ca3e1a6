"""What a status of an upstream means, by what was asked: one table, each row with its reason.

A status says one of these things, and which one depends on the question: a 403 to a Range request speaks of the range,
a 403 to a manifest of the right to read it. So no other place compares statuses; it asks here, and acts on the value.
Sections are those of RFC 9110 where nothing else is named; "spec" is the OCI distribution specification.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Question(StrEnum):
    """What was asked."""

    HEAD = "HEAD"
    """Anything, by HEAD."""
    MANIFEST = "manifest"
    BLOB = "blob"
    RANGE = "range"
    """A blob, with a Range field; of the same blob no range has come yet."""
    LIST = "list"
    """The tags of a repository."""
    REFERRERS = "referrers"
    TOKEN = "token"  # noqa: S105 - the question, not a secret
    HELD_TOKEN = "token in hand"  # noqa: S105 - the question, not a secret
    """Anything, with a token that was got for an earlier question."""


class Meaning(StrEnum):
    """What the status says."""

    GIVEN = "given"
    """This is the answer."""
    ABSENT = "absent"
    """There is no such thing at this path."""
    DENIED = "denied"
    """Not for us."""
    TOKEN_SPENT = "token spent"  # noqa: S105 - a meaning, not a secret
    """Perhaps it is only the token: once more with a fresh one."""
    METHOD_REFUSED = "method refused"
    """This way of asking is not supported: ask without HEAD, without Range, without the optional part."""
    LIMITED = "rate-limited"
    """The registry is to be left alone for a while."""
    BUSY = "busy"
    """This path is to be left alone for a while; the answer may say for how long."""
    PATH_FAILS = "path fails"
    """Trouble that may pass, of this path as far as one answer can tell: other paths are asked as ever."""
    UNUSABLE = "unusable"
    """An answer that makes no sense here; asking again is no use."""


@dataclass(frozen=True, slots=True)
class StatusRow:
    """Statuses that mean the same in answer to some questions, and the reason: a clause, or a registry that does it."""

    statuses: frozenset[int]
    questions: frozenset[Question]
    meaning: Meaning
    because: str


_WHOLE = frozenset({Question.MANIFEST, Question.BLOB, Question.LIST, Question.REFERRERS})
_READING = _WHOLE | {Question.RANGE}
_GETTING = _READING | {Question.TOKEN}
_ALL = _GETTING | {Question.HEAD}


def _row(statuses: Iterable[int], questions: Iterable[Question], meaning: Meaning, because: str) -> StatusRow:
    return StatusRow(frozenset(statuses), frozenset(questions), meaning, because)


TABLE: tuple[StatusRow, ...] = (
    # A token that was got earlier may be what is refused, whatever status says so.
    _row((401,), {Question.HELD_TOKEN}, Meaning.TOKEN_SPENT, "15.5.2: the credentials are refused, perhaps as too old"),
    _row((400,), {Question.HELD_TOKEN}, Meaning.TOKEN_SPENT, "Amazon ECR answers 400 to a spent token (oras-go#1227)"),
    _row((403,), {Question.HELD_TOKEN}, Meaning.TOKEN_SPENT, "15.5.4: new credentials may help; Amazon ECR, JFrog"),
    _row((404,), {Question.HELD_TOKEN}, Meaning.TOKEN_SPENT, "15.5.4: 404 may hide a 403; Harbor, GitLab"),
    # What every question has in common.
    _row((200, 203), _ALL, Meaning.GIVEN, "15.3.1, 15.3.4: the representation; its digest is verified by us"),
    _row(
        (201,), {Question.TOKEN}, Meaning.GIVEN, "15.3.2: services that make a token for who asks; clients take any 2xx"
    ),
    _row((429,), _GETTING, Meaning.LIMITED, "RFC 6585, 4: too many requests, with or without Retry-After"),
    _row(
        (206,),
        {Question.RANGE, Question.BLOB},
        Meaning.GIVEN,
        "15.3.7: a part; which one is looked at where it is read",
    ),
    # HEAD is a hint: whatever else it says, only a GET tells (9.3.2, 8.6).
    _row(
        (400, 401, 403, 404, 405, 410, 429, 501),
        {Question.HEAD},
        Meaning.METHOD_REFUSED,
        "moby#50065, watchtower#1528: a GET of the same path gives 200",
    ),
    # Range is optional (14.2): who refuses it is asked once without.
    _row((416,), {Question.RANGE}, Meaning.METHOD_REFUSED, "15.5.17: the range, not the blob, is refused"),
    _row((400,), {Question.RANGE}, Meaning.METHOD_REFUSED, "containerd#11998: a store that refuses ranges by 400"),
    _row((401, 403, 404), {Question.RANGE}, Meaning.METHOD_REFUSED, "a link that is signed without the Range field"),
    _row((405, 406, 410, 412, 501), {Question.RANGE}, Meaning.METHOD_REFUSED, "14.2: a server may refuse ranges"),
    _row((500,), {Question.RANGE}, Meaning.METHOD_REFUSED, "a CDN whose code for ranges fails; the whole blob comes"),
    # Optional parts of the specification.
    _row(
        (404, 410, 400, 405, 406, 415, 501),
        {Question.REFERRERS},
        Meaning.ABSENT,
        "spec, Unavailable Referrers API; go-containerregistry#1962 (406)",
    ),
    _row(
        (400, 405, 406, 414, 416, 422, 501),
        {Question.LIST},
        Meaning.METHOD_REFUSED,
        "spec, Listing Tags: n is a wish; Amazon ECR answers 400 above 1,000",
    ),
    # Absence.
    _row((404, 410), _READING, Meaning.ABSENT, "15.5.5, 15.5.11"),
    _row((406,), {Question.MANIFEST}, Meaning.ABSENT, "15.5.7: none of the kinds that are accepted is there"),
    # Denial.
    _row((401, 403), _READING, Meaning.DENIED, "15.5.2, 15.5.4, once the flow of tokens is through"),
    _row(
        (400, 401, 403, 404), {Question.TOKEN}, Meaning.DENIED, "ghcr.io 403, GitLab 401: no token for this repository"
    ),
    _row((402,), _GETTING, Meaning.DENIED, "15.5.3: quay.io and Docker Hub, for plans that ended"),
    _row((423,), _READING, Meaning.DENIED, "RFC 4918, 11.3: locked, as registries do with what a scan has found"),
    _row(
        (412,), {Question.MANIFEST, Question.BLOB}, Meaning.DENIED, "Harbor: a policy keeps the image from being pulled"
    ),
    _row((451,), _GETTING, Meaning.DENIED, "RFC 7725: unavailable for legal reasons"),
    # What may pass.
    _row((202,), _GETTING, Meaning.PATH_FAILS, "15.3.3: accepted and not yet there; mirrors that fetch first"),
    _row((408,), _GETTING, Meaning.PATH_FAILS, "15.5.9: the server gave up waiting"),
    _row((409,), _READING, Meaning.PATH_FAILS, "15.5.10: a conflict with the present state"),
    _row((421,), _GETTING, Meaning.PATH_FAILS, "15.5.20: another connection may do"),
    _row((425,), _GETTING, Meaning.PATH_FAILS, "RFC 8470, 5.2: too early"),
    _row((501,), _GETTING, Meaning.UNUSABLE, "15.6.2: not implemented, and will not be in a moment"),
    _row((503,), _GETTING, Meaning.BUSY, "15.6.4: for a while; Retry-After says how long"),
    _row((500, 502, 504), _GETTING, Meaning.PATH_FAILS, "15.6: nexus-public#210, one image that always gives 500"),
)
"""The rows; of several that fit, the first counts."""


def _first_of_each() -> dict[tuple[Question, int], Meaning]:
    found: dict[tuple[Question, int], Meaning] = {}
    for row in TABLE:
        for question in row.questions:
            for status in row.statuses:
                found.setdefault((question, status), row.meaning)
    return found


_MEANINGS = _first_of_each()


def meaning(question: Question, status: int) -> Meaning:
    """What a status means in answer to a question; one of no row stands for its class (15)."""
    return _MEANINGS.get((question, status)) or _of_class(question, status)


def _of_class(question: Question, status: int) -> Meaning:
    match question:
        case Question.HELD_TOKEN:
            return Meaning.GIVEN
        case Question.HEAD:
            return Meaning.METHOD_REFUSED
        case _ if status >= 500:
            return Meaning.PATH_FAILS
        case Question.RANGE:
            return Meaning.METHOD_REFUSED
        case Question.REFERRERS if status >= 400:
            return Meaning.ABSENT
        case _:
            return Meaning.UNUSABLE


def explained(status: int) -> str:
    """What to say of a status to a person, where more can be said than its number."""
    return _WORDS.get(status, f"the upstream answered {status}")


_WORDS = {
    404: "the upstream does not have it",
    410: "the upstream does not have it any more",
    402: "the upstream wants to be paid for it (402)",
    407: "the proxy wants a login (407): name one that needs none, as proxy in [cache.upstreams] of obol.toml",
    412: "a policy of the upstream forbids to pull it (412)",
    423: "the upstream has locked it (423)",
    451: "the upstream may not give it, for legal reasons (451)",
}
