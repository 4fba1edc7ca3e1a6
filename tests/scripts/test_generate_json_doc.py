import re

from obol.cli.results.verbs import ERROR, RESULTS
from scripts.generate_json_doc import render


def test_every_verb_and_every_part_is_there() -> None:
    """The page has a heading for each verb, and every link to a part leads to one."""
    page = render()

    headings = {line.lstrip("# ").lower() for line in page.splitlines() if line.startswith("#")}
    assert {f"obol {verb}" for verb in RESULTS if verb != ERROR} <= headings
    assert set(re.findall(r"\]\(#([a-z]+)\)", page)) <= headings


def test_a_field() -> None:
    """A field stands with its type, its unit and its meaning."""
    page = render()

    assert "| `saved_seconds` | number or null | seconds | An estimate, held against" in page
    assert "| `state` | `cached`, `failed`, `unknown` |" in page
    assert "| 4 | what the command is about is not there" in page
