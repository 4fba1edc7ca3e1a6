import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obol.oci.fields import MAX_LINE, MAX_STEPS, Challenge, parse_challenges


def scheme(name: str, token68: str = "", **params: str) -> Challenge:
    """A challenge with these parameters."""
    return Challenge(name, tuple(params.items()), token68)


VECTORS: list[tuple[list[str], tuple[Challenge, ...]]] = [
    ([], ()),
    ([""], ()),
    ([" ,, \t,"], ()),
    (
        [
            r'Bearer realm="https://auth.example.com/token",service="registry.example.com",other=fun,slashed="he\"\l\lo"',
        ],
        (
            scheme(
                "bearer",
                realm="https://auth.example.com/token",
                service="registry.example.com",
                other="fun",
                slashed='he"llo',
            ),
        ),
    ),
    (
        [r'Newauth realm="apps", type=1, title="a \"b\", c", Basic realm="s"'],
        (scheme("newauth", realm="apps", type="1", title='a "b", c'), scheme("basic", realm="s")),
    ),
    (['Basic realm="a"', 'Bearer realm="b"'], (scheme("basic", realm="a"), scheme("bearer", realm="b"))),
    (["Negotiate"], (scheme("negotiate"),)),
    (["Negotiate, NTLM"], (scheme("negotiate"), scheme("ntlm"))),
    (["Negotiate abc==, Basic realm=x"], (scheme("negotiate", "abc=="), scheme("basic", realm="x"))),
    (["Negotiate a+/b-._~1  "], (scheme("negotiate", "a+/b-._~1"),)),
    (["BEARER REALM=x , Service = y"], (scheme("bearer", realm="x", service="y"),)),
    (['bearer \t realm\t=\t"x"\t,\tscope=""'], (scheme("bearer", realm="x", scope=""),)),
    (["Bearer realm=https://a/t?x=1,service=b"], (scheme("bearer", realm="https://a/t?x=1", service="b"),)),
    (['Bearer realm="a" service="b"'], (scheme("bearer", realm="a", service="b"),)),
    (
        ['Bearer realm="r",scope="repository:a/b:pull,push repository:c:pull"'],
        (scheme("bearer", realm="r", scope="repository:a/b:pull,push repository:c:pull"),),
    ),
    (
        ['Bearer realm="r",error="insufficient_scope",error_description="a, b=c"'],
        (scheme("bearer", realm="r", error="insufficient_scope", error_description="a, b=c"),),
    ),
    ([', Bearer realm="r"'], (scheme("bearer", realm="r"),)),
    (['realm="lost", Bearer realm="r"'], (scheme("bearer", realm="r"),)),
    (['"quoted", Bearer realm="r"'], (scheme("bearer", realm="r"),)),
    (['Bearer realm="r", ???; x, Basic realm=s'], (scheme("bearer", realm="r"), scheme("basic", realm="s"))),
    (['Bearer realm="open, Basic realm=s'], (scheme("bearer"), scheme("basic", realm="s"))),
    (["Bearer realm="], (scheme("bearer", "realm="),)),
    (["a\x00b, Basic realm=s"], (scheme("basic", realm="s"),)),
    (["Basic realm=s\n"], (scheme("basic", realm="s\n"),)),
]


@pytest.mark.parametrize(("values", "expected"), VECTORS)
def test_challenges(values: list[str], expected: tuple[Challenge, ...]) -> None:
    """Challenges and parameters are told apart, in all the spellings that servers use."""
    assert parse_challenges(values) == expected


def test_a_parameter_by_name() -> None:
    """A parameter is found by its name in lower case; of two the first counts."""
    (challenge,) = parse_challenges(['Bearer Realm="a", realm="b"'])

    assert challenge.get("realm") == "a"
    assert challenge.get("service") is None


def test_a_line_is_bounded() -> None:
    """What lies beyond the bound of a line is not looked at; the next line is."""
    line = "x=1," * MAX_LINE

    assert parse_challenges([f"{line}Basic realm=a", "Basic realm=b"]) == (scheme("basic", realm="b"),)


WORDS = st.text(alphabet="abcxyzABC019!#$%&'*+.^_`|~-", min_size=1, max_size=8)
QUOTABLE = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=20)
CHALLENGES = st.builds(
    Challenge,
    WORDS.map(str.lower),
    st.lists(st.tuples(WORDS.map(str.lower), QUOTABLE), max_size=4).map(tuple),
) | st.builds(
    Challenge, WORDS.map(str.lower), st.just(()), st.from_regex(r"[A-Za-z0-9._~+/-]{1,9}={0,2}", fullmatch=True)
)


def written(challenge: Challenge) -> str:
    """The challenge as the grammar writes it."""
    params = [
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"')) for name, value in challenge.params
    ]
    return f"{challenge.scheme} {challenge.token68 or ', '.join(params)}".strip()


@given(st.lists(CHALLENGES, max_size=4), st.booleans())
@settings(max_examples=100)
def test_what_is_written_is_read_back(challenges: list[Challenge], joined: object) -> None:
    """Challenges written by the grammar, in one line or several, are read as they were."""
    lines = [written(challenge) for challenge in challenges]

    assert parse_challenges([", ".join(lines)] if joined else lines) == tuple(challenges)


@given(st.lists(st.text() | st.text(alphabet='Ba =",\\x1\t', max_size=40), max_size=3))
@settings(max_examples=100)
def test_no_text_raises(values: list[str]) -> None:
    """Of garbage, what is found has a scheme in lower case."""
    for challenge in parse_challenges(values):
        assert challenge.scheme
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize("lines", [["A B " * 4000] * 100, ["Basic a=b,"] * 10_000, ["(," * 8000] * 100])
def test_all_lines_together_are_bounded(lines: list[str]) -> None:
    """However many lines there are, and whatever is in them, only so many pieces are looked at."""
    assert len(parse_challenges(lines)) <= MAX_STEPS
