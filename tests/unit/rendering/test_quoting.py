import json
import plistlib
import shlex
import tomllib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from obol.rendering.quoting import basic_string, systemd_argument, systemd_text, systemd_word, xml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ON_ONE_LINE = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@given(TEXT)
def test_basic_string(text: str) -> None:
    """Whatever the text is, TOML, JSON and YAML read it back, also characters beyond 16 bits."""
    quoted = basic_string(text)

    assert tomllib.loads(f"x = {quoted}") == {"x": text}
    assert json.loads(quoted) == text
    assert yaml.safe_load(f"x: {quoted}") == {"x": text}


@given(ON_ONE_LINE)
def test_systemd_argument(text: str) -> None:
    """A word of a command line comes back by the rules of systemd, of which those of a shell are the base."""
    quoted = systemd_argument(text)

    assert "%" not in quoted.replace("%%", "")
    assert "$" not in quoted.replace("$$", "")
    (word,) = shlex.split(quoted.replace("$$", "$").replace("%%", "%"))
    assert word == text


def test_systemd_word() -> None:
    """What is plain stays plain; in other settings a dollar sign is one."""
    assert systemd_word("A=/x") == "A=/x"
    assert systemd_word('a "b" $c\\') == '"a \\"b\\" $c\\\\"'
    assert systemd_text("/a b/50%") == "/a b/50%%"


@given(TEXT)
def test_xml(text: str) -> None:
    """A property list gives back all text that XML can hold, but for line ends of other systems."""
    try:
        held = xml_text(text)
    except ValueError:
        return
    if "\r" not in text:
        assert plistlib.loads(plistlib.dumps({"x": held})) == {"x": text}


@pytest.mark.parametrize("text", ["a\nb", "\x1b", "\x00", "\udcff"])
def test_what_a_format_cannot_hold(text: str) -> None:
    """Control characters do not get into a unit, and what is not UTF-8 gets nowhere."""
    for quote in (systemd_word, systemd_argument, systemd_text):
        with pytest.raises(ValueError, match=r"control character|not UTF-8"):
            quote(text)
    with pytest.raises(ValueError, match="not UTF-8"):
        basic_string("\udcff")
    with pytest.raises(ValueError, match=r"XML cannot hold|not UTF-8"):
        xml_text(text.replace("\n", "\x00"))
