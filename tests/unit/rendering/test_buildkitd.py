import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.rendering.mirrors import BEGIN, END, buildkitd_block, with_block, without_block
from obol.rendering.registries import Mirror

GOLDEN = Path(__file__).parents[2] / "golden/clients/buildkitd.toml"
MIRRORS = (
    Mirror("docker.io", "http://127.0.0.1:54100"),
    Mirror("ghcr.io", "http://127.0.0.1:54101"),
    Mirror("quay.io", "https://cache.example"),
)
BLOCK = buildkitd_block(MIRRORS)
THEIRS = '# mine\ndebug = true\n\n[registry."example.com"]  # own\nhttp = true'


def test_block() -> None:
    """Each registry has its mirror, and those of plain HTTP are said to be so."""
    assert buildkitd_block(MIRRORS) == GOLDEN.read_text()
    registries = tomllib.loads(BLOCK)["registry"]
    assert registries["docker.io"] == {"mirrors": ["127.0.0.1:54100"]}
    assert {name for name, settings in registries.items() if settings.get("http")} == {
        "127.0.0.1:54100",
        "127.0.0.1:54101",
    }


@pytest.mark.parametrize("before", ["", THEIRS, THEIRS + "\n", THEIRS + "\n\n", "# only this\r\n"])
def test_there_and_back(before: str) -> None:
    """The file stays what it was around the block, and is it again without, to the last byte."""
    changed = with_block(before, BLOCK)

    assert changed.startswith(before)
    assert tomllib.loads(changed) == {
        **tomllib.loads(before),
        "registry": {**tomllib.loads(before).get("registry", {}), **tomllib.loads(BLOCK)["registry"]},
    }
    assert without_block(changed) == before


def test_edited_around_the_block() -> None:
    """What a person writes before and behind the block stays when it goes."""
    changed = "root = '/b'\n" + with_block(THEIRS, BLOCK) + "# note\n[worker.oci]\nenabled = true\n"

    left = without_block(changed)

    assert left == "root = '/b'\n" + THEIRS + "\n# note\n[worker.oci]\nenabled = true\n"


@pytest.mark.parametrize(
    ("before", "why"),
    [
        ("debug =", "it is not valid TOML"),
        ('[registry."docker.io"]\nhttp = true\n', r"it has \[registry\] settings for docker.io"),
        ("registry = {}\n", "registry"),
        ("\ufeffdebug = true\n", "byte-order mark"),
    ],
)
def test_no_room(before: str, why: str) -> None:
    """A file that is no TOML, or says the same already, is refused with the reason."""
    with pytest.raises(ValueError, match=why):
        with_block(before, BLOCK)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (f"debug = true\n{BEGIN}\n", "the end of our block is missing"),
        (f"{BLOCK}insecure = true\n", "a setting follows our block without a table of its own: insecure = true"),
        (f"a = 1\n{BLOCK}[a]\n", "without our block it is not valid TOML"),
    ],
)
def test_cannot_be_taken_out(now: str, why: str) -> None:
    """Where taking the block out would change the rest, nothing is done."""
    with pytest.raises(ValueError, match=why):
        without_block(now)


@given(st.text())
def test_nothing_of_ours(text: str) -> None:
    """A file without the block is left as it is, whatever it is."""
    if BEGIN not in text:
        assert without_block(text) == text


def test_end_of_the_file() -> None:
    """A block whose last line break was lost goes as well."""
    assert without_block(f"a = 1\n\n{BLOCK.rstrip()}") == "a = 1\n"
    assert BLOCK.rstrip().endswith(END)
