import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.rendering.daemonjson import KEY, given_twice, mirrors_of, with_mirror, without_mirrors

OURS = "http://127.0.0.1:54100"
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v, max_size=3))
SETTINGS = st.dictionaries(st.text().filter(lambda key: key != KEY), VALUES, max_size=4)
LAYOUT = st.sampled_from([None, 2, 4])

LAID_OUT = """\
{
    "log-opts": { "max-size": "10m" },
    "data-root": "/srv/{docker}"
}
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '{\n  "registry-mirrors": ["http://127.0.0.1:54100"]\n}\n'),
        ("{}", '{\n  "registry-mirrors": ["http://127.0.0.1:54100"]\n}'),
        ('{"debug":true}', '{"registry-mirrors": ["http://127.0.0.1:54100"],"debug":true}'),
        (LAID_OUT, LAID_OUT.replace("{\n", '{\n    "registry-mirrors": ["http://127.0.0.1:54100"],\n', 1)),
        ('{"registry-mirrors": [ ]}', '{"registry-mirrors": ["http://127.0.0.1:54100"]}'),
        ('{"a": 1, "registry-mirrors": ["x"]}', '{"a": 1, "registry-mirrors": ["http://127.0.0.1:54100", "x"]}'),
        (
            '{"registry-mirrors": ["x", "http://127.0.0.1:54100"]}',
            '{"registry-mirrors": ["x", "http://127.0.0.1:54100"]}',
        ),
    ],
)
def test_with_mirror(before: str, after: str) -> None:
    """Our mirror comes before others, unless it is there, and everything else keeps its text."""
    assert with_mirror(before, OURS) == after


@given(SETTINGS, st.lists(st.text(), max_size=2, unique=True), LAYOUT)
def test_there_and_back(settings: dict[str, object], others: list[str], indent: int | None) -> None:
    """What is put in can be taken out, whatever else there is."""
    whole = {**settings, KEY: others} if others else settings
    text = json.dumps(whole, indent=indent)

    changed = with_mirror(text, OURS)

    assert json.loads(changed) == {**settings, KEY: [OURS, *others]}
    assert json.loads(without_mirrors(changed, {OURS})) == whole


@pytest.mark.parametrize(
    ("now", "left"),
    [
        ('{"registry-mirrors": ["http://127.0.0.1:54100"], "debug": true}', '{"debug": true}'),
        ('{"debug": true, "registry-mirrors": ["http://127.0.0.1:54100"]}', '{"debug": true}'),
        ('{"registry-mirrors": ["http://127.0.0.1:54100"]}', "{}"),
        ('{"registry-mirrors": ["x", "http://127.0.0.1:54100"]}', '{"registry-mirrors": ["x"]}'),
        ('{"registry-mirrors": ["x"]}', '{"registry-mirrors": ["x"]}'),
        ("{}", "{}"),
    ],
)
def test_without_mirrors(now: str, left: str) -> None:
    """Our mirror goes, and the setting with it if no other is left."""
    assert without_mirrors(now, {OURS}) == left


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is not valid JSON"),
        ("[]", "it is not a JSON object"),
        ('{"registry-mirrors": "x"}', "registry-mirrors is not a list of addresses"),
        ('{"registry-mirrors": [1]}', "registry-mirrors is not a list of addresses"),
        ('{"debug": true, "debug": false}', "it has a setting twice"),
    ],
)
def test_not_ours_to_change(text: str, why: str) -> None:
    """A file that Docker would not take, or that says nothing clear, is refused with the reason."""
    with pytest.raises(ValueError, match=why):
        with_mirror(text, OURS)


def test_mirrors_of() -> None:
    """The mirrors of a file, in their order."""
    assert mirrors_of('{"registry-mirrors": ["a", "b"]}') == ("a", "b")
    assert mirrors_of("") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('\ufeff{"debug": true}', "byte-order mark"),
        ('{\n  // mine\n  "debug": true\n}', "which has no comments"),
        ('{"debug": true,}', "no comma behind the last value"),
        ('{"registry-mirrors": ["http://a",]}', "no comma behind the last value"),
        ('{"x": NaN}', "NaN is no value"),
        ('{"debug": true, "debug": false}', "a setting twice: debug"),
        ('{"Registry-Mirrors": []}', "Registry-Mirrors, which dockerd knows as registry-mirrors"),
        ('{"x": "// no comment"', "not valid JSON: "),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_dockerd_does_not_read(text: str, why: str) -> None:
    """What people write that dockerd does not read is told by its name."""
    with pytest.raises(ValueError, match=why):
        with_mirror(text, "http://127.0.0.1:54100")


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        ('{"registry-mirrors": []}', ["registry-mirror", "registry-mirror"], [("registry-mirror", "registry-mirrors")]),
        ('{"insecure-registries": []}', ["insecure-registry"], [("insecure-registry", "insecure-registries")]),
        ('{"hosts": [], "debug": true}', ["H", "D"], [("H", "hosts"), ("D", "debug")]),
        ('{"proxies": {"http-proxy": "x"}}', ["http-proxy"], [("http-proxy", "http-proxy")]),
        ('{"log-opts": {"max-size": "1m"}}', ["max-size", "log-opt"], [("log-opt", "log-opts")]),
        ('{"runtimes": {"x": {}}}', ["add-runtime"], []),
        ("", ["debug"], []),
    ],
)
def test_given_twice(text: str, flags: list[str], expected: list[tuple[str, str]]) -> None:
    """A setting that is among the flags and in the file is found by both of its names."""
    assert list(given_twice(text, flags)) == expected
